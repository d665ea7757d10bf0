"""From noise to images, step by step. A sampler is a generator: its user sees every step.

All of them take a schedule, respaced for fewer steps, and a function `eps_hat = predict(x_t, t)`
with t (N,). If variances are learned, the answer has v in the channels after the image's. Each step
clips x0_hat, its estimate of the clean image, and computes eps_hat again from that; `clip` is a
function of x0_hat, `clipped` to [-1, 1] unless given.
"""

import math
from collections import deque
from typing import NamedTuple

import numpy as np

from .. import doors
from ..device import array_module
from .predictors import ask, clipped, predict_x0
from .process import log_variance, posterior_mean


class Step(NamedTuple):
    """Where a sampler stands: x (N, ...) at time t, and x0_hat, its estimate of the clean image."""

    t: int
    x: np.ndarray
    x0_hat: np.ndarray


def ancestral(predict, schedule, x_T, rng, variance="small", clip=clipped):
    """Walk the Markov chain back from noise x_T (N, ...) to images; yields a Step for t = T-1 .. 0.

        x_{t-1} = posterior_mean(x0_hat, x_t) + σ_t z,    z ~ N(0, 1), but z = 0 at t = 1

    variance   "large": σ_t² = β_t, the paper's choice for all of its 1,000 steps; "small":
               σ_t² = β̃_t; "learned", if the network was trained for it: see `log_variance`
    rng        random Generator for z
    Raises     ValueError as `log_variance`
    Algorithm 2 as printed, (x_t - β_t / √(1 - ᾱ_t) eps_hat) / √α_t + σ_t z, is the same until
    x0_hat is clipped: put x0_hat = (x_t - √(1 - ᾱ_t) eps_hat) / √ᾱ_t into the mean.
    Source     Ho et al. 2020, Algorithm 2; clipping as in its code
    """
    (x,) = doors.images(x_T=x_T)
    for t in range(schedule.T, 0, -1):
        x0_hat, _, v = predict_x0(predict, schedule, x, t, clip)
        times = np.full(len(x), t)
        sigma = array_module(x).exp(log_variance(variance, v, times, schedule) / 2)
        x = posterior_mean(x0_hat, x, times, schedule)
        if t > 1:
            x = x + sigma * rng.standard_normal(x.shape, x.dtype)
        yield Step(t - 1, x, x0_hat)


def ddim(predict, schedule, x_T, rng=None, eta=0.0, clip=clipped):
    """DDIM: no noise on the way for eta = 0, as much as `ancestral` for eta = 1. Yields Steps, too.

        x_{t-1} = √ᾱ_{t-1} x0_hat + √(1 - ᾱ_{t-1} - σ²) eps_hat + σ z,    σ² = eta² β̃_t

    rng        random Generator for z, needed if eta > 0
    Raises     ValueError unless 0 <= eta <= 1, or if there is no rng for an eta above 0
    Source     Song et al. 2020, arXiv:2010.02502, equations 12 and 16; their α is ᾱ here
    """
    if not 0 <= eta <= 1 or (eta and rng is None):
        raise ValueError(f"eta of {eta}: use 0, for no noise, to 1, for all of it, and give an rng")
    (x,) = doors.images(x_T=x_T)
    for t in range(schedule.T, 0, -1):
        x0_hat, eps_hat, _ = predict_x0(predict, schedule, x, t, clip)
        alpha_bar = float(schedule.alpha_bar[t - 1])
        sigma = eta * math.sqrt(schedule.posterior_variance[t])
        x = math.sqrt(alpha_bar) * x0_hat + math.sqrt(1 - alpha_bar - sigma**2) * eps_hat
        if sigma:
            x = x + sigma * rng.standard_normal(x.shape, x.dtype)
        yield Step(t - 1, x, x0_hat)


def ddim_inversion(predict, schedule, x0):
    """The noise that `ddim` makes these images of; yields a Step for t = 1 .. T.

        x_t = √ᾱ_t x0_hat + √(1 - ᾱ_t) eps_hat,    eps_hat = predict(x_{t-1}, t)

    It asks for the noise at x_{t-1} where the exact inverse would need x_t: the more steps, the
    smaller the difference. Nothing is clipped.
    Source     Song et al. 2020, section 4.3
    """
    (x,) = doors.images(x0=x0)
    signal, noise = schedule.alpha_bar**0.5, (1 - schedule.alpha_bar) ** 0.5
    for t in range(1, schedule.T + 1):
        eps_hat, _ = ask(predict, schedule, x, t)
        x0_hat = (x - float(noise[t - 1]) * eps_hat) / float(signal[t - 1])
        x = float(signal[t]) * x0_hat + float(noise[t]) * eps_hat
        yield Step(t, x, x0_hat)


def slerp(a, b, share):
    """From noise a (share 0) to noise b (share 1) along a great circle: the length stays noise's.

        (sin((1 - s) θ) a + sin(s θ) b) / sin θ,    θ the angle between a and b

    Source     Song et al. 2020, section 5.3
    """
    a, b = doors.images(a=a, b=b)
    cosine = float((a * b).sum() / ((a * a).sum() * (b * b).sum()) ** 0.5)
    angle = math.acos(min(max(cosine, -1), 1))
    if math.sin(angle) < 1e-6:
        return (1 - share) * a + share * b
    return (math.sin((1 - share) * angle) * a + math.sin(share * angle) * b) / math.sin(angle)


def final_images(steps):
    """Run a sampler to its end; returns its images (N, ...)."""
    last = deque(steps, maxlen=1)
    if not last:
        raise ValueError("no steps: a sampler can be run only once")
    return last.pop().x
