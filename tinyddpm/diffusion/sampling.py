"""Which sampler, with which settings."""

from dataclasses import dataclass

from ..config import FROM_0, FROM_2, SHARE, check, setting
from .process import VARIANCES
from .samplers import ancestral, ddim, dpm_solver


@dataclass(frozen=True)
class SamplingConfig:
    """Sampling."""

    sampler: str = setting("dpm", "how to sample", ("ancestral", "ddim", "dpm"))
    steps: int = setting(20, "sampling steps", FROM_2)
    guidance: float = setting(
        1.5, "weight of classifier-free guidance, if there are labels", FROM_0
    )
    variance: str = setting("small", "of the ancestral sampler", VARIANCES)
    eta: float = setting(0.0, "noise of the ddim sampler: 0 for none to 1", SHARE)

    def __post_init__(self):
        check(self)


def sample(config, predict, schedule, x_T, rng):
    """The Steps of the sampler that a SamplingConfig names, with its number of steps."""
    respaced = schedule.respaced(config.steps)
    if config.sampler == "ancestral":
        return ancestral(predict, respaced, x_T, rng, config.variance)
    if config.sampler == "ddim":
        return ddim(predict, respaced, x_T, rng, config.eta)
    return dpm_solver(predict, respaced, x_T)
