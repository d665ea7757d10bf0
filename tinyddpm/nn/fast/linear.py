"""Linear and AddToPixels by products and sums of a size that suits a processor."""

import numpy as np

from .. import broadcast, linear
from ..linear import rows
from .arithmetic import add_to_rows, product, sum_rows


class Linear(linear.Linear):
    """x W + b in parts that OpenBLAS need not pack; sums over rows as products with ones."""

    def forward(self, x, tape):
        if not isinstance(x, np.ndarray):
            return super().forward(x, tape)
        W, b = self.W.of(tape.theta), self.b.of(tape.theta)
        tape.push(self, x)
        return product(rows(x), W, plus=b).reshape(*x.shape[:-1], -1)

    def backward(self, dy, tape):
        if not isinstance(dy, np.ndarray):
            return super().backward(dy, tape)
        x = tape.pop(self)
        dW, db = self.W.of(tape.grad), self.b.of(tape.grad)
        dW += rows(x).T @ rows(dy)
        db += sum_rows(rows(dy))  # rule 3
        return product(rows(dy), self.W.of(tape.theta).T).reshape(x.shape)  # rule 4


class AddToPixels(broadcast.AddToPixels):
    """The vector is copied for a run of pixels, so that NumPy adds long rows."""

    def forward(self, x, vector, tape):
        if not isinstance(x, np.ndarray):
            return super().forward(x, vector, tape)
        return add_to_rows(x, vector)

    def backward(self, dy, tape):
        if not isinstance(dy, np.ndarray):
            return super().backward(dy, tape)
        return dy, sum_rows(dy.reshape(len(dy), -1, dy.shape[-1]))  # rule 3
