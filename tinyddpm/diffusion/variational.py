"""The variational bound on -log p(x0): its terms, and their gradients for learned variances.

A network that learns variances answers with twice the channels of an image: [answer, v].
"""

import math
from typing import NamedTuple

import numpy as np

from .. import doors
from ..device import array_module
from .process import (
    log_variance,
    loss_weight,
    mean_of_each,
    posterior_mean,
    q_sample,
    simple_loss,
    target,
    x0_and_eps,
)
from .schedule import extract, network_time, per_image

HALF_BIN = 1 / 255  # a byte's share of [-1, 1], from its middle to its border
SMALLEST = 1e-12  # no probability counts as less


class Term(NamedTuple):
    """A term of the bound in bits per dimension (N,), and its gradients by mean and log σ²."""

    bits: np.ndarray
    d_mean: np.ndarray
    d_log_sigma2: np.ndarray


def bound(x0, x_t, t, mean, log_sigma2, schedule):
    """The term L_{t-1} of the bound for the model p(x_{t-1} | x_t) = N(mean, σ²).

        t > 1      KL(q(x_{t-1} | x_t, x0) || p) of two Gaussians
        t = 1      -log p(x0 | x_1), where p is the probability that N(mean, σ²) gives x0's bin

    x0 (bytes as numbers in [-1, 1]), x_t, mean, log_sigma2 (N, ...)   t (N,)
    Units      bits per dimension: natural logarithms, mean over an image's numbers, divided by ln 2
    Source     Ho et al. 2020, equations 5 and 13; Nichol & Dhariwal 2021, equations 4 to 7
    """
    x0, x_t, mean = doors.images(x0=x0, x_t=x_t, mean=mean)
    (log_sigma2,) = doors.images(log_sigma2=log_sigma2)  # one for each number, or for each image
    if np.broadcast_shapes(x0.shape, log_sigma2.shape) != x0.shape:
        raise ValueError(f"log_sigma2 of shape {log_sigma2.shape} for images {x0.shape}")
    doors.in_model_range(x0)
    where, first = array_module(x0).where, per_image(t, x0) == 1
    kl = _kl(posterior_mean(x0, x_t, t, schedule), t, mean, log_sigma2, schedule)
    decoder = _decoder(x0, mean, log_sigma2)
    nats, d_mean, d_log_sigma2 = (where(first, d, k) for d, k in zip(decoder, kl))
    unit = math.log(2) * x0[0].size
    return Term(mean_of_each(nats) / math.log(2), d_mean / unit, d_log_sigma2 / unit)


def _kl(true_mean, t, mean, log_sigma2, schedule):
    """KL(N(true_mean, β̃_t) || N(mean, σ²)) and its slopes by mean and log σ², number by number."""
    exp = array_module(mean).exp
    log_true = log_variance("small", mean, t, schedule)
    gap, ratio = mean - true_mean, exp(log_true - log_sigma2)
    d_mean = gap * exp(-log_sigma2)
    spread = ratio + gap * d_mean
    return (log_sigma2 - log_true - 1 + spread) / 2, d_mean, (1 - spread) / 2


def _decoder(x0, mean, log_sigma2):
    """-log of what N(mean, σ²) has in the bin around x0, and its slopes by mean and log σ².

    p = Φ((x0 + 1/255 - mean) / σ) - Φ((x0 - 1/255 - mean) / σ); the outer bins reach to infinity
    """
    xp = array_module(x0)
    per_sigma = xp.exp(-log_sigma2 / 2)
    plus, minus = ((x0 + side - mean) * per_sigma for side in (HALF_BIN, -HALF_BIN))
    (cdf_plus, d_plus), (cdf_minus, d_minus) = _normal_cdf(plus), _normal_cdf(minus)
    white, black = x0 > 0.999, x0 < -0.999  # the outer bins
    cdf_plus, d_plus = xp.where(white, 1, cdf_plus), xp.where(white, 0, d_plus)
    cdf_minus, d_minus = xp.where(black, 0, cdf_minus), xp.where(black, 0, d_minus)
    p = cdf_plus - cdf_minus
    counts = ~(p.real <= SMALLEST)  # NaN counts, too, and shows
    p = xp.where(counts, p, SMALLEST)
    d_mean = xp.where(counts, (d_plus - d_minus) * per_sigma / p, 0)
    d_log_sigma2 = xp.where(counts, (d_plus * plus - d_minus * minus) / (2 * p), 0)
    return -xp.log(p), d_mean, d_log_sigma2


