"""The 3×3 convolution with a quarter to a sixth of the multiplications: Winograd's F(m×m, 3×3).

A window of k×k pixels, k = m + 2, holds all that a tile of m×m outputs sees. Along one axis: the
product of two polynomials with 3 and m coefficients is known from its values at k points, which
are products of numbers. With P_n (k, n) the powers 0 to n - 1 of the points, it is
P_k⁻¹ (P_3 a · P_m b); and what a kernel a does to a window is the transpose of this map of b. Along
both axes, from pixels to k×k points and back:

    V = B x Bᵀ      U = G W Gᵀ      y = Aᵀ (Σ_channels V U) A
    B = P_k⁻ᵀ (k, k)      G = P_3 (k, 3)      A = P_m (k, m)         (Lavin & Gray write Bᵀ for B)

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

from .. import conv, pairs
from .arithmetic import sum_rows
from .memory import chunks, empty, scratch

POINTS = {  # for every m; also their negatives, 0 if m is even, and infinity
    4: (2 / 3, 3 / 2),  # errors in float32, as a share of y, with 64 channels: 1e-6
    5: (1 / 3, 4 / 5, 9 / 5),  # 2e-6
    6: (1 / 2, 1, 2),  # 3e-6
    7: (1 / 4, 2 / 3, 6 / 5, 11 / 5),  # 8e-6
    8: (2 / 5, 4 / 5, 5 / 4, 5 / 2),  # 2e-5; of the plain convolution 3e-7
}
KERNEL = 20  # the work that a kernel's map makes, in tiles
CHUNK = 1 << 19  # bytes of V that are worked on at once: a quarter of a core's cache


class Conv3x3(conv.Conv3x3):
    """The convolution by Winograd's algorithm; keeps 1.6 to 2.3 times the size of x."""

    def forward(self, x, tape):
        if not pays(x, self.W, self.stride):
            return super().forward(x, tape)
        return forward(self, x, tape)

    def backward(self, dy, tape):
        if not pays(dy, self.W, self.stride):
            return super().backward(dy, tape)
        return backward(self, dy, tape)


class UpsampleConv(pairs.UpsampleConv):
    """From x to y without the larger image in between; keeps 6 to 9 times the size of x."""

    def forward(self, x, tape):
        if not pays(x, self.conv.W, copies=2):
            return super().forward(x, tape)
        return forward(self.conv, x, tape, copies=2)

    def backward(self, dy, tape):
        if not pays(dy, self.conv.W):
            return super().backward(dy, tape)
        return backward(self.conv, dy, tape, copies=2)


def pays(x, W, stride=1, copies=1):
    """Whether it pays for images x (N, H, W, channels) and a kernel W (3, 3, C, D).

    The product saves time in proportion to C D. The maps of images cost it in proportion to C + D
    and, as their matrices are dense, to a side; the kernel's map as much for one tile as for many.
    Outputs may be as few as one: the plain way cuts as many patches for them.
    """
    n, h, w, c = len(x), copies * x.shape[1], copies * x.shape[2], W.shape[2]
    if stride > 1 or not isinstance(x, np.ndarray):
        return False
    return c >= 8 and max(h, w) <= 3 * c and n * _tiles(h, w, 4) >= 16


def forward(conv, x, tape, copies=1):
    """y (N, H, W, D), the convolution of x (N, H / copies, W / copies, C) with copies² of a pixel.

    Remembers V (k, k, tiles, C), in parts.
    """
    W, b = conv.W.of(tape.theta), conv.b.of(tape.theta)
    x = x.astype(np.result_type(x, W), copy=False)
    y = empty((len(x), copies * x.shape[1], copies * x.shape[2], len(b)), x.dtype)
    B, G, A = _maps_for(y, copies)
    U, kept = kernel_to_points(G, W), []
    new = partial(scratch, "V") if tape.grad is None else empty
    for cut in _chunks(x, B, U):
        V = B.to_points(x[cut], new)
        M = np.matmul(V, U, out=scratch("M", (*V.shape[:3], len(b)), x.dtype))
        A.from_points(M, y[cut], plus=b)
        kept.append((cut, V))
    tape.push(conv, (x.shape, kept))
    return y


def backward(conv, dy, tape, copies=1):
    """dx, of the shape of x; adds to the gradients of W and b."""
    (shape, kept), W = tape.pop(conv), conv.W.of(tape.theta)
    dW, db = conv.W.of(tape.grad), conv.b.of(tape.grad)
    dy = dy.astype(np.result_type(dy, W), copy=False)
    B, G, A = _maps_for(dy, copies)
    U_T, dx = kernel_to_points(G, W.swapaxes(2, 3)), empty(shape, dy.dtype)
    db += sum_rows(dy.reshape(-1, len(db)))  # rule 3
    while kept:
        cut, V = kept.pop()
        dM = A.to_points(dy[cut], partial(scratch, "M"))
        dU = np.matmul(V.mT, dM, out=scratch("U", (*V.shape[:2], *W.shape[2:]), dy.dtype))
        dW += kernel_from_points(G, dU)
        dV = np.matmul(dM, U_T, out=scratch("V", V.shape, dy.dtype))
        B.from_points(dV, dx[cut])
    return dx


