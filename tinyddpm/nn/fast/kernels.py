"""What the layers on a GPU share: products that add to what is there, and kernels of our own.

A kernel is a few lines of CUDA's C++ that each thread runs for its own numbers; `real` stands for
their type. Threads come in blocks, and 32 threads of a block with the same threadIdx.y, a warp, go
side by side: they should read numbers that lie side by side. Nothing here is compiled, and CuPy is
not imported, before an array on a GPU comes along.

All of it was run by CuPy on a CPU, with threads in random order, and compiled for sm_80 and sm_90;
nothing has run on a GPU yet: see README.md.
"""

import math
from functools import lru_cache

import numpy as np

from ...device import array_module

REAL = {"f": "float", "d": "double"}  # by the dtype's letter
WARPS = 8  # of a block, where every warp has work of its own


def takes(x, *others):
    """Whether kernels can take x, real numbers on a GPU, and others, None or of its precision."""
    real = not isinstance(x, np.ndarray) and x.dtype.char in REAL
    return real and all(other is None or other.dtype == x.dtype for other in others)


def by_kernels(layer):
    """A class of layers whose methods are for what kernels take; its parent's do all the rest.

    They get arrays in one piece and, whatever came, of the weights' precision: so backward goes the
    way that forward went.
    """
    for name in ("forward", "backward"):
        setattr(layer, name, _where_taken(getattr(layer, name), getattr(layer.__base__, name)))
    return layer


def _where_taken(own, parents):
    def method(layer, *arguments):
        *arrays, tape = arguments
        if takes(arrays[0]) and takes(tape.theta, tape.grad):
            arrays = [in_one_piece(array, tape.theta.dtype) for array in arrays]
            return own(layer, *arrays, tape)
        return parents(layer, *arguments)

    return method


def run(source, name, blocks, threads, *arguments):
    """Run the kernel `name` of a source on blocks (x, y) of threads (x, y).

    Arrays are in one piece; the first argument says what `real` is.
    """
    dtype = arguments[0].dtype
    numbers = {int: np.int32, float: dtype.type}
    arguments = [numbers[type(a)](a) if type(a) in numbers else a for a in arguments]
    _kernel(array_module(arguments[0]), source, name, REAL[dtype.char])(blocks, threads, arguments)


@lru_cache
def _kernel(xp, source, name, real):
    return xp.RawKernel(f"typedef {real} real;\n{source}", name)


def pointwise(like, inputs, outputs, formula):
    """A kernel that computes a formula for each number of arrays on the device of `like`.

    Inputs and outputs are lists of a type and a name, T for that of the arrays; `i` is a number's
    place among them.
    """
    return _pointwise(array_module(like), inputs, outputs, formula)


@lru_cache
def _pointwise(xp, inputs, outputs, formula):
    return xp.ElementwiseKernel(inputs, outputs, formula, f"make_{outputs.split()[-1]}")


def in_one_piece(a, dtype=None):
    """`a`, or a copy if it is of another dtype or has gaps: kernels know no strides."""
    return array_module(a).ascontiguousarray(a, dtype)


def product(a, b, out, add=True):
    """out + a @ b, or a @ b, in the place of out: a (M, K), b (K, N), out (M, N)."""
    from cupy import cublas

    cublas.gemm("N", "N", a, b, out=out, beta=float(add))


def products(a, b):
    """a @ b for stacks a (..., M, K) and b (..., K, N), in one piece or transposed views of such.

    CuPy's own way would copy the transposed ones. To cuBLAS, whose matrices lie column by column,
    all of this is outᵀ = bᵀ aᵀ.
    """
    from cupy.cuda.device import get_cublas_handle
    from cupy_backends.cuda.libs import cublas

    (*lead, m, k), n = a.shape, b.shape[-1]
    out = array_module(a).empty((*lead, m, n), a.dtype)
    one, zero = np.ones(1, a.dtype), np.zeros(1, a.dtype)
    gemm = cublas.sgemmStridedBatched if a.dtype == np.float32 else cublas.dgemmStridedBatched
    (a, turn_a, step_a), (b, turn_b, step_b) = _as_it_lies(a), _as_it_lies(b)
    gemm(
        get_cublas_handle(), turn_b, turn_a, n, m, k, one.ctypes.data, b.data.ptr, step_b, k * n,
        a.data.ptr, step_a, m * k, zero.ctypes.data, out.data.ptr, n, m * n, math.prod(lead),
    )  # fmt: skip
    return out


def _as_it_lies(a):
    """A stack of matrices in one piece, whether they are transposed in it, and a row's length."""
    if a.swapaxes(-1, -2).flags.c_contiguous:
        return a, 1, a.shape[-2]
    return in_one_piece(a), 0, a.shape[-1]


def add_rows(rows, out):
    """Adds Σ rows (R, K) to out (K,): a product with ones, which keeps all of a GPU busy."""
    product(_ones(array_module(rows), len(rows), rows.dtype), rows, out.reshape(1, -1))


@lru_cache
def _ones(xp, count, dtype):
    return xp.ones((1, count), dtype)
