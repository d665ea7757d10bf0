"""Which of a schedule's times a sampler stops at, if not at all of them."""

import math

import numpy as np

from .. import doors


def spaced(schedule, steps, spacing):
    """`steps` of the times 1 .. T, none of them twice; a single one is T.

    Raises     ValueError unless 1 <= steps <= T, or for a spacing that is none of SPACINGS
    """
    if not 1 <= doors.whole("steps", steps, -math.inf) <= schedule.T:
        raise ValueError(f"{steps} of {schedule.T} steps: choose from 1 to {schedule.T}")
    if spacing not in SPACINGS:
        raise ValueError(f"spacing {spacing!r}: choose from {', '.join(SPACINGS)}")
    if steps == 1:
        return [schedule.T]
    i = np.arange(1, steps + 1)
    times = SPACINGS[spacing](schedule, steps).round().astype(int)
    times = np.maximum.accumulate(times - i) + i  # no time twice,
    return np.minimum(times, schedule.T - steps + i)  # and none above T


def _even(schedule, steps):
    """The same distance everywhere."""
    return 1 + np.linspace(0, schedule.T - 1, steps).round()


def _quadratic(schedule, steps):
    """Even in √t: the nearer to the clean image, the closer together (Song et al. 2020, D.2)."""
    return 1 + np.linspace(0, math.sqrt(schedule.T - 1), steps) ** 2


def _log_snr(schedule, steps):
    """Even in log(ᾱ_t / (1 - ᾱ_t)) down to ᾱ_t = 0.0001, where nothing is left to see, and T."""
    log_snr = np.log(schedule.alpha_bar[1:] / (1 - schedule.alpha_bar[1:]))
    wanted = np.linspace(log_snr[0], max(log_snr[-1], math.log(1e-4)), steps)
    times = np.interp(-wanted, -log_snr, np.arange(1, schedule.T + 1))
    return np.append(times[:-1], schedule.T)


def _leading(schedule, steps):
    """T // steps apart, from 1 on: the first step begins before T, where an image still shows."""
    return 1.0 + np.arange(steps) * (schedule.T // steps)


def _trailing(schedule, steps):
    """T / steps apart, from T back: the last step is as long as all others."""
    return schedule.T - np.arange(steps)[::-1] * schedule.T / steps


SPACINGS = {
    "even": _even, "quadratic": _quadratic, "log-snr": _log_snr,
    "leading": _leading, "trailing": _trailing,
}  # fmt: skip