def _normal_cdf(z):
    """Φ(z) as the papers' code has it, close to 4 digits, and its slope.

    Φ(z) = (1 + tanh(u)) / 2,   u = √(2/π) (z + 0.044715 z³)
    """
    tanh = array_module(z).tanh((2 / math.pi) ** 0.5 * (z + 0.044715 * z * z * z))
    slope = (2 / math.pi) ** 0.5 * (1 + 3 * 0.044715 * z**2)
    return (1 + tanh) / 2, (1 - tanh * tanh) / 2 * slope


def prior_bits(x0, schedule):
    """L_T of each image (N,) in bits per dimension: KL(q(x_T | x0) || N(0, 1)).

    Source     Ho et al. 2020, equation 5
    """
    (x0,) = doors.images(x0=x0)
    alpha_bar = float(schedule.alpha_bar[-1])
    nats = (alpha_bar * x0 * x0 - alpha_bar - math.log1p(-alpha_bar)) / 2
    return mean_of_each(nats) / math.log(2)


def vlb_loss(model, x0, t, eps, schedule, tape, label=None, weight=None, predicts="eps"):
    """One term of the bound to stand for all of them, and its gradient added to tape.grad.

        loss_n = T L_{t-1}    in bits per dimension; the rest as in `simple_loss`

    Source     Nichol & Dhariwal 2021, equation 4 (L_vlb) and section 3.3
    """
    x0, eps = doors.images(x0=x0, eps=eps)
    x_t = q_sample(x0, t, eps, schedule)
    answer = model.forward(x_t, network_time(t, x0, schedule), tape, label)
    bits, d_answer, d_v = _bound_of(answer, x0, x_t, t, schedule, predicts)
    if tape.grad is not None:
        d_out = array_module(x0).concatenate([d_answer, d_v], axis=-1)
        model.backward(loss_weight(weight, x0) * schedule.T * d_out, tape)
    return schedule.T * bits


def hybrid_loss(model, x0, t, eps, schedule, tape, label=None, weight=None, predicts="eps"):
    """The simple loss for the answer, a little of the bound for the variance alone.

        loss_n = simple_n + 0.001 T L_{t-1}, where L's gradient holds the mean fixed

    Source     Nichol & Dhariwal 2021, equation 16 (L_hybrid)
    """
    x0, eps = doors.images(x0=x0, eps=eps)
    x_t = q_sample(x0, t, eps, schedule)
    answer = model.forward(x_t, network_time(t, x0, schedule), tape, label)
    bits, _, d_v = _bound_of(answer, x0, x_t, t, schedule, predicts)
    error = answer[..., : x0.shape[-1]] - target(x0, t, eps, schedule, predicts)
    share = 0.001 * schedule.T
    if tape.grad is not None:
        d_out = array_module(x0).concatenate([2 / x0[0].size * error, share * d_v], axis=-1)
        model.backward(loss_weight(weight, x0) * d_out, tape)
    return mean_of_each(error * error) + share * bits


def _bound_of(answer, x0, x_t, t, schedule, predicts):
    """L_{t-1} of each image and its slopes by both halves of the network's answer."""
    if answer.shape[-1] != 2 * x0.shape[-1]:
        raise ValueError(
            f"{answer.shape[-1]} channels for images of {x0.shape[-1]}: to learn variances the "
            "network must answer with twice as many; set outputs=2"
        )
    prediction, v = answer[..., : x0.shape[-1]], answer[..., x0.shape[-1] :]
    x0_hat, _ = x0_and_eps(prediction, x_t, t, schedule, predicts)
    mean = posterior_mean(x0_hat, x_t, t, schedule)
    term = bound(x0, x_t, t, mean, log_variance("learned", v, t, schedule), schedule)
    d_x0_hat = term.d_mean * extract(schedule.posterior_x0_coef, t, x0)
    d_prediction, _ = x0_and_eps(d_x0_hat, 0 * x_t, t, schedule, predicts)  # rule 4: a diagonal
    log_range = schedule.log_beta - schedule.log_posterior_variance
    return term.bits, d_prediction, term.d_log_sigma2 * extract(log_range / 2, t, x0)


LOSSES = {"simple": simple_loss, "hybrid": hybrid_loss, "vlb": vlb_loss}
