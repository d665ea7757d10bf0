"""Attention image by image, so that the scores of one stay in a core's cache.

With E = exp(score) and r = 1 / Σ E, A = r E is never written down:

    y = r (E v)      dscore = E (r dA - r Σ A dA)      Σ A dA = Σ y dy, which has d terms, not S

Only where scores are far from 0 is the maximum of each row subtracted first.
Source     the second sum: Dao et al. 2022, arXiv:2205.14135, appendix B
"""

import numpy as np

from .. import attention
from .arithmetic import product
from .memory import empty, scratch

FAR = 20  # e to this power, and to its negative, leave float32 room for tiny gradients
PIXELS = 128  # with fewer, the plain way takes less time


class Attention(attention.Attention):
    """Softmax attention that keeps q, k, v, E, r and y, and never A."""

    def forward(self, q, k, v, tape):
        if not _pays(q):
            return super().forward(q, k, v, tape)
        q, k, v = self._split(q), self._split(k), self._split(v)  # (N, heads, S, d)
        scale, s = q.shape[-1] ** -0.5, q.shape[2]
        E = empty((*q.shape[:3], s), q.dtype)
        r, y = np.empty((*q.shape[:3], 1), q.dtype), empty(q.shape, q.dtype)
        for i in range(len(q)):
            product(q[i] * scale, k[i].mT, out=E[i])
            if max(E[i].real.max(), -E[i].real.min()) > FAR:
                E[i] -= E[i].real.max(axis=-1, keepdims=True)
            np.exp(E[i], out=E[i])
            r[i] = 1 / (E[i] @ np.ones((s, 1), q.dtype))
            product(E[i], v[i], out=y[i])
            y[i] *= r[i]
        tape.push(self, (q, k, v, E, r, y))
        return self._join(y)

    def backward(self, dy, tape):
        if not _pays(dy):
            return super().backward(dy, tape)
        q, k, v, E, r, y = tape.pop(self)
        dy, scale = self._split(dy), q.shape[-1] ** -0.5
        dq, dk, dv = (empty(q.shape, dy.dtype) for _ in range(3))
        for i in range(len(q)):
            r_dy = dy[i] * r[i]
            product(E[i].mT, r_dy, out=dv[i])
            dscore = scratch("dscore", E[i].shape, dy.dtype)
            product(r_dy, v[i].mT, out=dscore)
            dscore -= (r_dy * y[i]).sum(axis=-1, keepdims=True)
            dscore *= E[i]
            product(dscore, k[i] * scale, out=dq[i])
            product(dscore.mT, q[i] * scale, out=dk[i])
        return self._join(dq), self._join(dk), self._join(dv)


def _pays(a):
    """Whether a (N, S, C) is a NumPy array with enough pixels for this to save time."""
    return isinstance(a, np.ndarray) and a.shape[1] >= PIXELS
