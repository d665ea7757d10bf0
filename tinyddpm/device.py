"""Where arrays live. The only file that says `cupy`; it imports it only for CuPy's arrays."""

import numpy as np


def array_module(x):
    """The module whose functions take `x`: `numpy`, or `cupy` for an array on a GPU."""
    if type(x).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy
    return np


def to_host(x):
    """`x` as a NumPy array; a copy only if it was on a device."""
    return x if isinstance(x, np.ndarray) else x.get()
