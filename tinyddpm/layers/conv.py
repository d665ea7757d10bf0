"""The 3×3 convolution: patches times a matrix. Its transpose is a convolution again."""

from functools import partial

from ..device import array_module
from ..tape import glorot, zeros


class Conv3x3:
    """Every output pixel is a linear function of a 3×3 patch of input pixels.

        y = patches(x) W + b        x (N, H, W, C)   patches (N, H', W', 9 C)
                                    W (3, 3, C, D)   b (D,)   y (N, H', W', D)
        stride 1: H' = H; a border of one zero on every side
        stride 2: H' = H / 2; zeros only at the bottom and at the right

    Backward   dW = Σ patches(x)ᵀ dy      db = Σ dy
               dx = patches(spread(dy)) Ŵ: what pixel i gave to output o through kernel cell k comes
               back from o to i through k, so Ŵ (3, 3, D, C) is W turned by 180° and transposed;
               with stride 2, spread puts zeros between dy's pixels, where no output was computed
    Keeps      x; the patches, nine times its size, are cut again when they are needed
    Raises     ValueError for stride 2 if H or W is odd
    Source     padding of stride 2 as in Ho et al. 2020's code
    """

    def __init__(self, layout, name, c_in, c_out, stride=1, scale=1.0):
        self.name, self.stride = name, stride
        self.before = 1 if stride == 1 else 0  # zeros at the top and the left
        self.W = layout.add(f"{name}.W", (3, 3, c_in, c_out), partial(glorot, scale=scale))
        self.b = layout.add(f"{name}.b", (c_out,), zeros)

    def forward(self, x, tape):
        _, h, w, c = x.shape
        if h % self.stride or w % self.stride:
            raise ValueError(f"{self.name}: {h}×{w} pixels cannot be halved; use even sides")
        W, b = self.W.of(tape.theta), self.b.of(tape.theta)
        tape.push(self, x)
        patches = _patches(x, self.before, self.stride)
        y = _rows(patches) @ W.reshape(9 * c, -1) + b
        return y.reshape(*patches.shape[:3], -1)

    def backward(self, dy, tape):
        x = tape.pop(self)
        W = self.W.of(tape.theta)
        dW, db = self.W.of(tape.grad), self.b.of(tape.grad)
        d = dy.shape[-1]
        patches = _patches(x, self.before, self.stride)
        dW += (_rows(patches).T @ _rows(dy)).reshape(W.shape)
        db += array_module(dy).ones(dy.size // d, dy.dtype) @ _rows(dy)  # rule 3, as in Linear
        turned = W[::-1, ::-1].swapaxes(2, 3).reshape(9 * d, -1)
        patches = _patches(_spread(dy, self.stride), 2 - self.before)
        return (_rows(patches) @ turned).reshape(x.shape)  # rule 4


def _rows(a):
    """(..., n) -> (everything else, n)"""
    return a.reshape(-1, a.shape[-1])


def _patches(x, before, stride=1):
    """(N, H, W, C) -> (N, H/stride, W/stride, 9 C): a patch around every stride-th pixel.

    `before` rows and columns of zeros are put in front of x, 2 - before behind it. In channels-last
    order a patch is three contiguous runs of three pixels, so cutting it is three plain copies.
    """
    n, h, w, c = x.shape
    xp = array_module(x)
    padded = xp.zeros((n, h + 2, w + 2, c), x.dtype)
    padded[:, before : before + h, before : before + w] = x
    image, row, pixel, channel = padded.strides
    windows = xp.lib.stride_tricks.as_strided(
        padded,
        (n, h // stride, w // stride, 3, 3 * c),
        (image, row * stride, pixel * stride, row, channel),
    )
    return windows.reshape(n, h // stride, w // stride, 9 * c)


def _spread(a, stride):
    """(N, H, W, C) -> (N, stride·H, stride·W, C): zeros between the pixels, if stride is 2."""
    if stride == 1:
        return a
    n, h, w, c = a.shape
    spread = array_module(a).zeros((n, stride * h, stride * w, c), a.dtype)
    spread[:, ::stride, ::stride] = a
    return spread
