"""The 3×3 convolution: patches times a matrix. Its transpose is a convolution again."""

from functools import partial

from ..device import array_module, sum_rows
from ..fast import winograd
from ..tape import glorot, zeros


class Conv3x3:
    """Every output pixel is a linear function of a 3×3 patch of input pixels.

        y = Σ rows_i(x) W_i + b     x (N, H, W, C)   W (3, 3, C, D)   b (D,)   y (N, H', W', D)
        rows_i(x)                   (N, H', W', 3 C): row i = 0, 1, 2 of every patch, three pixels
        stride 1: H' = H; a border of one zero on every side
        stride 2: H' = H / 2; zeros only at the bottom and at the right

    Backward   dW_i = Σ rows_i(x)ᵀ dy      db = Σ dy
               dx = Σ rows_i(spread(dy)) Ŵ_i: what pixel p gave to output o through kernel cell k
               comes back from o to p through k, so Ŵ (3, 3, D, C) is W turned by 180° and
               transposed; with stride 2, spread puts zeros where no output was computed
    Keeps      x; the rows, three times its size, are cut again when they are needed
    Fast       where `winograd.suits`, the same numbers come by another way; it keeps 2¼ times x
    Raises     ValueError for stride 2 if H or W is odd
    Source     padding of stride 2 as in Ho et al. 2020's code
    """

    def __init__(self, layout, name, c_in, c_out, stride=1, scale=1.0):
        self.name, self.stride = name, stride
        self.before = 1 if stride == 1 else 0  # zeros at the top and the left
        self.W = layout.add(f"{name}.W", (3, 3, c_in, c_out), partial(glorot, scale=scale))
        self.b = layout.add(f"{name}.b", (c_out,), zeros)

    def forward(self, x, tape):
        n, h, w, _ = x.shape
        if h % self.stride or w % self.stride:
            raise ValueError(f"{self.name}: {h}×{w} pixels cannot be halved; use even sides")
        W, b = self.W.of(tape.theta), self.b.of(tape.theta)
        if winograd.suits(x, W, self.stride):
            y, kept = winograd.forward(x, W)
            tape.push(self, kept)
            return y + b
        tape.push(self, x)
        rows = _rows(x, self.before, self.stride)
        y = sum((row @ w for row, w in zip(rows, W.reshape(3, -1, len(b)))), start=b)
        return y.reshape(n, h // self.stride, w // self.stride, -1)

    def backward(self, dy, tape):
        kept = tape.pop(self)
        n, h, w, d = dy.shape
        W, dW, db = self.W.of(tape.theta), self.W.of(tape.grad), self.b.of(tape.grad)
        flat = dy.reshape(n, h * w, d)
        db += sum_rows(flat).sum(axis=0)  # rule 3
        if winograd.suits(dy, W, self.stride):
            return winograd.backward(dy, kept, dW)
        for i, row in enumerate(_rows(kept, self.before, self.stride)):
            dW[i] += (row.swapaxes(1, 2) @ flat).sum(axis=0).reshape(dW[i].shape)
        turned = W[::-1, ::-1].swapaxes(2, 3).reshape(3, 3 * d, -1)  # rule 4
        rows = _rows(_spread(dy, self.stride), 2 - self.before)
        return sum(row @ w for row, w in zip(rows, turned)).reshape(kept.shape)


def _rows(x, before, stride=1):
    """The three rows of the patch around every stride-th pixel, each (N, H/stride · W/stride, 3 C).

    `before` rows and columns of zeros are put in front of x, 2 - before behind it. In channels-last
    order three pixels side by side are one run of memory, and all rows are cut with one copy: the
    patches' second row is their first one, one pixel further down.
    """
    n, h, w, c = x.shape
    xp = array_module(x)
    padded = xp.zeros((n, h + 2, w + 2, c), x.dtype)
    padded[:, before : before + h, before : before + w] = x
    image, row, pixel, channel = padded.strides
    triples = xp.ascontiguousarray(
        xp.lib.stride_tricks.as_strided(
            padded, (n, h + 2, w // stride, 3 * c), (image, row, pixel * stride, channel)
        )
    )
    return [triples[:, i : i + h : stride].reshape(n, -1, 3 * c) for i in range(3)]


def _spread(a, stride):
    """(N, H, W, C) -> (N, stride·H, stride·W, C): zeros between the pixels, if stride is 2."""
    if stride == 1:
        return a
    n, h, w, c = a.shape
    spread = array_module(a).zeros((n, stride * h, stride * w, c), a.dtype)
    spread[:, ::stride, ::stride] = a
    return spread
