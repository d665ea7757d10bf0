"""Which times t a batch learns from: all alike, those in the middle, those with large losses."""

import numpy as np

from .. import doors
from ..device import array_module


def uniform_times(rng, count, T):
    """Times t (count,) in 1 .. T, all equally likely (Ho et al. 2020, Algorithm 1)."""
    return rng.integers(1, T + 1, count)


def middle_times(rng, count, T):
    """Times t (count,): half of them uniform, half of them around 0.65 T, where images take shape.

        t = T (0.65 + 0.12 z), z normal

    There it is decided what an image shows, and mistakes are not mended later. Losses are not
    weighted against it, so this is a weighting of the loss, too.
    Source     the idea: Esser et al. 2024, arXiv:2403.03206, section 3.1
    """
    t = uniform_times(rng, count, T)
    z, chosen = rng.standard_normal(count), rng.random(count) < 0.5
    middle = (0.5 + T * (0.65 + 0.12 * z)).clip(1, T).astype(t.dtype)  # rounded
    return array_module(t).where(chosen, middle, t)


TIMES = {"uniform": uniform_times, "middle": middle_times}


class LossSecondMomentResampler:
    """Draws t with a probability p_t that is proportional to the size of its recent losses.

        p_t ∝ √ mean of the last 10 losses² at t, mixed with 0.1 % of a uniform distribution
        weight = 1 / (T p_t), so that the mean of weight · loss is what uniform times would give

    Until every t has had 10 losses, all times are equally likely and the weights are 1.

    losses     (T, 10): the last losses at t = 1 .. T, newest last; NaN where there were none yet
    Source     Nichol & Dhariwal 2021, equation 18; 0.1 % as in its code
    """

    def __init__(self, T):
        self.losses = np.full((T, 10), np.nan)

    def probabilities(self):
        """p_t (T,) for t = 1 .. T"""
        T = len(self.losses)
        if np.isnan(self.losses).any():
            return np.full(T, 1 / T)
        size = np.sqrt((self.losses**2).mean(axis=1))
        return 0.999 * size / size.sum() + 0.001 / T

    def draw(self, rng, count):
        """Times t (count,) in 1 .. T and the weights (count,) of their losses."""
        p = self.probabilities()
        t = rng.choice(len(p), count, p=p)
        return t + 1, 1 / (len(p) * p[t])

    def update(self, t, losses):
        """Note the losses (N,) that were found at times t (N,)."""
        for time, loss in zip(doors.times(t, len(losses), len(self.losses)), losses):
            self.losses[time - 1] = [*self.losses[time - 1, 1:], loss]
