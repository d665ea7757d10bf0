"""DPM-Solver++(2M): samplers of second order, for few steps, without noise on the way and with it.

Both walk like a sampler of first order, but in place of x0_hat, the image that a step sees coming,
they use D, the image extrapolated to the middle of the step:

    D = x0_hat + min(h / h of the step before, 1) / 2 · (x0_hat - x0_hat of the step before)

h = λ_{t-1} - λ_t is how far λ = log(√ᾱ / √(1 - ᾱ)) goes in the step. The first step and the last,
which has h = ∞, use D = x0_hat. The paper has no min(.., 1): with times evenly spaced in λ it does
nothing, but a step much longer than the one before would extrapolate far beyond what both saw.

Source     Lu et al. 2022, arXiv:2211.01095, Algorithm 2 and section 6
"""

import math

import numpy as np

from .. import doors
from .predictors import clipped, predict_x0
from .process import posterior_mean
from .samplers import Step


def dpm_solver(predict, schedule, x_T, clip=clipped):
    """DPM-Solver++(2M): `ddim`'s step without noise, to D. Yields Steps as `ancestral`.

        x_{t-1} = (b_{t-1} / b_t) x_t + a_{t-1} (1 - e^-h) D,    a = √ᾱ, b = √(1 - ᾱ)

    which is a_{t-1} D plus b_{t-1} times the noise that x_t would hold if D were its image.
    """
    a, b = schedule.alpha_bar**0.5, (1 - schedule.alpha_bar) ** 0.5

    def step(x, D, t):
        return float(b[t - 1] / b[t]) * (x - float(a[t]) * D) + float(a[t - 1]) * D

    return _second_order(predict, schedule, x_T, step, clip)


def dpm_solver_sde(predict, schedule, x_T, rng, clip=clipped):
    """SDE-DPM-Solver++(2M): `ancestral`'s step with the small variance, to D. Yields Steps as it.

        x_{t-1} = (b_{t-1} / b_t) e^-h x_t + a_{t-1} (1 - e^-2h) D + b_{t-1} √(1 - e^-2h) z

    which is the posterior's mean, given x_t and D, plus √β̃_t z. The noise mends errors of the steps
    before, as in `ancestral`.

    rng        random Generator for z
    """

    def step(x, D, t):
        x = posterior_mean(D, x, np.full(len(x), t), schedule)
        if t == 1:
            return x
        sigma = math.sqrt(schedule.posterior_variance[t])
        return x + sigma * rng.standard_normal(x.shape, x.dtype)

    return _second_order(predict, schedule, x_T, step, clip)


def _second_order(predict, schedule, x_T, step, clip):
    """The Steps with x = step(x, D, t)."""
    signal = schedule.alpha_bar[1:]
    lambda_ = np.concatenate([[math.inf], np.log(signal / (1 - signal)) / 2])
    h = np.concatenate([[math.nan], lambda_[:-1] - lambda_[1:]])
    (x,), before = doors.images(x_T=x_T), None
    for t in range(schedule.T, 0, -1):
        x0_hat, _, _ = predict_x0(predict, schedule, x, t, clip)
        D = x0_hat
        if 1 < t < schedule.T:
            D = x0_hat + float(min(h[t] / h[t + 1], 1)) / 2 * (x0_hat - before)
        x, before = step(x, D, t), x0_hat
        yield Step(t - 1, x, x0_hat)
