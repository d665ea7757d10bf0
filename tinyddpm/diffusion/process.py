"""The forward process, what the network's answer means, and the loss with its gradient.

Everywhere   a = √ᾱ_t and b = √(1 - ᾱ_t), so that x_t = a x0 + b eps and a² + b² = 1
"""

from .. import doors
from ..device import array_module
from .schedule import extract, network_time, per_image

PREDICTS = ("eps", "x0", "v")
VARIANCES = ("large", "small", "learned")


def _signal_and_noise(t, like, schedule):
    """a and b (N, 1, ..., 1)."""
    a, b = schedule.alpha_bar**0.5, (1 - schedule.alpha_bar) ** 0.5
    return extract(a, t, like), extract(b, t, like)


def _check(predicts):
    if predicts not in PREDICTS:
        raise ValueError(f"predicts {predicts!r}: choose from {', '.join(PREDICTS)}")


def q_sample(x0, t, eps, schedule):
    """A noisy image at any time in one step.

        x_t = a x0 + b eps         x0, eps, x_t (N, ...)   t (N,) in 0..T

    Units      x0 in [-1, 1]; eps standard normal
    Source     Ho et al. 2020, equation 4
    """
    x0, eps = doors.images(x0=x0, eps=eps)
    a, b = _signal_and_noise(doors.times(t, len(x0), schedule.T, first=0), x0, schedule)
    return a * x0 + b * eps


def target(x0, t, eps, schedule, predicts="eps"):
    """What the network should answer: "eps", "x0", or "v", which is x_t turned by 90 degrees.

        v = a eps - b x0         x0, eps (N, ...)   t (N,) in 1..T

    Raises     ValueError for anything else
    Source     v: Salimans & Ho 2022, arXiv:2202.00512, section 4
    """
    _check(predicts)
    x0, eps = doors.images(x0=x0, eps=eps)
    t = doors.times(t, len(x0), schedule.T)
    if predicts != "v":
        return eps if predicts == "eps" else x0
    a, b = _signal_and_noise(t, x0, schedule)
    return a * eps - b * x0


def x0_and_eps(answer, x_t, t, schedule, predicts="eps"):
    """The image and the noise that x_t was made of if the network's answer is right: (x0, eps).

        from eps   x0 = (x_t - b eps) / a          from v   x0 = a x_t - b v
        from x0    eps = (x_t - a x0) / b                  eps = b x_t + a v

    answer, x_t, x0, eps (N, ...)   t (N,) in 1..T
    Raises     ValueError for any other `predicts`
    Source     Ho et al. 2020, equation 15; Salimans & Ho 2022, appendix D
    """
    _check(predicts)
    answer, x_t = doors.images(answer=answer, x_t=x_t)
    a, b = _signal_and_noise(doors.times(t, len(x_t), schedule.T), x_t, schedule)
    if predicts == "eps":
        return (x_t - b * answer) / a, answer
    if predicts == "x0":
        return answer, (x_t - a * answer) / b
    return a * x_t - b * answer, b * x_t + a * answer


def posterior_mean(x0, x_t, t, schedule):
    """The mean of x_{t-1}, given x_t and x0: q's, or the model's if x0 is its estimate (N, ...).

        mean = (√ᾱ_{t-1} β_t x0 + √α_t (1 - ᾱ_{t-1}) x_t) / (1 - ᾱ_t)

    Source     Ho et al. 2020, equation 7
    """
    x0, x_t = doors.images(x0=x0, x_t=x_t)
    t = doors.times(t, len(x0), schedule.T)
    x0_coef = extract(schedule.posterior_x0_coef, t, x0)
    x_t_coef = extract(schedule.posterior_x_t_coef, t, x_t)
    return x0_coef * x0 + x_t_coef * x_t


def log_variance(variance, v, t, schedule):
    """The log of the model's variance of x_{t-1}, given x_t.

        "large"    log β_t, but log β̃_2 at t = 1
        "small"    log β̃_t, but log β̃_2 at t = 1
        "learned"  share · log β_t + (1 - share) · log β̃_t,   share = (v + 1) / 2

    v          (N, ...) the second half of the network's channels. If it is not learned it may be
               any array with as many axes: it gives the precision and the device
    Raises     ValueError for any other variance, or if v is empty where it is needed
    Source     Ho et al. 2020, section 3.2; Nichol & Dhariwal 2021, equation 15
    """
    if variance not in VARIANCES:
        raise ValueError(f"variance {variance!r}: choose from {', '.join(VARIANCES)}")
    (v,) = doors.images(v=v)
    t = doors.times(t, len(v), schedule.T)
    if variance == "learned" and not v.shape[-1]:
        raise ValueError("this network has learned no variances: choose 'small' or 'large'")
    low, high = schedule.log_posterior_variance, schedule.log_beta
    if variance == "learned":
        return extract(low, t, v) + (v + 1) / 2 * extract(high - low, t, v)
    if variance == "large":
        low = array_module(low).concatenate([low[:2], high[2:]])
    return extract(low, t, v)


def simple_loss(model, x0, t, eps, schedule, tape, label=None, weight=None, predicts="eps"):
    """The loss that DDPM minimises, and its gradient added to tape.grad: the heart of Algorithm 1.

        loss_n = mean over an image's numbers of (ε_θ(x_t, t) - eps)²     x0, eps (N, ...)
        or with x0 or v in place of eps: see `target`                      loss, t, label (N,)

    The model is told schedule.times[t], which is t unless the schedule is respaced.

    weight     (N,), 1/N unless given: the gradient is that of Σ weight_n loss_n
    Backward   dε_θ = 2 weight (ε_θ - eps) / (numbers of an image): the 2 is the square's, the
               division the mean's over an image, and the mean over the batch is in weight.
               Nothing is done on a tape without a gradient
    Source     Ho et al. 2020, equation 14 and Algorithm 1
    """
    x0, eps = doors.images(x0=x0, eps=eps)
    x_t = q_sample(x0, t, eps, schedule)
    answer = model.forward(x_t, network_time(t, x0, schedule), tape, label)
    if answer.shape != x0.shape:
        raise ValueError(f"an answer of shape {answer.shape} for images {x0.shape}: set outputs=1")
    error = answer - target(x0, t, eps, schedule, predicts)
    if tape.grad is not None:
        model.backward(loss_weight(weight, x0) * 2 / x0[0].size * error, tape)
    return mean_of_each(error * error)


def loss_weight(weight, like):
    """weight (N,) as (N, 1, ..., 1), like the images `like` (N, ...); 1/N if it is None."""
    if weight is None:
        return 1 / len(like)
    weight = per_image(weight, like)
    if len(weight) != len(like):
        raise ValueError(f"{len(weight)} weights for {len(like)} images: give one for each")
    return weight


def mean_of_each(x):
    """The mean over all axes but the first: (N, ...) -> (N,)"""
    return x.reshape(len(x), -1).mean(axis=1)
