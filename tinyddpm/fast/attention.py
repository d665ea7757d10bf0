"""Attention image by image, so that the scores of one stay in a core's cache.

With E = exp(score) and r = 1 / Σ E, A = r E is never written down:

    y = r (E v)      dscore = E (r dA - r Σ A dA)      Σ A dA = Σ y dy, which has d terms, not S

Only where scores are far from 0 is their row's maximum taken away from them first.
Source     the second sum: Dao et al. 2022, arXiv:2205.14135, appendix B
"""

import numpy as np

from . import usable
from .arithmetic import product
from .memory import empty, scratch

FAR = 20  # e to this power, and to its negative, leave float32 room for tiny gradients


def suits(q):
    """Whether there are enough pixels in q (N, heads, S, d)."""
    return q.shape[2] >= 64 and usable(q)


def forward(layer, q, k, v, tape):
    """y (N, heads, S, d); remembers q, k, v, E, r and y."""
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
    tape.push(layer, (q, k, v, E, r, y))
    return y


def backward(layer, dy, tape):
    """dq, dk, dv (N, heads, S, d)."""
    q, k, v, E, r, y = tape.pop(layer)
    scale = q.shape[-1] ** -0.5
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
    return dq, dk, dv
