"""The tiles of Winograd's algorithm: which sizes there are, what they cost, and their matrices.

A tile has m = (down, across) outputs. The larger it is, the fewer multiplications and the more
rounding: ERRORS, as a share of y, in float32 and with 64 channels. Where a tile is not a square, it
is about the root of the product of both sides' errors.
"""

import math
from functools import lru_cache
from itertools import product

import numpy as np

POINTS = {  # for every m; also their negatives, 0 if m is even, and infinity
    4: (2 / 3, 3 / 2),
    5: (1 / 3, 4 / 5, 9 / 5),
    6: (1 / 2, 1, 2),
    7: (1 / 4, 2 / 3, 6 / 5, 11 / 5),
    8: (2 / 5, 4 / 5, 5 / 4, 5 / 2),
}
ERRORS = {4: 1e-6, 5: 2e-6, 6: 3e-6, 7: 8e-6, 8: 2e-5}  # of m×m tiles; plain convolution: 3e-7
EXACT = 4.2e-6  # the largest where nothing but the answer counts: a whole network keeps to 1e-5
KERNEL = 10  # mapping a kernel costs as much as mapping so many tiles


def tiles_of(h, w, m):
    """How many tiles m cover (h, w)."""
    return -(-h // m[0]) * -(-w // m[1])


@lru_cache
def best_m(n, h, w, exact=False):
    """The tiles m that make the least work for outputs (n, h, w)."""
    sizes = [m for m in product(POINTS, repeat=2) if not exact or error(m) <= EXACT]
    return min(sizes, key=lambda m: (m[0] + 2) * (m[1] + 2) * (n * tiles_of(h, w, m) + KERNEL))


def error(m):
    """About the rounding error with tiles m; see ERRORS."""
    return math.sqrt(ERRORS[m[0]] * ERRORS[m[1]])


def matrices(m):
    """B, G and A for m outputs along a side; see `winograd`."""
    points = [sign * point for point in POINTS[m] for sign in (1, -1)] + [0] * (1 - m % 2)
    return np.linalg.inv(_powers(points, m + 2)).T, _powers(points, 3), _powers(points, m)


def _powers(points, n):
    """The powers 0 to n - 1 of points, (k, n); of infinity only the highest counts."""
    return np.vstack([np.vander(points, n, increasing=True), np.eye(n)[-1]])
