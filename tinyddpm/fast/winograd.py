"""The 3×3 convolution with a fifth of the multiplications: Winograd's F(m×m, 3×3), m from 4 to 8.

A window of k×k pixels, k = m + 2, holds all that a tile of m×m outputs sees. Three fixed maps lead
to k×k points, where a convolution is a product number by number, and back:

    V = B x Bᵀ      U = G W Gᵀ      y = Aᵀ (Σ_channels V U) A      B (k, k)   G (k, 3)   A (k, m)

With many tiles and channels, the product is k² matrix products (tiles, C) · (C, D). For all windows
along one side of an image, B is one matrix, mostly zeros, that multiplies the image where it lies:
this takes less time than cutting the windows out. The zeros around the image are columns that this
matrix does not have, and an image of which every pixel is taken twice is only another matrix.
Backward goes through the transposes of the same maps, in the opposite order (rules 4 and 5), and
finds V on the tape: to make it again from x takes longer than to fetch it.
Source     Lavin & Gray 2015, arXiv:1509.09308, section 4; that rounding depends on the points:
           Barabasz et al. 2018, arXiv:1803.10986 (these were found by trying simple fractions)
"""

from functools import lru_cache, partial

import numpy as np

from ..device import sum_rows
from . import usable
from .memory import empty, parts, scratch

POINTS = {  # for every m; also their negatives, 0 if m is even, and infinity
    4: (2 / 3, 3 / 2),  # rounding errors of float32, root of the mean square: 1e-6
    5: (1 / 3, 4 / 5, 9 / 5),  # 2e-6
    6: (1 / 2, 1, 2),  # 3e-6
    7: (1 / 4, 2 / 3, 6 / 5, 11 / 5),  # 8e-6
    8: (2 / 5, 4 / 5, 5 / 4, 5 / 2),  # 2e-5; of the plain convolution 3e-7
}
KERNEL = 20  # the work that a kernel's map makes, in tiles
PART = 1 << 19  # bytes of V that are worked on at once: a quarter of a core's cache


def suits(x, W, stride=1, copies=1):
    """Whether it pays for images x (N, H, W, channels) and a kernel W (3, 3, C, D).

    The maps of images cost as much for few channels as for many, and the more, the larger an image
    is; the kernel's map costs as much for one tile as for many. The products saved do not.
    """
    n, h, w, c = len(x), copies * x.shape[1], copies * x.shape[2], W.shape[2]
    pays = c >= 8 and max(h, w) <= 3 * c and n * _tiles(h, 4) * _tiles(w, 4) >= 16
    return stride == 1 and pays and usable(x)


def forward(conv, x, tape, copies=1):
    """y (N, H, W, D) of a convolution, of x (N, H / copies, W / copies, C) made so much larger."""
    W, b = conv.W.of(tape.theta), conv.b.of(tape.theta)
    x = x.astype(np.result_type(x, W), copy=False)
    y = empty((len(x), copies * x.shape[1], copies * x.shape[2], len(b)), x.dtype)
    B, G, A = maps(*y.shape[:3], copies, y.real.dtype)
    U, kept = kernel_to_points(G, W), []
    for cut in _parts(x, B, U):
        V = B.forward(x[cut], partial(scratch, "V") if tape.grad is None else empty)
        M = np.matmul(V, U, out=scratch("M", (*V.shape[:3], len(b)), x.dtype))
        A.backward(M, y[cut], plus=b)
        kept.append((cut, V))
    tape.push(conv, (x.shape, kept))
    return y


def backward(conv, dy, tape, copies=1):
    """dx, of the shape of x; adds to the gradients of W and b."""
    (shape, kept), W = tape.pop(conv), conv.W.of(tape.theta)
    dW, db = conv.W.of(tape.grad), conv.b.of(tape.grad)
    dy = dy.astype(np.result_type(dy, W), copy=False)
    B, G, A = maps(*dy.shape[:3], copies, dy.real.dtype)
    U_T, dx = kernel_to_points(G, W.swapaxes(2, 3)), empty(shape, dy.dtype)
    db += sum_rows(dy.reshape(-1, len(db)))  # rule 3
    for cut, V in kept:
        dM = A.forward(dy[cut], partial(scratch, "M"))
        dU = np.matmul(V.mT, dM, out=scratch("U", (*V.shape[:2], *W.shape[2:]), dy.dtype))
        dW += kernel_from_points(G, dU)
        dV = np.matmul(dM, U_T, out=scratch("V", V.shape, dy.dtype))
        B.backward(dV, dx[cut])
    return dx


