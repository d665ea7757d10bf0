"""The 3×3 convolution: patches times a matrix."""

from functools import partial

from ..device import array_module
from .tape import glorot, zeros


class Conv3x3:
    """Every output pixel is a linear function of a 3×3 patch of input pixels.

        y = Σ_i rows_i(x) W_i + b       x (N, H, W, C)   W (3, 3, C, D)   b (D,)   y (N, H', W', D)
        stride 1: H' = H; a border of one zero on every side
        stride 2: H' = H / 2; zeros only at the bottom and at the right, or, with before = 1, only
        at the top and at the left: of a border all around, the last zeros have no patch

    rows_i(x) (N·H'·W', 3 C) is row i = 0, 1, 2 of every patch: three pixels side by side. Nine
    products with single pixels would be small ones; one product with whole patches would need nine
    copies of x at once. Three rows need three.

    Backward   dW_i = Σ rows_i(x)ᵀ dy      db = Σ dy
               dx: every patch gives dy W_iᵀ back to the pixels that it was cut from, where the
               gradients of overlapping patches add. This scatters with the kernel as it is; gather
               for each pixel instead, and the same sum has the kernel turned by 180 degrees
    Keeps      x; the rows, each three times its size, are cut again when they are needed
    Raises     ValueError for stride 2 if H or W is odd
    Source     stride 2 with before = 0 as in Ho et al. 2020's code
    """

    def __init__(self, layout, name, c_in, c_out, stride=1, scale=1.0, before=0):
        self.name, self.stride = name, stride
        self.before = 1 if stride == 1 else before  # zeros at the top and the left
        self.W = layout.add(f"{name}.W", (3, 3, c_in, c_out), partial(glorot, scale=scale))
        self.b = layout.add(f"{name}.b", (c_out,), zeros)

    def forward(self, x, tape):
        n, h, w, _ = x.shape
        if h % self.stride or w % self.stride:
            raise ValueError(f"{self.name}: {h}×{w} pixels cannot be halved; use even sides")
        W, b = self.W.of(tape.theta), self.b.of(tape.theta)
        tape.push(self, x)
        rows = patch_rows(x, self.before, self.stride)
        y = sum((row @ w for row, w in zip(rows, W.reshape(3, -1, len(b)))), start=b)
        return y.reshape(n, h // self.stride, w // self.stride, -1)

    def backward(self, dy, tape):
        x = tape.pop(self)
        W, dW, db = self.W.of(tape.theta), self.W.of(tape.grad), self.b.of(tape.grad)
        dy = dy.reshape(-1, dy.shape[-1])
        db += dy.sum(axis=0)  # rule 3
        for row, dw in zip(patch_rows(x, self.before, self.stride), dW):
            dw += (row.T @ dy).reshape(dw.shape)
        drows = (dy @ w.reshape(-1, len(db)).T for w in W)  # rule 4
        return patch_rows_transposed(drows, x.shape, dy, self.before, self.stride)  # rule 4


def patch_rows(x, before, stride):
    """One after the other, the three rows of the patches around every stride-th pixel.

        padded x         three shifted copies side by side         patches at (0, 0)
        0 0 0 0 0
        0 a b c 0        (0 0 a) (0 a b) (a b c) (b c 0)  ...      row 0: the triple at (0, 0)
        0 d e f 0        (0 0 d) (0 d e) (d e f) (e f 0)           row 1: the one below it
        0 0 0 0 0                                                  row 2: the next one below

    Each is (N·H/stride·W/stride, 3 C). `before` rows and columns of zeros are put in front of x,
    2 - before behind it.
    """
    n, h, w, c = x.shape
    xp = array_module(x)
    padded = xp.zeros((n, h + 2, w + 2, c), x.dtype)
    padded[:, before : before + h, before : before + w] = x
    triples = xp.concatenate([padded[:, :, j : j + w : stride] for j in range(3)], axis=-1)
    return (triples[:, i : i + h : stride].reshape(-1, 3 * c) for i in range(3))


def patch_rows_transposed(drows, shape, like, before, stride):
    """For every pixel (N, H, W, C), the sum over all places where `patch_rows` put it (rule 2)."""
    (n, h, w, c), xp = shape, array_module(like)
    triples = xp.zeros((n, h + 2, w // stride, 3, c), like.dtype)
    for i, drow in enumerate(drows):
        triples[:, i : i + h : stride] += drow.reshape(n, h // stride, w // stride, 3, c)
    padded = xp.zeros((n, h + 2, w + 2, c), like.dtype)
    for j in range(3):
        padded[:, :, j : j + w : stride] += triples[:, :, :, j]
    return padded[:, before : before + h, before : before + w]
