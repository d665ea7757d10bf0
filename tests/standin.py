"""A stand-in for CuPy where there is no GPU: computed by NumPy, stricter than CuPy.

Its arrays wrap NumPy's instead of being a kind of them, so nothing takes one for the other. They
refuse what works here and fails or waits on a GPU: mixing host and device, NumPy's functions, a
float64 that creeps in, what CuPy's functions do not have. Within `no_waiting()` they refuse what
makes the host wait for the GPU. What it cannot find: kernels, streams, memory, and rounding.

    standin.install(monkeypatch)

It runs no kernels: layers take the plain way, and it draws what NumPy draws. It has just the names
that tinyddpm uses; before another one is added, look it up in CuPy.
"""

import operator
import sys
import types
from contextlib import contextmanager

import numpy as np

from tinyddpm import randomness
from tinyddpm.nn.fast import kernels

SINGLE = (np.dtype(np.float32), np.dtype(np.complex64))
SCALARS = (bool, int, float, complex, np.generic)
_waiting_is_forbidden = False


class WaitsForTheGPU(RuntimeError):
    """Something was read back within `no_waiting()`."""


@contextmanager
def no_waiting():
    """While it lasts, nothing may be read back from the device."""
    global _waiting_is_forbidden
    _waiting_is_forbidden = True
    try:
        yield
    finally:
        _waiting_is_forbidden = False


def _waits(what):
    if _waiting_is_forbidden:
        raise WaitsForTheGPU(f"{what} waits for the GPU")


def _host(operand):
    """What NumPy computes with in place of an operand that CuPy takes."""
    if isinstance(operand, ndarray):
        return operand._host
    if isinstance(operand, SCALARS):
        return operand
    raise TypeError(f"CuPy does not take a {type(operand).__module__}.{type(operand).__name__}")


def _check_precision(dtype, operands):
    """A result is no more precise than its least precise operand, unless that was asked for."""
    types = [getattr(operand, "dtype", None) for operand in operands]
    if dtype in (np.float64, np.complex128) and any(type in SINGLE for type in types):
        raise TypeError(f"float64 creeps in: {dtype} of {types}")


def _device(result, *operands):
    """The result on the device."""
    result = np.asarray(result)
    _check_precision(result.dtype, operands)
    return ndarray(result)


def _binary(function, swapped=False):
    def method(self, other):
        a, b = (other, self) if swapped else (self, other)
        return _device(function(_host(a), _host(b)), a, b)

    return method


def _power(a, b):
    if np.iscomplexobj(a) and (isinstance(b, np.ndarray) or b not in (2, 0.5, -0.5)):
        raise TypeError(f"z ** {b} is exp({b} log z) on CuPy, whose slope is wrong: multiply")
    return a**b


def _in_place(function):
    def method(self, other):
        _check_precision(np.result_type(self._host, _host(other)), [self, other])
        result = function(self._host, _host(other))
        np.copyto(self._host, result, casting="same_kind")
        return self

    return method


def _unary(function):
    return lambda self: _device(function(self._host))


def _method(name):
    """A method of arrays; of its keywords, only those that CuPy knows."""

    def method(self, *arguments, **keywords):
        unknown = keywords.keys() - {"axis", "keepdims", "dtype", "copy"}
        if unknown:
            raise TypeError(f"{name} of CuPy does not know {unknown}")
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                raise TypeError(f"{name} got an array of NumPy")
        return ndarray(np.asarray(getattr(self._host, name)(*arguments, **keywords)))

    return method


def _reads(name):
    def method(self, *arguments):
        _waits(name)
        return getattr(self._host, name)(*arguments)

    return method


def _refuses(what):
    def method(self, *arguments, **keywords):
        raise TypeError(f"{what} does not take arrays of CuPy: use .get() or CuPy's own")

    return method


class ndarray:
    """An array on the device."""

    __module__ = "cupy"
    __hash__ = None

    def __init__(self, host):
        self._host = host

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    T = property(lambda self: ndarray(self._host.T))
    real = property(lambda self: ndarray(self._host.real))
    imag = property(lambda self: ndarray(self._host.imag))

    __array__ = _refuses("NumPy (np.array, np.asarray)")
    __array_ufunc__ = _refuses("a ufunc of NumPy")
    __array_function__ = _refuses("a function of NumPy")
    __str__ = __repr__ = _reads("__repr__")
    __format__ = _reads("__format__")
    __float__, __int__, __bool__ = _reads("__float__"), _reads("__int__"), _reads("__bool__")
    __complex__, __index__ = _reads("__complex__"), _reads("__index__")
    item, tolist, get = _reads("item"), _reads("tolist"), _reads("copy")
    __neg__, __abs__ = _unary(operator.neg), _unary(operator.abs)
    __invert__ = _unary(operator.invert)

    def __len__(self):
        return len(self._host)

    def __getitem__(self, index):
        return _device(self._host[_index(index, reading=True)])

    def __setitem__(self, index, value):
        _check_precision(np.result_type(self._host, _host(value)), [self, value])
        self._host[_index(index, reading=False)] = _host(value)

    def __iter__(self):
        return (self[i] for i in range(len(self)))