def kernel_to_points(G, W):
    """U (k, k, C, D) of W (3, 3, C, D)."""
    U = empty((len(G), len(G), *W.shape[2:]), W.dtype)
    rows = np.matmul(G, W.reshape(3, 3, -1)).swapaxes(0, 1)
    np.matmul(G, rows, out=U.reshape(*U.shape[:2], -1))
    return U


def kernel_from_points(G, dU):
    """dW (3, 3, C, D) of dU (k, k, C, D)."""
    rows = np.matmul(G.T, dU.reshape(*dU.shape[:2], -1)).swapaxes(0, 1)
    return np.matmul(G.T, rows).reshape(3, 3, *dU.shape[2:])


class Map:
    """From images (N, H, W, C) to points (k, k, tiles, C): a matrix down and one across the image.

    Both are (k, tiles along this side, pixels of this side).
    """

    def __init__(self, down, across):
        self.k, self.tiles = len(down), down.shape[1] * across.shape[1]  # of one image
        self.down, self.across = (np.concatenate(side) for side in (down, across))
        self.across_and_one = np.vstack([self.across, np.ones_like(self.across[:1])])

    def forward(self, images, new):
        """The points of images, in an array that is new(shape, dtype)."""
        n, h, _, c = images.shape
        V = new((self.k, self.k, n * self.tiles, c), images.dtype)
        rows = scratch("rows", (n, h, len(self.across), c), images.dtype)
        np.matmul(self.across, images, out=rows)
        np.matmul(self.down, self._by_column(rows), out=self._by_image(V, n))
        return V

    def backward(self, V, images, plus=0):
        """The transpose: sets every pixel to the sum of all that it was mapped to (rule 2).

        `plus` (C,) is added to every pixel: it is one more row, that goes to all pixels.
        """
        n, h, _, c = images.shape
        rows = scratch("rows", (n, h, len(self.across) + 1, c), images.dtype)
        np.matmul(self.down.T, self._by_image(V, n), out=self._by_column(rows[:, :, :-1]))
        rows[:, :, -1] = plus
        np.matmul(self.across_and_one.T, rows, out=images)

    def _by_column(self, rows):
        """A view (k, N, H, tiles across · C)."""
        n, h, _, _ = rows.shape
        return rows.reshape(n, h, self.k, -1).transpose(2, 0, 1, 3)

    def _by_image(self, V, n):
        """A view (k, N, k · tiles down, tiles across · C)."""
        return V.reshape(self.k, len(self.down), n, -1).swapaxes(1, 2)


@lru_cache
def maps(n, h, w, copies, dtype):
    """B, G and A for outputs (n, h, w), by the m that makes the least work."""
    m = min(POINTS, key=lambda m: (m + 2) ** 2 * (n * _tiles(h, m) * _tiles(w, m) + KERNEL))
    points = [sign * point for point in POINTS[m] for sign in (1, -1)] + [0] * (1 - m % 2)
    B, G, A = np.linalg.inv(_powers(points, m + 2)).T, _powers(points, 3), _powers(points, m)
    B = Map(*(_along(side, B, m, -1, copies, dtype) for side in (h, w)))
    A = Map(*(_along(side, A, m, 0, 1, dtype) for side in (h, w)))
    return B, G.astype(dtype), A


def _powers(points, n):
    """The powers 0 to n - 1 of points, (k, n); of infinity only the highest counts."""
    return np.vstack([np.vander(points, n, increasing=True), np.eye(n)[-1]])


def _along(side, matrix, m, first, copies, dtype):
    """A matrix (k, size) at the pixel `first` and every m-th: (k, tiles, side / copies)."""
    begin = np.arange(first, first + side, m)[:, None, None]
    pixel = (begin + np.arange(matrix.shape[1])[:, None]) // copies  # (tiles, size, 1)
    taken = pixel == np.arange(side // copies)
    return np.tensordot(matrix, taken, axes=(1, 1)).astype(dtype)


def _parts(x, B, U):
    """Slices of about as many images x each, with V no more than PART, or than half of U."""
    size = B.k**2 * B.tiles * max(U.shape[2:]) * x.itemsize
    return parts(len(x), size, max(PART, U.nbytes // 2))


def _tiles(side, m):
    return -(-side // m)
