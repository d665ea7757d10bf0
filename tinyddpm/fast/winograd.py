"""The 3×3 convolution with a quarter of the multiplications: Winograd's F(4×4, 3×3).

A window of 6×6 pixels holds all that a tile of 4×4 outputs sees. Three fixed maps take windows,
kernels and products to a domain where a convolution is a product number by number, and back:

    V = B x Bᵀ      U = G W Gᵀ      y = A (Σ_channels V U) Aᵀ      B (6, 6)   G (6, 3)   A (4, 6)

With many tiles and channels, the product is 36 matrix products (tiles, C) · (C, D). Each map is
applied along one axis of the image, then along the other, to a few images at a time.
Backward goes through the transposes of the same maps, in the opposite order (rules 4 and 5).
Source     Lavin & Gray 2015, arXiv:1509.09308, section 4.3
"""

from functools import lru_cache

import numpy as np

from . import usable
from .memory import empty, parts, scratch

FLAT = 7  # the product that A spreads evenly over a tile: a bias can be added there
PART = 1 << 20  # bytes of V that are worked on at once: half of a core's cache


@lru_cache
def maps(dtype):
    """B, G and A in a precision."""
    # fmt: off
    B = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
         [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
    G = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
    A = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    # fmt: on
    return np.array(B, dtype), np.array(G, dtype) / 24, np.array(A, dtype)


def suits(images, W, stride):
    """Whether it pays for images (N, H, W, channels) and a kernel W (3, 3, C, D).

    The maps of images cost as much for few channels as for many, the kernel's map as much for one
    tile as for many; the products that they save do not.
    """
    n, h, w, _ = images.shape
    pays = W.shape[2] >= 16 and n * _tiles(h) * _tiles(w) >= 32
    return stride == 1 and pays and usable(images)


def forward(x, W, b):
    """conv(x, W) + b (N, H, W, D)."""
    x = x.astype(np.result_type(x, W), copy=False)
    U, y = to_products(W), empty((*x.shape[:3], len(b)), x.dtype)
    for cut in _parts(x, U):
        V = to_tiles(x[cut])
        M = np.matmul(V, U, out=scratch("M", (*V.shape[:2], len(b)), x.dtype))
        M[FLAT] += b
        from_products(M, y[cut])
    return y


def backward(dy, x, W, dW, db):
    """Returns dx (N, H, W, C); adds to dW (3, 3, C, D) and db (D,)."""
    x, dy = (a.astype(np.result_type(dy, W), copy=False) for a in (x, dy))
    U_T, dx = to_products(W.swapaxes(2, 3)), empty(x.shape, dy.dtype)
    for cut in _parts(dy, U_T):
        V, dM = to_tiles(x[cut]), from_products_transposed(dy[cut])
        db += dM[FLAT].sum(axis=0)
        dU = np.matmul(V.swapaxes(1, 2), dM, out=scratch("U", (36, *W.shape[2:]), dy.dtype))
        dW += to_products_transposed(dU)
        dV = np.matmul(dM, U_T, out=scratch("V", V.shape, dy.dtype))
        to_tiles_transposed(dV, dx[cut])
    return dx


def _parts(images, U):
    """Slices of about as many images each, such that V is not much more than PART, or than U."""
    n, h, w, _ = images.shape
    size = 36 * _tiles(h) * _tiles(w) * max(U.shape[1:]) * images.itemsize
    return parts(n, size, max(PART, U.nbytes))


def to_products(W):
    """U (36, C, D) of W (3, 3, C, D)."""
    _, G, _ = maps(W.real.dtype)
    U = empty((36, *W.shape[2:]), W.dtype)
    columns = np.matmul(G, W.reshape(3, 3, -1))
    np.matmul(G, columns.swapaxes(0, 1), out=U.reshape(6, 6, -1).swapaxes(0, 1))
    return U


def to_products_transposed(dU):
    """dW (3, 3, C, D) of dU (36, C, D)."""
    _, G, _ = maps(dU.real.dtype)
    columns = np.matmul(G.T, dU.reshape(6, 6, -1).swapaxes(0, 1))
    return np.matmul(G.T, columns.swapaxes(0, 1)).reshape(3, 3, *dU.shape[1:])


def to_tiles(x):
    """V (36, tiles, C) of x (N, H, W, C), with zeros around the image; in scratch."""
    n, h, w, c = x.shape
    down, across, (B, _, _) = _tiles(h), _tiles(w), maps(x.real.dtype)
    columns = scratch("a", (n, 6, 4 * down + 2, across, c), x.dtype)
    columns[...] = 0
    for k, pixels, tiles in _columns_of_windows(x):
        columns[:, k, 1 : h + 1, tiles] = pixels
    rows = scratch("b", (n, 6, 4 * down + 2, across * c), x.dtype)
    np.matmul(B, columns.reshape(n, 6, -1), out=rows.reshape(n, 6, -1))
    V = scratch("V", (36, n * down * across, c), x.dtype)
    np.matmul(B, _windows(rows), out=_by_image(V, n, down))
    return V


def to_tiles_transposed(dV, dx):
    """Sets dx (N, H, W, C), of dV (36, tiles, C); where windows overlap, gradients add (rule 2)."""
    n, h, w, c = dx.shape
    down, across, (B, _, _) = _tiles(h), _tiles(w), maps(dx.real.dtype)
    windows = scratch("a", (n, 6, down, 6, across * c), dx.dtype)
    np.matmul(B.T, _by_image(dV, n, down), out=windows)
    rows = scratch("b", (n, 6, down + 1, 4, across * c), dx.dtype)
    rows[:, :, :-1] = windows[..., :4, :]
    rows[:, :, -1] = 0
    rows[:, :, 1:, :2] += windows[..., 4:, :]
    inside = rows.reshape(n, 6, -1, across * c)[:, :, 1 : h + 1].reshape(n, 6, -1)
    columns = scratch("a", (n, 6, h, across, c), dx.dtype)
    np.matmul(B.T, inside, out=columns.reshape(n, 6, -1))
    for k, pixels, tiles in _columns_of_windows(dx):
        if k in (1, 2, 3, 4):
            pixels[...] = columns[:, k, :, tiles]
        else:
            pixels += columns[:, k, :, tiles]


def from_products(M, y):
    """Sets y (N, H, W, D), of M (36, tiles, D)."""
    n, h, w, d = y.shape
    down, across, (_, _, A) = _tiles(h), _tiles(w), maps(y.real.dtype)
    rows = scratch("a", (n, 6, down, 4, across * d), y.dtype)
    np.matmul(A, _by_image(M, n, down), out=rows)
    columns = scratch("b", (n, 4, 4 * down, across, d), y.dtype)
    np.matmul(A, rows.reshape(n, 6, -1), out=columns.reshape(n, 4, -1))
    for k in range(4):
        pixels = y[:, :, k::4]
        pixels[...] = columns[:, k, :h, : pixels.shape[2]]


def from_products_transposed(dy):
    """dM (36, tiles, D) of dy (N, H, W, D); in scratch."""
    n, h, w, d = dy.shape
    down, across, (_, _, A) = _tiles(h), _tiles(w), maps(dy.real.dtype)
    columns = scratch("b", (n, 4, 4 * down, across, d), dy.dtype)
    columns[...] = 0
    for k in range(4):
        pixels = dy[:, :, k::4]
        columns[:, k, :h, : pixels.shape[2]] = pixels
    rows = scratch("a", (n, 6, down, 4, across * d), dy.dtype)
    np.matmul(A.T, columns.reshape(n, 4, -1), out=rows.reshape(n, 6, -1))
    dM = scratch("M", (36, n * down * across, d), dy.dtype)
    np.matmul(A.T, rows, out=_by_image(dM, n, down))
    return dM


def _columns_of_windows(x):
    """For every column k of the windows, views of the pixels of x in it, and the tiles they are in.

    Columns 1 to 4 hold every pixel once; then 0 and 5 some of them a second time.
    """
    across = _tiles(x.shape[2])
    for k in (1, 2, 3, 4, 0, 5):
        first = 1 if k == 0 else 0  # the first tile begins one pixel outside of the image
        pixels = x[:, :, k - 1 + 4 * first :: 4][:, :, : across - first]
        yield k, pixels, slice(first, first + pixels.shape[2])


def _windows(rows):
    """A view of rows (..., 4 down + 2, L) as windows of 6 at every 4th: (..., down, 6, L)."""
    *before, size, length = rows.shape
    *steps, step, number = rows.strides
    shape, strides = (*before, size // 4, 6, length), (*steps, 4 * step, step, number)
    return np.ndarray(shape, rows.dtype, rows, 0, strides)


def _by_image(V, n, down):
    """A view of V (36, tiles, C) as (N, column, down, row, across · C)."""
    return V.reshape(6, 6, n, down, -1).transpose(2, 1, 3, 0, 4)


def _tiles(side):
    return -(-side // 4)
