"""Matrix products, and vectors along the rows of a matrix, in sizes that suit a processor."""

from functools import lru_cache

import numpy as np

from .memory import empty

SMALL = 1_000_000  # with AVX-512, OpenBLAS multiplies smaller matrices without packing them first
RUN = 2048  # NumPy's loops pay from about this many numbers in one piece of memory


def product(a, b, plus=None, out=None):
    """a @ b, plus a vector for every row: a (..., M, K), b (..., K, N), plus (N,) -> (..., M, N).

    Rows of `a` go in chunks that are SMALL. Up to twice as fast, most of all for few columns.
    """
    (*lead, m, k), n = a.shape, b.shape[-1]
    if out is None and m * k * n <= SMALL:
        return a @ b if plus is None else a @ b + plus
    if out is None:
        out = empty((*lead, m, n), np.result_type(a, b))
    rows = _rows_at_once(m, k, n)
    parts = (*lead, m // rows, rows)
    b = np.ascontiguousarray(b)[..., None, :, :]
    np.matmul(a.reshape(*parts, k), b, out=out.reshape(*parts, n))
    if plus is not None:
        runs = as_long_rows(out.reshape(1, 1, -1, n))
        runs += tiled(plus, runs)
    return out


def add_to_rows(a, vector):
    """a + vector for all pixels of an image: a (N, H, W, C), vector (N, C) or (C,)."""
    runs = as_long_rows(a)
    out = empty(runs.shape, np.result_type(a, vector))
    return np.add(runs, tiled(vector, runs), out=out).reshape(a.shape)


def sum_rows(a):
    """(..., R, C) -> (..., C): `a.sum(axis=-2)`, several times faster: a product with ones."""
    return np.ones(a.shape[-2], a.dtype) @ a


def as_long_rows(images):
    """Images (N, H, W, C) as rows of k pixels, about RUN numbers: (N, H W / k, k C)."""
    n, c = len(images), images.shape[-1]
    k = _rows_in_a_run(images[0].size // c, c)
    return images.reshape(n, -1, k * c)


def tiled(vector, runs):
    """A vector (N, C) or (C,) for each pixel of a row of `runs`: (N, 1, k C) or (1, 1, k C)."""
    c, length = vector.shape[-1], runs.shape[-1]
    return vector.reshape(-1, 1, c).repeat(length // c, axis=1).reshape(-1, 1, length)


@lru_cache
def _rows_at_once(m, k, n):
    """The most rows that divide m and are SMALL together; all of them if that is less than 16."""
    return max((r for r in range(16, m + 1) if m % r == 0 and r * k * n <= SMALL), default=m)


@lru_cache
def _rows_in_a_run(s, c):
    """The most rows that divide s and are at most RUN numbers; 1 if there are no more."""
    return max(r for r in range(1, s + 1) if s % r == 0 and (r == 1 or r * c <= RUN))
