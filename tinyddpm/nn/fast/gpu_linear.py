"""Linear on a GPU: products of matrices that add to what is there, the bias or the gradient."""

from ...device import array_module
from ..linear import rows
from . import linear
from .kernels import add_rows, by_kernels, product


@by_kernels
class Linear(linear.Linear):
    """x W + b with all axes but the last as rows of one matrix."""

    def forward(self, x, tape):
        W, b = self.W.of(tape.theta), self.b.of(tape.theta)
        y = array_module(x).broadcast_to(b, (*x.shape[:-1], len(b))).copy()
        product(rows(x), W, out=rows(y))
        tape.push(self, x)
        return y

    def backward(self, dy, tape):
        x, W = tape.pop(self), self.W.of(tape.theta)
        product(rows(x).T, rows(dy), out=self.W.of(tape.grad))
        add_rows(rows(dy), self.b.of(tape.grad))  # rule 3
        dx = array_module(x).empty_like(x)
        product(rows(dy), W.T, out=rows(dx), add=False)  # rule 4
        return dx
