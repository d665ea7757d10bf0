"""From noise to images, step by step. A sampler is a generator: its user sees every step."""

from collections import deque
from typing import NamedTuple

import numpy as np

from .device import array_module
from .diffusion import predict_x0
from .tape import Tape


class Step(NamedTuple):
    """Where a sampler stands: x (N, ...) at time t, and the clean image x0_hat it saw coming."""

    t: int
    x: np.ndarray
    x0_hat: np.ndarray


def predictor(model, theta, label=None):
    """The model with these weights and labels as what samplers take: eps_hat = predict(x_t, t)."""
    return lambda x_t, t: model.forward(x_t, t, Tape(theta), label)


def guided(eps_model, label, null, weight):
    """Classifier-free guidance as what samplers take: away from any image, towards the label's.

        eps_hat = (1 + w) eps_θ(x_t, t, label) - w eps_θ(x_t, t, null)      w = weight

    eps_model  eps_hat = eps_model(x_t, t, label), here called once with twice the batch
    label      (N,); null is the null label that the model was trained with; w = 0: no guidance
    Source     Ho & Salimans 2022, arXiv:2207.12598, equation 6
    """

    def predict(x_t, t):
        if not weight:
            return eps_model(x_t, t, label)
        xp = array_module(x_t)
        labels = xp.concatenate([label, xp.full_like(label, null)])
        both = eps_model(xp.concatenate([x_t, x_t]), xp.concatenate([t, t]), labels)
        return (1 + weight) * both[: len(x_t)] - weight * both[len(x_t) :]

    return predict


def ancestral(predict, schedule, x_T, rng, variance="large"):
    """Walk the Markov chain back from noise x_T (N, ...) to images; yields a Step for t = T-1 .. 0.

        x0_hat = clip((x_t - √(1 - ᾱ_t) eps_hat) / √ᾱ_t, -1, 1)
        mean = (√ᾱ_{t-1} β_t x0_hat + √α_t (1 - ᾱ_{t-1}) x_t) / (1 - ᾱ_t)
        x_{t-1} = mean + σ_t z,    z ~ N(0, 1), except at t = 1, where z = 0

    predict    eps_hat = predict(x_t, t) with t (N,), as `predictor` makes it
    variance   "large": σ_t² = β_t, best with all steps; "small": σ_t² = β̃_t, better with few
    rng        random Generator for z
    Units      images in [-1, 1]
    Raises     ValueError for any other variance
    Source     Ho et al. 2020, Algorithm 2 with equation 7; clipping as in its code
    """
    tables = {"large": schedule.beta, "small": schedule.posterior_variance}
    if variance not in tables:
        raise ValueError(f"variance {variance!r}: choose 'large' or 'small'")
    return _ancestral(predict, schedule, x_T, rng, tables[variance])


def _ancestral(predict, schedule, x, rng, variance):
    xp = array_module(x)
    beta, alpha, alpha_bar = schedule.beta, schedule.alpha, schedule.alpha_bar
    for t in range(schedule.T, 0, -1):
        eps_hat = predict(x, xp.full(len(x), schedule.times[t]))
        x0_hat = predict_x0(x, np.full(len(x), t), eps_hat, schedule).clip(-1, 1)
        to_x0 = float(alpha_bar[t - 1] ** 0.5 * beta[t] / (1 - alpha_bar[t]))
        to_x = float(alpha[t] ** 0.5 * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]))
        x = to_x0 * x0_hat + to_x * x
        if t > 1:
            x = x + float(variance[t] ** 0.5) * rng.standard_normal(x.shape, x.dtype)
        yield Step(t - 1, x, x0_hat)


def last(steps):
    """Run a sampler to its end; returns its images (N, ...)."""
    return deque(steps, maxlen=1).pop().x
