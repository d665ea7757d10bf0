"""Are the derivatives right? Measures how far hand-written ones are from numerical ones.

    from tinyddpm.nn.gradcheck import jacobian_gap
    layer = Linear(layout := Layout(), "linear", 3, 4)
    gap = jacobian_gap(layer.forward, layer.backward, layout.init(rng, float), rng.random((2, 3)))

Everything here works in float64, on the weights' device. A gap of 1e-12 means a right derivative,
one of 1e-6 a wrong one.
"""

import math

import numpy as np

from ..device import array_module
from ..randomness import random_generator
from .tape import Tape


def complex_step(f, z, v):
    """The derivative of f at z along v, exact to the last digits: no difference is taken.

        f'(z) v = Im f(z + i h v) / h + O(h²),   h = 1e-30

    f must compute with complex numbers, without abs, comparisons or conjugates.
    Source     Squire & Trapp 1998; Martins, Sturdza & Alonso 2003
    """
    return f(z + 1e-30j * v).imag / 1e-30


def stencil(f, z, v, h=5e-3):
    """The derivative of f at z along v from six real values: central differences of order h⁶.

    An independent witness: it shares no mistake with the complex step, and works for any smooth f.
    """
    steps = ((45, 1), (-9, 2), (1, 3))
    return sum(c * (f(z + k * h * v) - f(z - k * h * v)) for c, k in steps) / (60 * h)


def jacobian_gap(forward, backward, theta, *inputs, derivative=complex_step, seed=0):
    """How far the whole Jacobian by `backward` is from the numerical one, by theta and all inputs.

        gap = the largest over all weights and numbers of inputs of
              max |dy/dz by hand - dy/dz| / max |dy/dz|        for this z, the maxima over all of y

    A z that hardly moves y is judged as if it moved it by a thousandth of what the others do.

    forward    y = forward(*inputs, tape)
    backward   gradients of the inputs = backward(dy, tape): one array, or a tuple of them
    theta      (P,) float64 weights; inputs are float64 arrays of any shape, on the same device
    seed       of the tape's random generator, the same at every trip: dropout keeps its mask
    Raises     ValueError if backward writes into dy, or if what it returns does not have the
               shapes of the inputs
    """
    numerical = numerical_jacobian(forward, theta, *inputs, derivative=derivative, seed=seed)
    y = forward(*inputs, _tape(theta, seed))
    by_hand = []
    for dy in array_module(theta).eye(y.size):
        gradients = pull_back(forward, backward, theta, dy.reshape(y.shape), *inputs, seed=seed)
        got = [getattr(d, "shape", None) for d in gradients[1:]]
        wanted = [x.shape for x in inputs]
        if got != wanted:
            raise ValueError(f"gradients of shapes {got}: the inputs have shapes {wanted}")
        by_hand.append(_join(gradients))
    gap = _largest(array_module(theta).stack(by_hand) - numerical)
    size = _largest(numerical)  # of each z
    return float((gap / size.clip(max(1e-3 * float(size.max()), 1e-30))).max())


def numerical_jacobian(forward, theta, *inputs, derivative=complex_step, seed=0):
    """dy/dz (numbers of y, numbers of theta and of all inputs), without any backward."""
    shapes = [theta.shape, *(x.shape for x in inputs)]
    z = _join([theta, *inputs])

    def f(z):
        theta, *inputs = _cut(z, shapes)
        return forward(*inputs, _tape(theta, seed)).ravel()

    xp = array_module(theta)
    return xp.stack([derivative(f, z, direction) for direction in xp.eye(z.size)], axis=1)


def pull_back(forward, backward, theta, dy, *inputs, start=None, seed=0):
    """What one trip there and back gives for dy: the gradients of theta and of every input.

    The gradient begins with other numbers than zero, which are taken off at the end: a `dW = ...`
    where `dW += ...` belongs is seen. dy can only be read (on a CPU), as it is another's.

    start      (P,) these numbers; small random ones unless given
    """
    start = 1e-3 * _random(theta.shape, theta, seed) if start is None else start
    tape = _tape(theta, seed, start.copy())
    forward(*inputs, tape)
    if isinstance(dy, np.ndarray):
        dy = dy.copy()
        dy.flags.writeable = False
    d_inputs = backward(dy, tape)
    return [tape.grad - start, *(d_inputs if isinstance(d_inputs, tuple) else (d_inputs,))]


def slope_gap(f, z, grad, v, derivative=complex_step):
    """How far the slope <grad, v> is from the numerical slope of a scalar f at z along v.

        gap = |<grad, v> - f'(z) v| / max(|grad where v is not 0|, |grad| / 1000)

    For v of random signs the slope itself is about as large as this |grad|, but an unlucky v cannot
    make the gap large. A v that is zero outside one parameter checks this one alone; the second
    term serves parameters that f does not depend on.
    """
    size = max(_length(grad[v != 0]), _length(grad) / 1000)
    return abs(float(grad @ v - derivative(f, z, v))) / size


def adjoint_gap(forward, backward, theta, *inputs, seed=0):
    """How far `backward` is from the transpose of a forward that is linear in its inputs.

    gap = |<A x, y> - <x, Aᵀ y>| / (|A x| |y|)      for a random y; there is no step to choose
    """
    xp = array_module(theta)
    tape = Tape(theta, xp.zeros_like(theta))
    image = forward(*inputs, tape)
    y = _random(image.shape, theta, seed)
    back = backward(y, tape)
    back = _join(back if isinstance(back, tuple) else (back,))
    gap = abs(float(_join([image]) @ _join([y]) - _join(inputs) @ back))
    return gap / (_length(image) * _length(y))


def _tape(theta, seed, grad=None):
    return Tape(theta, grad, random_generator([seed], array_module(theta)))


def _random(shape, like, seed):
    return random_generator([seed], array_module(like)).standard_normal(shape)


def _largest(jacobian):
    return abs(jacobian).max(axis=0)


def _length(a):
    return float((a * a).sum()) ** 0.5


def _join(arrays):
    """Arrays of any shape as one flat vector."""
    return array_module(arrays[0]).concatenate([a.ravel() for a in arrays])


def _cut(z, shapes):
    """The arrays of these shapes that `_join` made z of."""
    ends = np.cumsum([0] + [math.prod(shape) for shape in shapes])
    return [z[ends[i] : ends[i + 1]].reshape(shape) for i, shape in enumerate(shapes)]
