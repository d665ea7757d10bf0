"""The maps of Winograd's algorithm: images and kernels to points and back, as matrices.

For all windows along one side of a block, B is one matrix, mostly zeros, that multiplies the image
where it lies: this takes less time than cutting the windows out. The zeros around the image need no
columns in it, and up-sampling x first only makes another matrix. See `winograd` for the maps.
A small image is one block; a large one has several, so that the zeros in a matrix stay few. Blocks
that are alike go together: for the maps they are images of their own.
"""

import math
from functools import lru_cache
from itertools import groupby, product
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .memory import chunks, empty, scratch
from .tiles import best_m, matrices

SIDE = 20  # the most pixels along a block: with 36 the way there takes a sixth longer
TILES = 8  # the most tiles along blocks that go together: more make the products no faster


def kernel_to_points(G, W):
    """U (k across, k down, C, D) of W (3, 3, C, D); G are the matrices down and across."""
    down, across = G
    U = empty((len(across), len(down), *W.shape[2:]), np.result_type(down, W))
    rows = np.matmul(across, W.reshape(3, 3, -1)).swapaxes(0, 1)
    np.matmul(down, rows, out=U.reshape(*U.shape[:2], -1))
    return U


def kernel_from_points(G, dU):
    """The transpose: dW (3, 3, C, D) of dU (k across, k down, C, D)."""
    down, across = G
    rows = np.matmul(down.T, dU.reshape(*dU.shape[:2], -1)).swapaxes(0, 1)
    return np.matmul(across.T, rows).reshape(3, 3, *dU.shape[2:])


class Map:
    """From images (..., H, W, C) to points (k across, k down, tiles, C) and back.

    k          (down, across)
    down       the matrix along a column of pixels, (k · tiles down, H)
    across     the matrix along a row, (k · tiles across, W)
    Tiles      are in the order row of tiles, image, tile of the row
    """

    def __init__(self, k, down, across, dtype):
        self.k, self.down, self.across = k, down.astype(dtype), across.astype(dtype)
        self.across_and_one = np.vstack([self.across, np.ones_like(self.across[:1])])
        self.tiles = len(down) // k[0] * (len(across) // k[1])  # of one image

    def to_points(self, images, new):
        """The points of images, in an array that is new(shape, dtype)."""
        *lead, h, _, c = images.shape
        n = math.prod(lead)
        points = new((*self.k[::-1], n * self.tiles, c), images.dtype)
        rows = scratch("rows", (n, h, len(self.across), c), images.dtype)
        np.matmul(self.across, images, out=rows.reshape(*lead, h, -1, c))
        np.matmul(self.down, self._by_column(rows), out=self._by_image(points, n))
        return points

    def from_points(self, points, images, plus=0):
        """The transpose: sets every pixel to the sum of all that it was mapped to (rule 2).

        `plus` (C,) is added to every pixel: it is one more row, that goes to all pixels.
        """
        *lead, h, _, c = images.shape
        n = math.prod(lead)
        rows = scratch("rows", (n, h, len(self.across) + 1, c), images.dtype)
        np.matmul(self.down.T, self._by_image(points, n), out=self._by_column(rows[:, :, :-1]))
        rows[:, :, -1] = plus
        np.matmul(self.across_and_one.T, rows.reshape(*lead, h, -1, c), out=images)

    def _by_column(self, rows):
        """A view (k, N, H, tiles across · C) of rows (N, H, k · tiles across, C)."""
        n, h, _, _ = rows.shape
        return rows.reshape(n, h, self.k[1], -1).transpose(2, 0, 1, 3)

    def _by_image(self, points, n):
        """A view (k, N, k · tiles down, tiles across · C)."""
        return points.reshape(self.k[1], len(self.down), n, -1).swapaxes(1, 2)


class Places(NamedTuple):
    """`count` places of `size` pixels along a side, one every `step` pixels."""

    start: int
    size: int
    step: int
    count: int


class Blocks(NamedTuple):
    """Parts of the outputs that are alike: where they lie, what they see of x, and their maps."""

    y: tuple  # Places down and across
    x: tuple
    A: Map
    B: Map

    @property
    def tiles(self):
        """The number of tiles in an image."""
        return self.A.tiles * self.y[0].count * self.y[1].count


def at(images, down, across):
    """A view (N, places down, places across, H, W, C) of images; of one place (N, H, W, C)."""
    first = images[:, down.start :, across.start :][:, : down.size, : across.size]
    if down.count == across.count == 1:
        return first
    shape, (n, y, x, c) = first.shape, first.strides
    shape = (shape[0], down.count, across.count, *shape[1:])
    return as_strided(first, shape, (n, down.step * y, across.step * x, y, x, c))


def add(there, own):
    """there += own, for `there` from `at`: places may overlap with the next one (rule 2)."""
    if there.ndim == 4:
        there += own
        return
    for i, j in product((0, 1), repeat=2):
        there[:, i::2, j::2] += own[:, i::2, j::2]


def maps_for(y, copies, exact=False):
    """Both G and the `Blocks` of outputs or their gradients y (N, H, W, D)."""
    n, h, w, _ = y.shape
    return maps(best_m(n, h, w, exact), h, w, copies, y.real.dtype)


@lru_cache
def maps(m, h, w, copies, dtype):
    """Both G and the blocks for outputs (h, w) in tiles m = (down, across)."""
    k, blocks = (m[0] + 2, m[1] + 2), []
    for down_and_across in product(_along(h, m[0], copies), _along(w, m[1], copies)):
        y, A_maps, x, B_maps = zip(*down_and_across)
        blocks.append(Blocks(y, x, Map(k, *A_maps, dtype), Map(k, *B_maps, dtype)))
    return tuple(matrices(one)[1].astype(dtype) for one in m), blocks


def _along(side, m, copies):
    """The blocks along a side: [(Places in y, map, Places in x, map)]."""
    (B, _, A), tiles = matrices(m), -(-side // m)
    size = -(-tiles // -(-tiles // (SIDE // m)))  # tiles of a block: about as many in each
    blocks, found = [], []
    for begins in np.split(m * np.arange(tiles), range(size, tiles, size)):
        blocks.append((*_block(begins, A, side, 1), *_block(begins - 1, B, side, copies)))
    for _maps, alike in groupby(blocks, lambda block: [map.tolist() for map in block[1::2]]):
        alike = list(alike)
        for cut in chunks(len(alike), size, TILES):
            y, A_map, x, B_map = alike[cut.start]
            step, count = size * m, cut.stop - cut.start
            in_y = Places(y, A_map.shape[1], step, count)
            in_x = Places(x, B_map.shape[1], step // copies, count)
            found.append((in_y, A_map, in_x, B_map))
    return found


def _block(begins, matrix, side, copies):
    """A matrix (k, size) at the pixels `begins`: the first pixel of x that counts, and the map."""
    pixel = (begins[:, None] + np.arange(matrix.shape[1])) // copies  # (tiles, size)
    seen = np.arange(max(0, pixel.min()), min(side // copies, pixel.max() + 1))
    return seen[0], np.concatenate(np.tensordot(matrix, pixel[:, :, None] == seen, axes=(1, 1)))
