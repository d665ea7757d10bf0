"""What treats every number for itself, on a GPU: one kernel each way."""

from .. import activation, dropout, optim
from .kernels import pointwise, takes


class SiLU(activation.SiLU):
    """The plain formulas; keeps x."""

    def forward(self, x, tape):
        if not takes(x, tape.theta):
            return super().forward(x, tape)
        tape.push(self, x)
        return pointwise(x, "T x", "T y", "y = x / (1 + exp(-x))")(x)

    def backward(self, dy, tape):
        if not takes(dy, tape.theta):
            return super().backward(dy, tape)
        formula = "T s = 1 / (1 + exp(-x)); dx = dy * (s + x * s * (1 - s))"
        return pointwise(dy, "T x, T dy", "T dx", formula)(tape.pop(self), dy)


class Dropout(dropout.Dropout):
    """The plain formulas; keeps the mask, one byte a number."""

    def forward(self, x, tape):
        if not (takes(x, tape.theta) and self.rate and tape.rng is not None):
            return super().forward(x, tape)
        kernel = pointwise(x, "T x, float32 draw, T rate", "T y, bool mask", """
            mask = draw >= float(rate);
            y = mask ? x / (1 - rate) : 0""")  # fmt: skip
        y, mask = kernel(x, tape.rng.random(x.shape, dtype="float32"), self.rate)
        tape.push(self, mask)
        return y

    def backward(self, dy, tape):
        if not (takes(dy, tape.theta) and self.rate and tape.rng is not None):
            return super().backward(dy, tape)
        kernel = pointwise(dy, "T dy, bool mask, T rate", "T dx", "dx = mask ? dy / (1 - rate) : 0")
        return kernel(dy, tape.pop(self), self.rate)


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


def update_ema(ema, theta, step, decay):
    """`optim.update_ema` in one kernel."""
    if not takes(theta, ema):
        return optim.update_ema(ema, theta, step, decay)
    d = min(decay, (1 + step) / (10 + step))
    pointwise(ema, "T theta, T share", "T ema", "ema += share * (theta - ema)")(theta, 1 - d, ema)
