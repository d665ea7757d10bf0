"""Arrays that begin at a cache line, scratch that stays in the cache, freed memory that is kept.

NumPy's arrays begin at a multiple of 16 bytes. At a multiple of 64, arithmetic on numbers that are
in a core's cache is about twice as fast.
"""

import ctypes
import math
import threading

import numpy as np


def keep_freed_memory():
    """Tell the C library to keep freed memory for the next array instead of returning it.

    The system would hand it out again page by page, filled with zeros, which can cost as much as
    the arithmetic. Only glibc returns memory so eagerly; elsewhere this does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    trim, mmap = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in malloc.h
    if mallopt(mmap, 1 << 30) or mallopt(mmap, 1 << 25):  # older ones take no more than 32 MiB
        mallopt(trim, 1 << 30)


def chunks(n, size, room):
    """Slices of n images of `size` bytes: about as many each, one or more, that fit into `room`."""
    count = -(-n // max(1, room // size))
    return [slice(n * i // count, n * (i + 1) // count) for i in range(count)]


def empty(shape, dtype):
    """An uninitialised array that begins at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    raw = np.empty(math.prod(shape) * dtype.itemsize + 64, np.uint8)
    return np.ndarray(shape, dtype, raw, -raw.ctypes.data % 64)


class _Held(threading.local):
    """The scratch of one thread, by name."""

    def __init__(self):
        self.by_name = {}


_held = _Held()


def scratch(name, shape, dtype):
    """An uninitialised array in the memory of `name`, valid until the next call with that name."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    held = _held.by_name.get(name)
    if held is None or held.nbytes < size:
        held = _held.by_name[name] = empty((size,), np.uint8)
    return np.ndarray(shape, dtype, held)
