"""The forward process, what the network's answer means, and the loss with its gradient."""

from .schedule import at


def q_sample(x0, t, eps, schedule):
    """A noisy image at any time in one step.

        x_t = √ᾱ_t x0 + √(1 - ᾱ_t) eps         x0, eps, x_t (N, ...)   t (N,) in 0..T

    Units      x0 in [-1, 1]; eps standard normal
    Source     Ho et al. 2020, equation 4
    """
    signal, noise = schedule.alpha_bar**0.5, (1 - schedule.alpha_bar) ** 0.5
    return at(signal, t, x0) * x0 + at(noise, t, x0) * eps


def predict_x0(x_t, t, eps_hat, schedule):
    """The clean image that `q_sample` would have made x_t of, if eps_hat was the noise.

        x0_hat = (x_t - √(1 - ᾱ_t) eps_hat) / √ᾱ_t

    Source     Ho et al. 2020, equation 15
    """
    signal, noise = schedule.alpha_bar**0.5, (1 - schedule.alpha_bar) ** 0.5
    return (x_t - at(noise, t, x_t) * eps_hat) / at(signal, t, x_t)


def simple_loss(model, x0, t, eps, schedule, tape, label=None, count=None):
    """The loss that DDPM minimises, and its gradient added to tape.grad: the heart of Algorithm 1.

        L = Σ (ε_θ(x_t, t) - eps)² / count      x0, eps (N, ...)   t, label (N,)

    count      how many numbers the mean is over: x0.size, or more if x0 is a part of a batch
    Backward   dε_θ = 2 (ε_θ - eps) / count; nothing is done on a tape without a gradient
    Source     Ho et al. 2020, equation 14 and Algorithm 1
    """
    count = count or x0.size
    x_t = q_sample(x0, t, eps, schedule)
    error = model.forward(x_t, t, tape, label) - eps
    if tape.grad is not None:
        model.backward(error * (2 / count), tape)
    return (error * error).sum() / count
