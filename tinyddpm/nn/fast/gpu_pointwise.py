"""What treats or moves every number for itself, on a GPU: one kernel each way."""

from ...device import array_module
from .. import activation, concat, dropout, embedding, optim
from .kernels import by_kernels, pointwise, takes


@by_kernels
class SiLU(activation.SiLU):
    """The plain formulas; keeps x."""

    def forward(self, x, tape):
        tape.push(self, x)
        return pointwise(x, "T x", "T y", "y = x / (1 + exp(-x))")(x)

    def backward(self, dy, tape):
        formula = "T s = 1 / (1 + exp(-x)); dx = dy * (s + x * s * (1 - s))"
        return pointwise(dy, "T x, T dy", "T dx", formula)(tape.pop(self), dy)


class Dropout(dropout.Dropout):
    """The plain layer, with one kernel for y = x mask / (1 - rate)."""

    def _masked(self, a, mask):
        if mask is None or not takes(a):
            return super()._masked(a, mask)
        formula = "y = mask ? a / (1 - rate) : 0"
        return pointwise(a, "T a, bool mask, T rate", "T y", formula)(a, mask, self.rate)


@by_kernels
class Concat(concat.Concat):
    """y = [a, b]. Both parts of dy are copied, so that nobody keeps the whole of it."""

    def forward(self, a, b, tape):
        tape.push(self, a.shape[-1])
        y = array_module(a).empty((*a.shape[:-1], a.shape[-1] + b.shape[-1]), a.dtype)
        _between(a, b, y, "y = part")
        return y

    def backward(self, dy, tape):
        c, xp = tape.pop(self), array_module(dy)
        da, db = (xp.empty((*dy.shape[:-1], n), dy.dtype) for n in (c, dy.shape[-1] - c))
        _between(da, db, dy, "part = y")
        return da, db


def _between(a, b, y, formula):
    """A formula for every number of y (..., C + D) and its `part` of a (..., C) or b (..., D).

    y has fewer than 2³² of them, because a GPU divides such numbers faster than larger ones.
    """
    place = """
        unsigned width = c + d, pixel = unsigned(i) / width, channel = unsigned(i) % width;
        T& part = channel < c ? a[pixel * c + channel] : b[pixel * d + channel - c];"""
    kernel = pointwise(y, "uint32 c, uint32 d", "raw T a, raw T b, T y", place + formula)
    kernel(a.shape[-1], b.shape[-1], a, b, y)


class Sinusoid(embedding.Sinusoid):
    """The plain formulas; `place` counts the numbers of a time's y, sines first."""

    def forward(self, t, tape):
        theta, xp = tape.theta, array_module(tape.theta)
        if not takes(theta):
            return super().forward(t, tape)
        formula = """
            int half = dim / 2, place = i % dim;
            double angle = (t - 1) * exp(place % half * (-log(10000.0) / (half - shift)));
            y = place < half ? sin(angle) : cos(angle)"""
        kernel = pointwise(theta, "int64 t, int32 dim, int32 shift", "T y", formula)
        y = xp.empty((len(t), self.dim), theta.dtype)
        return kernel(xp.asarray(t)[:, None], self.dim, self.shift, y)


class Adam(optim.Adam):
    """The plain formulas in one kernel."""

    def _update(self, theta, m, v, grad, lr):
        if not takes(grad, theta):
            return super()._update(theta, m, v, grad, lr)
        formula = """
            m = decay1 * m + (1 - decay1) * grad;
            v = decay2 * v + (1 - decay2) * grad * grad;
            theta -= lr * (m / bias1) / (sqrt(v / bias2) + tiny)"""
        numbers = "T grad, T lr, T decay1, T decay2, T bias1, T bias2, T tiny"
        bias1, bias2 = 1 - self.decay1**self.step, 1 - self.decay2**self.step
        pointwise(theta, numbers, "T theta, T m, T v", formula)(
            grad, lr, self.decay1, self.decay2, bias1, bias2, self.tiny, theta, m, v
        )


def update_ema(ema, theta, step, decay, share=slice(None)):
    """`optim.update_ema` in one kernel."""
    if not takes(theta, ema):
        return optim.update_ema(ema, theta, step, decay, share)
    d = min(decay, (1 + step) / (10 + step))
    pointwise(ema, "T theta, T share", "T ema", "ema += share * (theta - ema)")(theta, 1 - d, ema)
