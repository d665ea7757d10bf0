"""The affine map, of which most of a network is made, and its transpose."""

from functools import partial

from .tape import glorot, zeros


class Linear:
    """Affine map of the last axis; in (N, H, W, C) it is also the 1×1 convolution.

        y = x W + b            x (..., n_in)   W (n_in, n_out)   b (n_out,)   y (..., n_out)

    Backward   dx = dy Wᵀ      dW = Σ xᵀ dy      db = Σ dy      (Σ over all axes but the last)
    Keeps      x
    """

    def __init__(self, layout, name, n_in, n_out, scale=1.0):
        self.W = layout.add(f"{name}.W", (n_in, n_out), partial(glorot, scale=scale))
        self.b = layout.add(f"{name}.b", (n_out,), zeros)

    def forward(self, x, tape):
        tape.push(self, x)
        return x @ self.W.of(tape.theta) + self.b.of(tape.theta)

    def backward(self, dy, tape):
        x = tape.pop(self)
        dW, db = self.W.of(tape.grad), self.b.of(tape.grad)
        dW += rows(x).T @ rows(dy)
        db += rows(dy).sum(axis=0)  # rule 3: b was copied to every row
        return dy @ self.W.of(tape.theta).T  # rule 4


def rows(a):
    """(..., n) as a matrix (everything else, n)."""
    return a.reshape(-1, a.shape[-1])
