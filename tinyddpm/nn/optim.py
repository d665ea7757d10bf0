"""The optimisers on flat vectors: clipping, learning rate, Adam, Muon, moving average."""

import math

from ..device import array_module, cache_chunks
from .linear import rows


class Adam:
    """Steps of about `lr` for every weight, however large its gradient is.

        m = β1 m + (1 - β1) grad           v = β2 v + (1 - β2) grad²
        theta = theta - lr m̂ / (√v̂ + tiny),   m̂ = m / (1 - β1^step),   v̂ = v / (1 - β2^step)

    `update(theta, grad, lr)` changes theta, m and v (all (P,)) in place and counts `step`. The work
    has parts, of which one of many processes does a share: every so many of them.

    Source     Kingma & Ba 2014, arXiv:1412.6980, Algorithm 1
    """

    def __init__(self, theta, decay1=0.9, decay2=0.999, tiny=1e-8):
        self.m, self.v = array_module(theta).zeros((2, len(theta)), theta.dtype)
        self.step, self.decay1, self.decay2, self.tiny = 0, decay1, decay2, tiny

    def update(self, theta, grad, lr, share=slice(None)):
        self.step += 1
        for chunk in cache_chunks(theta)[share]:
            self._update(theta[chunk], self.m[chunk], self.v[chunk], grad[chunk], lr)

    def _update(self, theta, m, v, grad, lr):
        m *= self.decay1
        m += (1 - self.decay1) * grad
        v *= self.decay2
        v += (1 - self.decay2) * grad * grad
        m_hat = m / (1 - self.decay1**self.step)
        v_hat = v / (1 - self.decay2**self.step)
        theta -= lr * m_hat / (v_hat**0.5 + self.tiny)


class Muon(Adam):
    """Adam, except that matrices take steps that are as long in all their directions.

        M = β M + (1 - β) G         N = β M + (1 - β) G         β = 0.95
        W = W - 0.4 lr √max(rows, columns) O                    O ≈ U Vᵀ, where N = U S Vᵀ

    So what gradients say seldom is learnt as soon as what they say all the time. The length is
    that of Adam's steps, twice: a weight moves by about 0.4 lr. A 3 × 3 convolution is a matrix
    with a row for each number of a window. Of `m` and `v` a matrix has M, at its place in `m`.

    matrices   the Params of the weights that take such steps: those of hidden layers
    Source     Jordan et al. 2024, kellerjordan.github.io/posts/muon; lengths as in Liu et al. 2025,
               arXiv:2502.16982
    """

    def __init__(self, theta, matrices, momentum=0.95):
        super().__init__(theta)
        self.matrices, self.momentum = sorted(matrices, key=lambda p: -math.prod(p.shape)), momentum
        ends = [0, *(end for p in matrices for end in (p.span.start, p.span.stop)), len(theta)]
        self.others = [slice(*between) for between in zip(ends[::2], ends[1::2])]

    def update(self, theta, grad, lr, share=slice(None)):
        self.step += 1
        for span in self.others[share]:
            self._update(theta[span], self.m[span], self.v[span], grad[span], lr)
        for param in self.matrices[share]:
            W, M, G = (rows(param.of(vector)) for vector in (theta, self.m, grad))
            M *= self.momentum
            M += (1 - self.momentum) * G
            N = self.momentum * M + (1 - self.momentum) * G
            W -= 0.4 * lr * max(W.shape) ** 0.5 * orthogonalized(N)


def orthogonalized(matrix):
    """About U Vᵀ of a matrix U S Vᵀ (rows, columns): all that it stretches, it stretches alike.

    Five times X = a X + b (X Xᵀ) X + c (X Xᵀ)² X. It acts on the singular values alone, and takes
    those above a hundredth of its length to between 0.68 and 1.14.
    Source     Jordan et al. 2024 (Newton-Schulz)
    """
    tall = len(matrix) > matrix.shape[1]
    X = matrix.T if tall else matrix
    X = X / ((X * X).sum() ** 0.5 + 1e-7)
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(5):
        A = X @ X.T
        X = a * X + (b * A + c * (A @ A)) @ X
    return X.T if tall else X


def clip_by_norm(grad, largest):
    """Shorten grad (P,) in place if it is longer than `largest`; returns its length before.

    The length stays on the device, so that nobody waits for it.
    """
    norm = (grad @ grad) ** 0.5
    grad *= largest / array_module(grad).maximum(norm, largest)
    return norm


def learning_rate(step, steps, peak, warmup, end=1.0):
    """The learning rate of step 0, 1, ..., steps - 1.

    It rises in a straight line during the first `warmup` steps to `peak`, then falls along half a
    cosine to end · peak; with end = 1 it stays, as in Ho et al. 2020, appendix B.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (end + (1 - end) * (1 + math.cos(math.pi * done)) / 2)


def update_ema(ema, theta, step, decay, share=slice(None)):
    """Move the average ema (P,) in place a little towards theta, after update step = 1, 2, ...

        ema = ema + (1 - d) (theta - ema),    d = min(decay, (1 + step) / (10 + step))

    The ramp forgets the random start quickly: with a constant 0.9999 the average of a short run
    would be mostly noise.
    Source     Ho et al. 2020, appendix B; ramp as in TensorFlow's ExponentialMovingAverage
    """
    d = min(decay, (1 + step) / (10 + step))
    for chunk in cache_chunks(ema)[share]:
        average = ema[chunk]
        average += (1 - d) * (theta[chunk] - average)