for _name in "add sub mul truediv floordiv mod pow matmul and_ or_ xor".split():
    _function, _name = getattr(operator, _name), _name.strip("_")
    _function = _power if _name == "pow" else _function
    setattr(ndarray, f"__{_name}__", _binary(_function))
    setattr(ndarray, f"__r{_name}__", _binary(_function, swapped=True))
    setattr(ndarray, f"__i{_name}__", _in_place(_function))
for _name in "lt le gt ge eq ne".split():
    setattr(ndarray, f"__{_name}__", _binary(getattr(operator, _name)))
for (
    _name
) in "reshape ravel astype sum mean max min all clip repeat swapaxes transpose copy".split():
    setattr(ndarray, _name, _method(_name))


def _index(index, reading):
    """An index for NumPy; CuPy takes arrays of its own, slices and numbers."""
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if isinstance(part, (np.ndarray, list)):
            raise TypeError(f"an index of type {type(part).__name__}: CuPy's own is wanted")
        if reading and isinstance(part, ndarray) and part.dtype == bool:
            _waits("a mask, whose result has a size that the host must know,")
    parts = tuple(part._host if isinstance(part, ndarray) else part for part in parts)
    return parts if isinstance(index, tuple) else parts[0]


class _Ufunc:
    """A ufunc of CuPy: no where=, and it reduces only by adding and multiplying."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *operands):
        return _device(self.function(*map(_host, operands)), *operands)

    def reduce(self, *arguments, **keywords):
        raise NotImplementedError(f"{self.function.__name__}.reduce: only add and multiply can")


def _join(function):
    def join(arrays, axis=0):
        if not all(isinstance(array, ndarray) for array in arrays):
            raise TypeError("CuPy joins arrays of its own only")
        return _device(function([array._host for array in arrays], axis=axis), *arrays)

    return join


def _make(function):
    def make(*arguments, **dtype):
        if not dtype.keys() <= {"dtype"}:
            raise TypeError(f"CuPy's {function.__name__} does not know {dtype}")
        return ndarray(function(*arguments, **dtype))

    return make


def _alike(function):
    return lambda array, dtype=None: ndarray(function(array._host, dtype))


def _asarray(x, dtype=None):
    return ndarray(np.array(_host(x) if isinstance(x, ndarray) else x, dtype))


def _where(condition, a, b):
    return _device(np.where(*map(_host, (condition, a, b))), a, b)


def _quantile(array, share, axis):
    return _device(np.quantile(_host(array), share, axis=axis), array)


class _Generator:
    """What stands in for a `DeviceGenerator`, with its methods alone."""

    def __init__(self, key, xp):
        self._rng = np.random.default_rng(key)

    def random(self, size=(), dtype=np.float64):
        return ndarray(np.asarray(self._rng.random(size, dtype)))

    def standard_normal(self, size=(), dtype=np.float64):
        return ndarray(np.asarray(self._rng.standard_normal(size, dtype)))

    def integers(self, low, high, size=()):
        return ndarray(np.asarray(self._rng.integers(low, high, size)))


class _Module(types.ModuleType):
    def __getattr__(self, name):
        raise AttributeError(f"the stand-in has no cupy.{name}: look whether CuPy has it")


cupy = _Module("cupy")
cupy.ndarray = ndarray
cupy.is_available = lambda: True
cupy.asarray, cupy.where, cupy.quantile = _asarray, _where, _quantile
cupy.concatenate, cupy.stack = _join(np.concatenate), _join(np.stack)
for _name in "zeros ones full arange eye".split():
    setattr(cupy, _name, _make(getattr(np, _name)))
for _name in "zeros_like ones_like".split():
    setattr(cupy, _name, _alike(getattr(np, _name)))
for _name in "exp log tanh sin cos abs maximum minimum isfinite".split():
    setattr(cupy, _name, _Ufunc(getattr(np, _name)))
cupy.get_default_memory_pool = lambda: types.SimpleNamespace(total_bytes=lambda: 1 << 30)
cupy.cuda = types.SimpleNamespace(
    runtime=types.SimpleNamespace(getDeviceProperties=lambda i: {"name": b"a stand-in"})
)


def install(monkeypatch):
    """Put all this in CuPy's place for one test."""
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(kernels, "REAL", {})  # no kernel takes anything
    monkeypatch.setattr(randomness, "DeviceGenerator", _Generator)
