"""The maps of Winograd's algorithm: images and kernels to points and back, as matrices.

For all windows along one side of a block, B is one matrix, mostly zeros, that multiplies the image
where it lies: this takes less time than cutting the windows out. The zeros around the image need no
columns in it, and up-sampling x first only makes another matrix. See `winograd` for the maps.
A small image is one block; a large one has several, so that the zeros in a matrix stay few.
"""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from .memory import chunks, empty, scratch

POINTS = {  # for every m; also their negatives, 0 if m is even, and infinity
    4: (2 / 3, 3 / 2),  # errors in float32, as a share of y, with 64 channels: 1e-6
    5: (1 / 3, 4 / 5, 9 / 5),  # 2e-6
    6: (1 / 2, 1, 2),  # 3e-6
    7: (1 / 4, 2 / 3, 6 / 5, 11 / 5),  # 8e-6
    8: (2 / 5, 4 / 5, 5 / 4, 5 / 2),  # 2e-5; of the plain convolution 3e-7
}
LARGEST, EXACT = 8, 5  # the largest tiles in training, and where nothing but the answer counts
KERNEL = 20  # mapping a kernel costs as much as mapping so many tiles
SIDE = 20  # the most pixels along a block: with 36 the way there takes a sixth longer


def tiles_of(h, w, m):
    """How many tiles of m×m cover (h, w)."""
    return -(-h // m) * -(-w // m)


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

    def __init__(self, k, down, across, dtype):
        self.k, self.down, self.across = k, down.astype(dtype), across.astype(dtype)
        self.across_and_one = np.vstack([self.across, np.ones_like(self.across[:1])])
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


class Block(NamedTuple):
    """A part of the outputs, and what of the images it sees: places in y and x, and their maps."""

    y: tuple  # slices of rows and columns
    x: tuple
    A: Map
    B: Map


def maps_for(y, copies, largest=LARGEST):
    """G and the `Block`s of outputs or their gradients y (N, H, W, D), in tiles up to `largest`."""
    n, h, w, _ = y.shape
    return maps(best_m(n, h, w, largest), h, w, copies, y.real.dtype)


def best_m(n, h, w, largest=LARGEST):
    """The size of tiles, up to `largest`, that makes the least work for outputs (n, h, w)."""
    sizes = [m for m in POINTS if m <= largest]
    return min(sizes, key=lambda m: (m + 2) ** 2 * (n * tiles_of(h, w, m) + KERNEL))


@lru_cache
def maps(m, h, w, copies, dtype):
    """G and the blocks for outputs (h, w) in tiles of m×m."""
    points = [sign * point for point in POINTS[m] for sign in (1, -1)] + [0] * (1 - m % 2)
    B, G, A = np.linalg.inv(_powers(points, m + 2)).T, _powers(points, 3), _powers(points, m)
    blocks = []
    for (a_down, b_down), (a_across, b_across) in product(
        *(list(zip(_along(side, A, m, 0, 1), _along(side, B, m, -1, copies))) for side in (h, w))
    ):
        (y, A_maps), (x, B_maps) = zip(a_down, a_across), zip(b_down, b_across)
        blocks.append(Block(y, x, Map(m + 2, *A_maps, dtype), Map(m + 2, *B_maps, dtype)))
    return G.astype(dtype), blocks


def _powers(points, n):
    """The powers 0 to n - 1 of points, (k, n); of infinity only the highest counts."""
    return np.vstack([np.vander(points, n, increasing=True), np.eye(n)[-1]])


def _along(side, matrix, m, first, copies):
    """A matrix (k, size) at the pixel `first` and every m-th: a map along each block of a side.

    Returns    for each block the slice of the pixels that its tiles see, and the map
               (k · tiles, pixels)
    """
    begins, parts = np.arange(first, first + side, m), []
    for cut in chunks(len(begins), m, SIDE):
        pixel = (begins[cut, None] + np.arange(matrix.shape[1])) // copies  # (tiles, size)
        seen = slice(max(0, pixel.min()), min(side // copies, pixel.max() + 1))
        taken = pixel[:, :, None] == np.arange(side // copies)[seen]
        parts.append((seen, np.concatenate(np.tensordot(matrix, taken, axes=(1, 1)))))
    return parts
