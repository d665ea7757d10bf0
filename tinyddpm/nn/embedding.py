"""Numbers into vectors: the time step by sinusoids, the label by a table."""

import math

from ..device import array_module
from .tape import normal


class Sinusoid:
    """The time step as sines and cosines of falling frequency; it has no weights.

        y = [sin(f_0 (t - 1)), ..., cos(f_0 (t - 1)), ...]     t (N,) in 1..T   y (N, dim)
        f_i = 10000^(-i / (dim/2 - shift))                     i = 0 .. dim/2 - 1

    t - 1, because published weights were trained with time steps from 0. With shift 1 the last
    frequency is 1/10000, with 0, as Vaswani et al. have it, a little more.
    Backward   none: t is not a variable
    Raises     ValueError if dim is odd or less than 4
    Source     Vaswani et al. 2017, section 3.5; order and shift 1 as in Ho et al. 2020's code
    """

    def __init__(self, dim, shift=1):
        if dim % 2 or dim < 4:
            raise ValueError(f"a sinusoid of {dim} numbers: use an even number from 4 on")
        self.dim, self.shift = dim, shift

    def forward(self, t, tape):
        xp = array_module(tape.theta)
        half = self.dim // 2
        frequency = xp.exp(xp.arange(half) * (-math.log(10000) / (half - self.shift)))
        angle = (xp.asarray(t) - 1)[:, None] * frequency  # (N, dim/2), float64: angles are large
        return xp.concatenate([xp.sin(angle), xp.cos(angle)], axis=1).astype(tape.theta.dtype)


class Embedding:
    """One learned vector for each label, and one more for "no label".

        y = table[label]         label (N,) in 0..classes   table (classes + 1, dim)   y (N, dim)
        label = classes is the null label: it stands for "any"

    Backward   dtable[k] = Σ of dy over the rows with label k, as a product with the one-hot labels
    Keeps      label
    """

    def __init__(self, layout, name, classes, dim):
        self.null = classes
        self.table = layout.add(f"{name}.table", (classes + 1, dim), normal)

    def forward(self, label, tape):
        tape.push(self, label)
        return self.table.of(tape.theta)[label]

    def backward(self, dy, tape):
        label = tape.pop(self)
        dtable = self.table.of(tape.grad)
        one_hot = array_module(dy).arange(self.null + 1)[:, None] == label
        dtable += one_hot.astype(dy.dtype) @ dy  # labels that occur twice: gradients add (rule 2)
