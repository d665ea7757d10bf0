"""From a picture in place of noise: this needs no sampler of its own, only a shorter schedule.

A sampler begins at the end of its schedule. Given `schedule.until(t)` it begins at time t, and its
first Step is one step back from there. `sampler(schedule, x)` is any of them, without what else it
takes: partial(ddim, predict), or what `sampling.sampler` gives.
"""

import numpy as np

from .. import doors
from ..device import array_module
from .process import q_sample
from .samplers import Step
from .schedule import extract


def sdedit(sampler, schedule, x0, noise, strength):
    """Noise images x0 (N, ...) up to a share of the time, and go back; yields the sampler's Steps.

    What noise hides at that time is drawn anew, what it leaves to be seen stays: colours and places
    at a strength of 0.6, hardly anything at 1.

    noise      (N, ...); the image's own, from `ddim_inversion`, gives nearly the image itself
    strength   the share: it begins at the last of the schedule's times up to there, or its first
    Raises     ValueError unless 0 < strength <= 1
    Source     Meng et al. 2021, arXiv:2108.01073, Algorithm 1
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength of {strength}: use a share of the time, above 0, at most 1")
    t = max(1, int((schedule.times <= strength * schedule.times[-1]).sum()) - 1)
    begun = schedule.until(t)
    return sampler(begun, q_sample(x0, np.full(len(x0), t), noise, begun))


def inpaint(sampler, schedule, x_T, x0, mask, rng, repeat=10):
    """Draw what the mask hides, so that it fits what it does not; yields Steps.

        x_{t-1} = mask · (one step of the sampler from x_t) + (1 - mask) · (x0 noised to t - 1)
        x_t     = √α_t x_{t-1} + √β_t z,   and again, until each step was done `repeat` times

    The noise of a known pixel is new each time, so one step alone does not look at what is beside
    it: the more often it is repeated, the better both parts fit.

    x0         (N, ...) the images; what the mask hides of them is not looked at
    mask       1 where to draw, 0 where x0 stays, of a shape that fits x0's
    rng        random Generator for z, and for the noise of x0
    Source     Lugmayr et al. 2022, arXiv:2201.09865, Algorithm 1
    """
    x, x0 = doors.images(x_T=x_T, x0=x0)
    repeat, xp = doors.whole("repeat", repeat, 1), array_module(x)
    mask = xp.asarray(mask) > 0
    for t in range(schedule.T, 0, -1):
        times, from_here = np.full(len(x), t), schedule.until(t)
        beta = extract(schedule.beta, times, x)
        for again in range(repeat if t > 1 else 1):
            if again:
                x = (1 - beta) ** 0.5 * x + beta**0.5 * rng.standard_normal(x.shape, x.dtype)
            step = next(sampler(from_here, x))
            eps = rng.standard_normal(x.shape, x.dtype)
            x = xp.where(mask, step.x, q_sample(x0, times - 1, eps, schedule))
        yield Step(t - 1, x, step.x0_hat)
