"""Param, Layout and Tape: the two ideas that everything else stands on.

1. A parameter is an address, not an array. A layer knows where its W lives in a flat vector;
   the caller decides which vector: weights, gradient, moving average, a complex copy for a check.
2. Backward runs in exactly the reverse order of forward, so what forward remembers is a stack.
"""

import math

import numpy as np


class Param:
    """The address of one weight array: a name, a shape and a place in a flat vector."""

    def __init__(self, name, shape, start, init):
        self.name, self.shape, self.init = name, shape, init
        self.span = slice(start, start + math.prod(shape))

    def of(self, vector):
        """This parameter's place in `vector` (weights, gradient, moments, ...), as a view."""
        return vector[self.span].reshape(self.shape)

    def __repr__(self):
        return f"Param({self.name}, {self.shape})"


class Layout:
    """Hands out addresses, one after the other, in one flat vector of `size` numbers."""

    def __init__(self):
        self.params, self.size = [], 0

    def add(self, name, shape, init):
        """The next free address. `init(rng, shape)` gives the array's first values."""
        if any(param.name == name for param in self.params):
            raise ValueError(f"two parameters are called {name}: give each layer a name of its own")
        param = Param(name, shape, self.size, init)
        self.params.append(param)
        self.size = param.span.stop
        return param

    def init(self, rng, dtype=np.float32):
        """A new weight vector theta (size,) of `dtype`, drawn from the NumPy Generator `rng`."""
        theta = np.zeros(self.size, dtype)
        for param in self.params:
            param.of(theta)[...] = param.init(rng, param.shape)
        return theta


def zeros(rng, shape):
    """Initial values of a bias."""
    return np.zeros(shape)


def ones(rng, shape):
    """Initial values of a gain."""
    return np.ones(shape)


def normal(rng, shape):
    """Initial values of an embedding table: standard normal."""
    return rng.standard_normal(shape)


def glorot(rng, shape, scale=1.0):
    """Initial values of a matrix (..., n_in, n_out) that keep the size of signals and slopes.

        W ~ uniform(-a, a),   a = √(3 scale / fan),   fan = (fan_in + fan_out) / 2

    Axes in front of the last two (a kernel's pixels) multiply both fans.
    Source     Glorot & Bengio 2010, equation 16; `scale` as in Ho et al. 2020's code
    """
    fan = math.prod(shape[:-2]) * (shape[-2] + shape[-1]) / 2
    a = math.sqrt(3 * scale / fan)
    return rng.uniform(-a, a, shape)


NEARLY_ZERO = 1e-10  # scale of last layers: blocks start as (nearly) the identity, the U-Net as 0


class Tape:
    """One trip through the network: weights to read, a gradient to add to, things to remember.

    theta      flat weights (P,), only read
    grad       flat gradient (P,) that backward adds to, or None: then nothing is remembered,
               which is all that sampling needs
    rng        a random Generator for dropout, or None: then nothing is dropped
    """

    def __init__(self, theta, grad=None, rng=None):
        self.theta, self.grad, self.rng = theta, grad, rng
        self._stack = []

    def push(self, owner, memory):
        """Forward: remember what `owner` will need on the way back."""
        if self.grad is not None:
            self._stack.append((owner, memory))

    def pop(self, owner):
        """Backward: what `owner` remembered; the tape forgets it. RuntimeError out of order."""
        if self.grad is None:
            raise RuntimeError("this tape remembers nothing: backward needs Tape(theta, grad)")
        if not self._stack:
            raise RuntimeError(f"the tape is empty, but {_describe(owner)} asks: run forward first")
        pushed_by, memory = self._stack.pop()
        if pushed_by is not owner:
            raise RuntimeError(
                f"tape out of order: {_describe(owner)} asks, but {_describe(pushed_by)} pushed "
                "last; backward must run in exactly the reverse order of forward"
            )
        return memory

    def __len__(self):
        return len(self._stack)


def _describe(owner):
    params = [value for value in vars(owner).values() if isinstance(value, Param)]
    where = f" ({params[0].name})" if params else ""
    return f"{type(owner).__name__}{where}"
