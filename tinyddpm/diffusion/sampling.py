"""Which sampler, with which settings."""

import warnings
from dataclasses import dataclass
from functools import partial

from ..config import COUNT, FROM_0, SHARE, check, setting
from .dpm_solver import dpm_solver, dpm_solver_sde
from .predictors import clipped, guided
from .process import VARIANCES
from .samplers import ancestral, ddim
from .spacings import SPACINGS


@dataclass(frozen=True)
class SamplingConfig:
    """Sampling."""

    sampler: str = setting("sde-dpm", "how to sample", ("ancestral", "ddim", "dpm", "sde-dpm"))
    steps: int = setting(20, "sampling steps", COUNT)
    guidance: float = setting(1.0, "weight of guidance by labels", FROM_0)
    variance: str = setting("small", "of the ancestral sampler", VARIANCES)
    eta: float = setting(0.0, "noise of ddim, from 0 to 1", SHARE)
    spacing: str = setting("log-snr", "which of the model's times", tuple(SPACINGS))
    times: tuple = setting((), "just these, in place of --steps", COUNT)
    clip: float = setting(1.0, "limit of x0's estimates; 0: none", FROM_0)
    dynamic: float = setting(0.0, "dynamic clipping, such as 0.995", SHARE)
    guided_share: float = setting(0.6, "share of times guided, the last", SHARE)

    def __post_init__(self):
        check(self)

    def guided(self, eps_model, label, null, schedule):
        """`predict` for samplers: eps_model with these labels, guided at the last times.

        While there is hardly anything but noise, guidance would make all images of a label alike,
        and so the first steps go without it, which is faster, too.
        schedule   the one that the model was trained with; the other arguments as for `guided`
        Source     Kynkäänniemi et al. 2024, arXiv:2404.07724
        """
        first = guided(eps_model, label, null, 0)
        if label is None or not self.guidance:
            return first
        last, limit = guided(eps_model, label, null, self.guidance), self.guided_share * schedule.T
        return lambda x_t, t: (last if t[0] <= limit else first)(x_t, t)

    def respaced(self, schedule):
        """The schedule at as many times, or at those, that the settings say.

        A warning if the variance is too large for so few.
        """
        few = schedule.respaced(self.times or self.steps, self.spacing)
        if (self.sampler, self.variance) == ("ancestral", "large") and few.T < 200:
            warnings.warn(f"variance 'large' leaves noise in {few.T} steps: use 200", stacklevel=1)
        return few


def sampler(config, predict, rng):
    """The sampler that a SamplingConfig names, as a function of a respaced schedule and x_T."""
    walk = {
        "ancestral": partial(ancestral, rng=rng, variance=config.variance),
        "ddim": partial(ddim, rng=rng, eta=config.eta),
        "dpm": dpm_solver,
        "sde-dpm": partial(dpm_solver_sde, rng=rng),
    }[config.sampler]
    return partial(walk, predict, clip=partial(clipped, limit=config.clip, share=config.dynamic))


def sample(config, predict, schedule, x_T, rng):
    """The Steps from noise x_T of the sampler that a SamplingConfig names, at its times."""
    return sampler(config, predict, rng)(config.respaced(schedule), x_T)
