"""The 3×3 convolution on a GPU: patches are cut by one kernel, and one product does the rest.

    y = b + patches(x) W          patches (N·H'·W', 9 C)   W (9 C, D)
    dW = patches(x)ᵀ dy           dx = the transpose of cutting, of dy Wᵀ: a sum for every pixel

Patches are nine times as large as x, so only as many images as fit into ROOM are cut at once, and
backward cuts them again. Where an image is first made `copies` times as large, the kernels read
each pixel for all of its copies, and the large image is never made.
"""

import numpy as np

from ...device import array_module
from . import winograd
from .kernels import WARPS, add_rows, in_one_piece, product, run, takes
from .memory import chunks

ROOM = 5 << 27  # bytes: enough for 128 images of 32×32 pixels and 128 channels
NONE = np.uintp(0)  # no array, for a kernel

SOURCE = """
// Each warp has a pixel; its threads share the channels. x is (N, h, w, c), an output (H, W), and a
// patch begins `before` pixels above and left of the output's own place.

// y (count, d) begins with the bias: it is read and written anyway when the product is added. On
// the way back d is 0 and there is no y.
extern "C" __global__ void cut(const real* x, real* patches, int count, int h, int w, int c,
                               int H, int W, int stride, int before, int copies,
                               const real* b, real* y, int d) {
    int pixel = blockIdx.x * blockDim.y + threadIdx.y;
    if (pixel >= count) return;
    int column = pixel % W, row = pixel / W % H, n = pixel / W / H;
    for (int k = 0; k < 9; k++) {
        int i = row * stride + k / 3 - before, j = column * stride + k % 3 - before;
        bool inside = 0 <= i && i < h * copies && 0 <= j && j < w * copies;
        long long from = (((long long)n * h + i / copies) * w + j / copies) * c;
        long long to = ((long long)pixel * 9 + k) * c;
        for (int channel = threadIdx.x; channel < c; channel += 32)
            patches[to + channel] = inside ? x[from + channel] : 0;
    }
    for (int channel = threadIdx.x; channel < d; channel += 32)
        y[(long long)pixel * d + channel] = b[channel];
}

extern "C" __global__ void put_back(const real* patches, real* dx, int count, int h, int w, int c,
                                    int H, int W, int stride, int before, int copies) {
    int pixel = blockIdx.x * blockDim.y + threadIdx.y;
    if (pixel >= count) return;
    int x = pixel % w, y = pixel / w % h, n = pixel / w / h;
    for (int channel = threadIdx.x; channel < c; channel += 32) {
        real total = 0;
        for (int copy = 0; copy < copies * copies; copy++)
            for (int k = 0; k < 9; k++) {
                int i = y * copies + copy / copies + before - k / 3;
                int j = x * copies + copy % copies + before - k % 3;
                if (i < 0 || j < 0 || i % stride || j % stride) continue;
                int row = i / stride, column = j / stride;
                if (row < H && column < W)
                    total += patches[(((n * H + row) * W + column) * 9ll + k) * c + channel];
            }
        dx[(long long)pixel * c + channel] = total;
    }
}
"""


class Conv3x3(winograd.Conv3x3):
    """The convolution by patches; keeps x."""

    def forward(self, x, tape):
        odd = x.shape[1] % self.stride or x.shape[2] % self.stride
        if odd or not takes(x, tape.theta):
            return super().forward(x, tape)
        return forward(self, x, tape)

    def backward(self, dy, tape):
        if not takes(dy, tape.theta):
            return super().backward(dy, tape)
        return backward(self, dy, tape)


class UpsampleConv(winograd.UpsampleConv):
    """From x to y without the larger image in between; keeps x."""

    def forward(self, x, tape):
        if not takes(x, tape.theta):
            return super().forward(x, tape)
        return forward(self.conv, x, tape, copies=2)

    def backward(self, dy, tape):
        if not takes(dy, tape.theta):
            return super().backward(dy, tape)
        return backward(self.conv, dy, tape, copies=2)


def forward(conv, x, tape, copies=1):
    """y (N, H', W', D), the convolution of x (N, H, W, C) with copies² of every pixel."""
    x, xp = in_one_piece(x), array_module(x)
    W, b = conv.W.of(tape.theta), conv.b.of(tape.theta)
    n, h, w, _ = x.shape
    y = xp.empty((n, copies * h // conv.stride, copies * w // conv.stride, len(b)), x.dtype)
    for cut in _parts(x, y):
        patches, part = _empty_patches(x[cut], y[cut]), y[cut].reshape(-1, len(b))
        _run(conv, "cut", x[cut], patches, x[cut], y[cut], copies, b, part, len(b))
        product(patches, W.reshape(-1, len(b)), out=part)
        del patches  # before the next ones are cut
    tape.push(conv, x)
    return y


def backward(conv, dy, tape, copies=1):
    """dx (N, H, W, C); adds to the gradients of W and b."""
    x, dy = tape.pop(conv), in_one_piece(dy)
    W = conv.W.of(tape.theta).reshape(-1, dy.shape[-1])
    dW, db = conv.W.of(tape.grad).reshape(W.shape), conv.b.of(tape.grad)
    add_rows(dy.reshape(-1, len(db)), db)  # rule 3
    dx = array_module(x).empty_like(x)
    for cut in _parts(x, dy):
        patches, dy_part = _empty_patches(x[cut], dy[cut]), dy[cut].reshape(-1, len(db))
        _run(conv, "cut", x[cut], patches, x[cut], dy[cut], copies, NONE, NONE, 0)
        product(patches.T, dy_part, out=dW)
        product(dy_part, W.T, out=patches, add=False)  # rule 4; in the memory of the patches
        _run(conv, "put_back", patches, dx[cut], dx[cut], dy[cut], copies)
        del patches  # before the next ones are cut
    return dx


def _parts(x, y):
    """Slices of the images whose patches fit into ROOM."""
    return chunks(len(x), 9 * x.shape[-1] * x.itemsize * y[0, ..., 0].size, ROOM)


def _empty_patches(x, y):
    """Room for the patches of x (N, H, W, C) for outputs like y: (N·H'·W', 9 C)."""
    return array_module(x).empty((y[..., 0].size, 9 * x.shape[-1]), x.dtype)


def _run(conv, name, source, target, x, y, copies, *more):
    pixels = (x if name == "put_back" else y)[..., 0].size
    run(SOURCE, name, (-(-pixels // WARPS),), (32, WARPS), source, target, pixels, *x.shape[1:],
        *y.shape[1:3], conv.stride, conv.before, copies, *more)  # fmt: skip
