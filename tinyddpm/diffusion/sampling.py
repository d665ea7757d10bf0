"""Which sampler, with which settings."""

from dataclasses import dataclass

from ..config import FROM_0, FROM_2, SHARE, check, setting
from .dpm_solver import dpm_solver, dpm_solver_sde
from .process import VARIANCES
from .samplers import ancestral, ddim
from .schedule import SPACINGS


@dataclass(frozen=True)
class SamplingConfig:
    """Sampling."""

    sampler: str = setting("dpm", "how to sample", ("ancestral", "ddim", "dpm", "sde-dpm"))
    steps: int = setting(20, "sampling steps", FROM_2)
    guidance: float = setting(
        1.5, "weight of classifier-free guidance, if there are labels", FROM_0
    )
    variance: str = setting("small", "of the ancestral sampler", VARIANCES)
    eta: float = setting(0.0, "noise of the ddim sampler: 0 for none to 1", SHARE)
    spacing: str = setting("quadratic", "which of the model's times", tuple(SPACINGS))

    def __post_init__(self):
        check(self)


def sample(config, predict, schedule, x_T, rng):
    """The Steps of the sampler that a SamplingConfig names, at as many times as it says."""
    respaced = schedule.respaced(config.steps, config.spacing)
    if config.sampler == "ancestral":
        return ancestral(predict, respaced, x_T, rng, config.variance)
    if config.sampler == "ddim":
        return ddim(predict, respaced, x_T, rng, config.eta)
    if config.sampler == "sde-dpm":
        return dpm_solver_sde(predict, respaced, x_T, rng)
    return dpm_solver(predict, respaced, x_T)
