"""The 3×3 convolution with a quarter of the multiplications: Winograd's F(4×4, 3×3).

A tile of 6×6 pixels holds all that 4×4 outputs see. Three fixed linear maps take pixels, kernels
and products to a domain where the convolution of a tile is a product number by number, and back:

    V = B tile   (36 of 36)      U = G kernel   (36 of 9)      y = A Σ_channels V U   (16 of 36)

With many tiles and channels, the product is 36 matrix products (tiles, C) · (C, D). Backward goes
through the transposes of the same maps (rule 4).
Source     Lavin & Gray 2015, arXiv:1509.09308, section 4.3
"""

import numpy as np

from ..device import array_module
from . import ON

# fmt: off
_B = np.array([[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
               [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]])
_G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
# fmt: on
B, G, A = (np.kron(m, m).astype(np.float64) for m in (_B, _G, _A))  # for rows and columns at once


PART = 1 << 20  # bytes of V that are worked on at once: half of a core's cache


def suits(image, W, stride):
    """Whether it pays for images (N, H, W, channels) and a kernel W (3, 3, C, D).

    The maps cost about the same for few channels as for many; the products that they save do not.
    """
    pixels, channels = image.shape[1] * image.shape[2], W.shape[2] * W.shape[3]
    return ON and stride == 1 and pixels >= 14 * 14 and pixels * channels >= 28 * 28 * 32 * 32


def forward(x, W):
    """conv(x, W) (N, H, W, D), and what `backward` needs: V, 2¼ times x, and U."""
    U = (_like(G, x) @ W.reshape(9, -1)).reshape(36, *W.shape[2:])
    V, y = [], []
    for part in _parts(x, U):
        V.append(to_tiles(part))
        y.append(from_products(V[-1] @ U, part.shape))
    return array_module(x).concatenate(y), (V, U)


def backward(dy, kept, dW):
    """Returns dx (N, H, W, C); adds to dW (3, 3, C, D)."""
    V, U = kept
    dx, dU = [], 0
    for v, part in zip(V, _parts(dy, U)):
        dM = from_products_transposed(part)
        dU = dU + v.swapaxes(1, 2) @ dM
        dx.append(to_tiles_transposed(dM @ U.swapaxes(1, 2), part.shape))
    dW += (_like(G, dy).T @ dU.reshape(36, -1)).reshape(dW.shape)
    return array_module(dy).concatenate(dx)


def _parts(images, U):
    """Views of some images each, so many that what is made of them stays in a core's cache."""
    n, h, w, _ = images.shape
    size = 36 * _tiles(h) * _tiles(w) * max(U.shape[1:]) * images.itemsize
    count = max(1, PART // size)
    return [images[i : i + count] for i in range(0, n, count)]


def to_tiles(x):
    """V (36, tiles, C) of x (N, H, W, C): tiles overlap by two pixels; zeros around the image."""
    n, h, w, c = x.shape
    down, across = _tiles(h), _tiles(w)
    xp = array_module(x)
    padded = xp.zeros((n, 4 * down + 2, 4 * across + 2, c), x.dtype)
    padded[:, 1 : h + 1, 1 : w + 1] = x
    image, row, pixel, channel = padded.strides
    tiles = xp.lib.stride_tricks.as_strided(
        padded, (6, 6, n, down, across, c), (row, pixel, image, 4 * row, 4 * pixel, channel)
    )
    return (_like(B, x) @ tiles.reshape(36, -1)).reshape(36, -1, c)


def to_tiles_transposed(dV, shape):
    """dx (N, H, W, C) of dV (36, tiles, C); `shape` begins with N, H, W. Overlaps add (rule 2)."""
    (n, h, w), c = shape[:3], dV.shape[-1]
    down, across = _tiles(h), _tiles(w)
    tiles = (_like(B, dV).T @ dV.reshape(36, -1)).reshape(6, 6, n, down, across, c)
    padded = array_module(dV).zeros((n, 4 * down + 2, 4 * across + 2, c), dV.dtype)
    for i in range(6):
        for j in range(6):
            padded[:, i : i + 4 * down - 3 : 4, j : j + 4 * across - 3 : 4] += tiles[i, j]
    return padded[:, 1 : h + 1, 1 : w + 1]


def from_products(M, shape):
    """y (N, H, W, D) of M (36, tiles, D); `shape` begins with N, H, W."""
    n, h, w = shape[:3]
    down, across = _tiles(h), _tiles(w)
    y = (_like(A, M) @ M.reshape(36, -1)).reshape(4, 4, n, down, across, -1)
    return y.transpose(2, 3, 0, 4, 1, 5).reshape(n, 4 * down, 4 * across, -1)[:, :h, :w]


def from_products_transposed(dy):
    """dM (36, tiles, D) of dy (N, H, W, D)."""
    n, h, w, d = dy.shape
    down, across = _tiles(h), _tiles(w)
    if h % 4 or w % 4:
        whole = array_module(dy).zeros((n, 4 * down, 4 * across, d), dy.dtype)
        whole[:, :h, :w] = dy
        dy = whole
    tiles = dy.reshape(n, down, 4, across, 4, d).transpose(2, 4, 0, 1, 3, 5)
    return (_like(A, dy).T @ tiles.reshape(16, -1)).reshape(36, -1, d)


def _tiles(side):
    return -(-side // 4)


def _like(matrix, x):
    """A fixed matrix on the device and in the precision of x."""
    return array_module(x).asarray(matrix, x.real.dtype)
