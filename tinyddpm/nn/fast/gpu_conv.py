"""The 3×3 convolution on a GPU: patches are cut by one kernel, and one product does the rest.

    y = b + patches(x) W        patches(x) (N·H'·W', 9 C)    W (9 C, D)

The way back is a convolution again, of dy with the kernel turned by 180 degrees, so that patches of
dy, one for each pixel of x, serve both gradients:

    dx = patches(dy) turned(W)           patches(dy) (N·H·W, 9 D)    turned(W) (9 D, C)
    turned(dW) = patches(dy)ᵀ x

Patches are nine times as large as their image, so only as many as fit into ROOM are cut at once.
Where an image is first made `copies` times as large, forward reads a pixel for each of its copies,
backward sums dy over them while it cuts, and the large image is never made. With stride 2 there are
zeros between the pixels of dy.
"""

from functools import lru_cache

from ...device import array_module
from ..linear import rows
from . import winograd
from .kernels import WARPS, add_rows, by_kernels, product, run
from .memory import chunks

ROOM = 9 << 25  # bytes: enough for 64 images of 32×32 pixels and 128 channels

SOURCE = """
// Each warp has a pixel; its threads share the channels. A patch begins `before` pixels above and
// left of the pixel's own place. stride, copies and before are constants, written in front of this.

// Patches of x (N, h, w, c) for the pixels of y (N, H, W, d), which begins with the bias.
extern "C" __global__ void cut(const real* x, real* patches, int count, int h, int w, int c,
                               int H, int W, int d, const real* b, real* y) {
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

// Patches of dy (N, H, W, d) for the pixels of x (N, h, w, c), and the turned kernel.
extern "C" __global__ void cut_back(const real* dy, real* patches, int count, int H, int W, int d,
                                    int h, int w, int c, const real* kernel, real* turned) {
    int pixel = blockIdx.x * blockDim.y + threadIdx.y;
    if (pixel >= count) return;
    int column = pixel % w, row = pixel / w % h, n = pixel / w / h;
    for (int k = 0; k < 9; k++)
        for (int channel = threadIdx.x; channel < d; channel += 32) {
            real total = 0;
            for (int copy = 0; copy < copies * copies; copy++) {
                int i = row * copies + copy / copies + k / 3 - before;
                int j = column * copies + copy % copies + k % 3 - before;
                if (i < 0 || j < 0 || i % stride || j % stride) continue;
                if (i < H * stride && j < W * stride)
                    total += dy[(((long long)n * H + i / stride) * W + j / stride) * d + channel];
            }
            patches[((long long)pixel * 9 + k) * d + channel] = total;
        }
    for (int line = pixel; line < 9 * d; line += count)
        for (int channel = threadIdx.x; channel < c; channel += 32)
            turned[line * c + channel] = kernel[((8 - line / d) * c + channel) * d + line % d];
}
"""


@by_kernels
class Conv3x3(winograd.Conv3x3):
    """The convolution by patches; keeps x."""

    def forward(self, x, tape):
        if x.shape[1] % self.stride or x.shape[2] % self.stride:
            return super().forward(x, tape)  # which says that this cannot be
        return forward(self, x, tape)

    def backward(self, dy, tape):
        return backward(self, dy, tape)


@by_kernels
class UpsampleConv(winograd.UpsampleConv):
    """From x to y without the larger image in between; keeps x."""

    def forward(self, x, tape):
        return forward(self.conv, x, tape, copies=2)

    def backward(self, dy, tape):
        return backward(self.conv, dy, tape, copies=2)


def forward(conv, x, tape, copies=1):
    """y (N, H', W', D), the convolution of x (N, H, W, C) with copies² of every pixel."""
    W, b, xp = conv.W.of(tape.theta), conv.b.of(tape.theta), array_module(x)
    (n, h, w, _), source = x.shape, _source(conv.stride, copies, conv.before)
    y = xp.empty((n, copies * h // conv.stride, copies * w // conv.stride, len(b)), x.dtype)
    for part, patches in _parts(x, y):
        _cut(source, "cut", x[part], patches, y[part], b, y[part])
        product(patches, W.reshape(-1, len(b)), out=rows(y[part]))
    tape.push(conv, x)
    return y


def backward(conv, dy, tape, copies=1):
    """dx (N, H, W, C); adds to the gradients of W and b."""
    x, W, dW = tape.pop(conv), conv.W.of(tape.theta), conv.W.of(tape.grad)
    (c, d), xp, source = W.shape[2:], array_module(x), _source(conv.stride, copies, 2 - conv.before)
    add_rows(rows(dy), conv.b.of(tape.grad))  # rule 3
    dx, (turned, d_turned) = xp.empty_like(x), xp.empty((2, 9 * d, c), x.dtype)
    for part, patches in _parts(dy, x):
        _cut(source, "cut_back", dy[part], patches, x[part], W, turned)
        product(patches.T, rows(x[part]), out=d_turned, add=part.start > 0)
        product(patches, turned, out=rows(dx[part]), add=False)  # rule 4
    dW += d_turned.reshape(3, 3, d, c)[::-1, ::-1].swapaxes(2, 3)
    return dx


def _parts(a, b):
    """Slices of images whose patches fit into ROOM, each with the memory for them, again and again.

    Patches are of images a (N, ..., C), around the pixels of b (N, ..., D): (N·pixels, 9 C).
    """
    width, pixels = 9 * a.shape[-1], b[0, ..., 0].size
    parts = chunks(len(a), width * pixels * a.itemsize, ROOM)
    patches = array_module(a).empty((-(-len(a) // len(parts)) * pixels, width), a.dtype)
    for part in parts:
        yield part, patches[: (part.stop - part.start) * pixels]


@lru_cache
def _source(stride, copies, before):
    return f"enum {{stride = {stride}, copies = {copies}, before = {before}}};" + SOURCE


def _cut(source, name, images, patches, like, *more):
    run(source, name, (-(-len(patches) // WARPS),), (32, WARPS), images, patches, len(patches),
        *images.shape[1:], *like.shape[1:], *more)  # fmt: skip
