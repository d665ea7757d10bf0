"""Attention: every pixel asks all pixels, and averages their answers by how well they fit."""

from ..device import array_module


class Attention:
    """Softmax attention among the pixels of an image, in one or more heads; it has no weights.

        score = q kᵀ / √d           q, k, v, y (N, S, C)   A, score (N, heads, S, S)   d = C / heads
        A = softmax(score)          over the last axis: a row of A sums to one
        y = A v                     head i sees channels i d to (i + 1) d

    Backward   dv = Aᵀ dy           dA = dy vᵀ
               dscore = A (dA - Σ A dA), Σ over a row. In a row ∂A_i/∂score_j = A_i (δ_ij - A_j),
               so dscore_j = Σ_i dA_i A_i (δ_ij - A_j) = A_j (dA_j - Σ_i A_i dA_i)
               dq = dscore k / √d   dk = dscoreᵀ q / √d
    Keeps      q, k, v and A
    Raises     ValueError if the heads do not divide the channels
    Source     Vaswani et al. 2017, arXiv:1706.03762, equation 1
    """

    def __init__(self, name, channels, heads=1):
        if channels % heads:
            raise ValueError(
                f"{name}: {heads} heads do not divide {channels} channels; "
                "choose a number of heads that does"
            )
        self.heads = heads

    def forward(self, q, k, v, tape):
        q, k, v = self._split(q), self._split(k), self._split(v)  # (N, heads, S, d)
        score = q @ _transposed(k) * q.shape[-1] ** -0.5
        A = array_module(q).exp(score - score.real.max(axis=-1, keepdims=True))
        A = A / A.sum(axis=-1, keepdims=True)
        tape.push(self, (q, k, v, A))
        return self._join(A @ v)

    def backward(self, dy, tape):
        q, k, v, A = tape.pop(self)
        dy = self._split(dy)
        dv = _transposed(A) @ dy
        dA = dy @ _transposed(v)
        dscore = A * (dA - (A * dA).sum(axis=-1, keepdims=True))
        dq = dscore @ k * q.shape[-1] ** -0.5
        dk = _transposed(dscore) @ q * q.shape[-1] ** -0.5
        return self._join(dq), self._join(dk), self._join(dv)

    def _split(self, a):
        n, s, c = a.shape
        return a.reshape(n, s, self.heads, c // self.heads).swapaxes(1, 2)

    def _join(self, a):
        n, heads, s, d = a.shape
        return a.swapaxes(1, 2).reshape(n, s, heads * d)


def _transposed(a):
    return a.swapaxes(-1, -2)
