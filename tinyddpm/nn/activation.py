"""SiLU, the non-linearity between two convolutions, and the layer that does nothing."""

from ..device import array_module


class SiLU:
    """x times its own sigmoid: smooth everywhere, so numerical derivatives can be exact.

        y = x s,   s = 1 / (1 + e⁻ˣ)                     x, y of any shape

    Backward   dx = dy (s + x s (1 - s)) = dy (s + y (1 - s))
    Keeps      x and s
    Source     Hendrycks & Gimpel 2016, arXiv:1606.08415; Ramachandran et al. 2017, arXiv:1710.05941
    """

    def forward(self, x, tape):
        s = (array_module(x).tanh(x / 2) + 1) / 2  # the sigmoid, in a form that cannot overflow
        tape.push(self, (x, s))
        return x * s

    def backward(self, dy, tape):
        x, s = tape.pop(self)
        return dy * (s + x * s * (1 - s))


class Identity:
    """y = x: the way past a block whose input and output have the same channels."""

    def forward(self, x, tape):
        return x

    def backward(self, dy, tape):
        return dy
