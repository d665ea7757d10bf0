"""What a network for looking at images is made of, forward only: any convolution, pools, resizing.

All take and give x (N, H, W, C), on any device, and keep its precision.
"""

from functools import reduce
from operator import add

import numpy as np

from ..device import array_module


def convolve(x, W, stride=1, border=True):
    """Every output pixel is a linear function of a kh × kw patch of input pixels.

        y = Σ_i rows_i(x) W_i       x (N, H, W, C)   W (kh, kw, C, D)   y (N, H', W', D)

    rows_i(x) is row i of every patch, kw pixels side by side, as in `Conv3x3`.

    border     zeros around x, so that with stride 1 y is as large as x; without, patches stay in x
    """
    xp, (kh, kw, c, d) = array_module(x), W.shape
    if border:
        x = _bordered(x, kh // 2, kw // 2, 0)
    n, h, w, _ = x.shape
    h, w = (h - kh) // stride + 1, (w - kw) // stride + 1
    wide = xp.concatenate([x[:, :, j:][:, :, ::stride][:, :, :w] for j in range(kw)], axis=-1)
    rows = (wide[:, i:][:, ::stride][:, :h].reshape(-1, kw * c) for i in range(kh))
    y = reduce(add, (row @ V for row, V in zip(rows, W.reshape(kh, kw * c, d))))
    return y.reshape(n, h, w, d)


def pool(x, kind, stride=1):
    """The "max" or "mean" of 3 × 3 pixels. With stride 1 the border is not looked at, nor counted.

    With another stride there is no border: H' = (H - 3) // stride + 1.
    """
    if kind == "max":
        return reduce(array_module(x).maximum, _shifted(x, stride, -np.inf))
    count = sum(_shifted(array_module(x).ones_like(x[:1, ..., :1]), stride, 0))
    return sum(_shifted(x, stride, 0)) / count


def _shifted(x, stride, around):
    """For each of the nine places in a patch, the pixels (N, H', W', C) that lie there."""
    if stride == 1:
        x = _bordered(x, 1, 1, around)
    h, w = ((side - 3) // stride + 1 for side in x.shape[1:3])
    for i in range(3):
        for j in range(3):
            yield x[:, i:, j:][:, ::stride, ::stride][:, :h, :w]


def _bordered(x, top, left, value):
    """x with so many pixels of one value above and below, and at both sides."""
    n, h, w, c = x.shape
    larger = array_module(x).full((n, h + 2 * top, w + 2 * left, c), value, x.dtype)
    larger[:, top : top + h, left : left + w] = x
    return larger


def resize(x, side):
    """Images of side × side pixels: between the middles of two pixels a straight line."""
    n, h, w, c = x.shape
    rows, columns = _lines(h, side, x), _lines(w, side, x)
    x = (rows @ x.reshape(n, h, w * c)).reshape(n, side, w, c)
    return columns @ x


def _lines(size, side, like):
    """The matrix (side, size) that resizes a line of `size` pixels."""
    middles = ((np.arange(side) + 0.5) * size / side - 0.5).clip(0, size - 1)
    shares = 1 - np.abs(middles[:, None] - np.arange(size))  # of a pixel, at a distance below 1
    return array_module(like).asarray(shares.clip(0).astype(like.dtype))