def kernel_to_points(G, W):
    """U (k, k, C, D) of W (3, 3, C, D)."""
    U = empty((len(G), len(G), *W.shape[2:]), np.result_type(G, W))
    rows = np.matmul(G, W.reshape(3, 3, -1)).swapaxes(0, 1)
    np.matmul(G, rows, out=U.reshape(*U.shape[:2], -1))
    return U


def kernel_from_points(G, dU):
    """The transpose: dW (3, 3, C, D) of dU (k, k, C, D)."""
    rows = np.matmul(G.T, dU.reshape(*dU.shape[:2], -1)).swapaxes(0, 1)
    return np.matmul(G.T, rows).reshape(3, 3, *dU.shape[2:])


class Map:
    """From images (N, H, W, C) to points (k across, k down, tiles, C) and back.

    down       the matrix along a column of pixels, (k · tiles down, H)
    across     the matrix along a row, (k · tiles across, W)
    Tiles      are in the order row of tiles, image, tile of the row
    """

    def __init__(self, k, down, across):
        self.k, self.down, self.across = k, down, across
        self.across_and_one = np.vstack([across, np.ones_like(across[:1])])
        self.tiles = len(down) // k * (len(across) // k)  # of one image

    def to_points(self, images, new):
        """The points of images, in an array that is new(shape, dtype)."""
        n, h, _, c = images.shape
        points = new((self.k, self.k, n * self.tiles, c), images.dtype)
        rows = scratch("rows", (n, h, len(self.across), c), images.dtype)
        np.matmul(self.across, images, out=rows)
        np.matmul(self.down, self._by_column(rows), out=self._by_image(points, n))
        return points

    def from_points(self, points, images, plus=0):
        """The transpose: sets every pixel to the sum of all that it was mapped to (rule 2).

        `plus` (C,) is added to every pixel: it is one more row, that goes to all pixels.
        """
        n, h, _, c = images.shape
        rows = scratch("rows", (n, h, len(self.across) + 1, c), images.dtype)
        np.matmul(self.down.T, self._by_image(points, n), out=self._by_column(rows[:, :, :-1]))
        rows[:, :, -1] = plus
        np.matmul(self.across_and_one.T, rows, out=images)

    def _by_column(self, rows):
        """A view (k, N, H, tiles across · C) of rows (N, H, k · tiles across, C)."""
        n, h, _, _ = rows.shape
        return rows.reshape(n, h, self.k, -1).transpose(2, 0, 1, 3)

    def _by_image(self, points, n):
        """A view (k, N, k · tiles down, tiles across · C)."""
        return points.reshape(self.k, len(self.down), n, -1).swapaxes(1, 2)


def _maps_for(y, copies):
    """B, G and A for outputs, or their gradients, y (N, H, W, D)."""
    n, h, w, _ = y.shape
    return maps(best_m(n, h, w), h, w, copies, y.real.dtype)


def best_m(n, h, w):
    """The size of tiles that makes the least work for outputs (n, h, w)."""
    return min(POINTS, key=lambda m: (m + 2) ** 2 * (n * _tiles(h, w, m) + KERNEL))


@lru_cache
def maps(m, h, w, copies, dtype):
    """B, G and A for outputs (h, w) in tiles of m×m."""
    points = [sign * point for point in POINTS[m] for sign in (1, -1)] + [0] * (1 - m % 2)
    B, G, A = np.linalg.inv(_powers(points, m + 2)).T, _powers(points, 3), _powers(points, m)
    B = Map(m + 2, *(_along(side, B, m, -1, copies, dtype) for side in (h, w)))
    A = Map(m + 2, *(_along(side, A, m, 0, 1, dtype) for side in (h, w)))
    return B, G.astype(dtype), A


def _powers(points, n):
    """The powers 0 to n - 1 of points, (k, n); of infinity only the highest counts."""
    return np.vstack([np.vander(points, n, increasing=True), np.eye(n)[-1]])


def _along(side, matrix, m, first, copies, dtype):
    """A matrix (k, size) at the pixel `first` and every m-th: (k · tiles, side / copies)."""
    begin = np.arange(first, first + side, m)[:, None, None]
    pixel = (begin + np.arange(matrix.shape[1])[:, None]) // copies  # (tiles, size, 1)
    taken = pixel == np.arange(side // copies)
    return np.concatenate(np.tensordot(matrix, taken, axes=(1, 1))).astype(dtype)


def _chunks(x, B, U):
    """Slices of images x, one or more each, with V no larger than CHUNK, or than half of U."""
    size = B.k**2 * B.tiles * max(U.shape[2:]) * x.itemsize
    return chunks(len(x), size, max(CHUNK, U.nbytes // 2))


def _tiles(h, w, m):
    """How many tiles of m×m cover (h, w)."""
    return -(-h // m) * -(-w // m)
