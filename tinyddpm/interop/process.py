"""What a scheduler_config.json of the diffusers library says about a process, and back.

Which sampler draws, and at which times, is left to ours: timestep_spacing and steps_offset are
passed over. (Its leading, trailing and linspace are "leading", "trailing" and "even" in respaced.)
What would make another process than ours is refused by the name of its key.
Source     the arguments of DDPMScheduler and of the other schedulers in diffusers 0.42
"""

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from ..diffusion.schedule import Schedule
from .settings import check_key, is_count

DEFAULTS = {  # those of the schedulers below
    "_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear",
    "beta_start": 0.0001, "beta_end": 0.02, "trained_betas": None, "variance_type": None,
    "prediction_type": "epsilon", "rescale_betas_zero_snr": False,
}  # fmt: skip
FIXED = {  # what else would make other images, and ours has always
    "predict_epsilon": True, "timestep_type": "discrete", "use_dynamic_shifting": False,
    "use_flow_sigmas": False,
}  # fmt: skip
CLIPPING = {
    "clip_sample": True, "clip_sample_range": 1.0, "thresholding": False, "sample_max_value": 1.0,
}  # fmt: skip
STEPPING = set(
    "algorithm_type disable_corrector dynamic_thresholding_ratio euler_at_final final_sigmas_type "
    "flow_shift interpolation_type lambda_min_clipped lower_order_final predict_x0 "
    "set_alpha_to_one shift_terminal sigma_max sigma_min skip_prk_steps solver_order solver_p "
    "solver_type steps_offset tensor_format time_shift_type timestep_spacing timestep_values "
    "use_beta_sigmas use_exponential_sigmas use_karras_sigmas use_lu_lambdas".split()
)
SCHEDULERS = {  # and what of CLIPPING they look at
    **dict.fromkeys(("DDPMScheduler", "DDIMScheduler"), {"clip_sample", "thresholding"}),
    **dict.fromkeys(
        ("DEISMultistepScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler",
         "UniPCMultistepScheduler"), {"thresholding"},
    ),
    **dict.fromkeys(
        ("EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler", "LMSDiscreteScheduler",
         "PNDMScheduler"), set(),
    ),
}  # fmt: skip
VARIANCES = {
    "fixed_small": "small", "fixed_small_log": "small", "fixed_large": "large",
    "fixed_large_log": "large", "learned_range": "learned", None: None,
}  # fmt: skip
PREDICTS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}


class Process(NamedTuple):
    """The diffusion process that a network was trained for.

    schedule     its Schedule
    predicts     what the network answers with: "eps", "x0" or "v"
    variance     how it is sampled: "small", "large", "learned", or None if nobody says
    clip         the largest number of a step's estimate of the image; inf for any
    """

    schedule: Schedule
    predicts: str = "eps"
    variance: str | None = None
    clip: float = 1.0


def read_process(given):
    """The Process of the keys and values of a scheduler_config.json.

    Raises     ValueError that names the key if it is none of ours
    """
    values, check = {**DEFAULTS, **given}, partial(check_key, given, DEFAULTS)
    known = DEFAULTS.keys() | FIXED.keys() | CLIPPING.keys() | STEPPING
    for key, value in given.items():
        if key not in known and key[:1] != "_" and value is not None:
            raise ValueError(f"{key} is {value!r}, but tinyddpm knows no such key")
    for key, wanted in FIXED.items():
        check(key, (given.get(key, wanted) or False) == wanted, repr(wanted))
    for key, choices in (
        ("_class_name", SCHEDULERS), ("prediction_type", PREDICTS), ("variance_type", VARIANCES),
        ("beta_schedule", BETAS),
    ):  # fmt: skip
        check(key, values[key] in tuple(choices), " or ".join(map(repr, choices)))
    T, betas = values["num_train_timesteps"], values["trained_betas"]
    check("num_train_timesteps", is_count(T) and T <= 100_000, "a whole number up to 100,000")
    if betas is None:
        for key in ("beta_start", "beta_end"):
            check(key, _is_share(values[key]), "a number between 0 and 1")
        betas = BETAS[values["beta_schedule"]](values["beta_start"], values["beta_end"], T)
    else:
        fit = type(betas) is list and len(betas) == T and all(map(_is_share, betas))
        check("trained_betas", fit, f"null, or {T} numbers between 0 and 1")
    if values["rescale_betas_zero_snr"]:
        check("prediction_type", values["prediction_type"] != "epsilon", "x0 or v where ᾱ_T is 0")
        betas = _down_to_nothing(np.asarray(betas))
    predicts, variance = PREDICTS[values["prediction_type"]], VARIANCES[values["variance_type"]]
    return Process(Schedule(betas), predicts, variance, _clip(given, check))


def write_process(process):
    """The keys and values of a scheduler_config.json that mean the same as a Process.

    Raises     ValueError for a schedule that was respaced
    """
    T, beta = process.schedule.T, process.schedule.beta[1:]
    if process.schedule.times[-1] != T:
        raise ValueError(f"a schedule of {T} steps out of more: give the one of the training")
    start, end = float(beta[0]), float(beta[-1])
    found = [
        name for name, make in BETAS.items() if np.allclose(make(start, end, T), beta, 1e-9, 0)
    ]
    theirs = {ours: name for name, ours in reversed(VARIANCES.items())}
    return {
        **DEFAULTS,
        "num_train_timesteps": T,
        "beta_schedule": found[0] if found else "linear",
        "beta_start": start,
        "beta_end": end,
        "trained_betas": None if found else beta.tolist(),
        "prediction_type": next(key for key in PREDICTS if PREDICTS[key] == process.predicts),
        "variance_type": theirs[process.variance or "small"],
        "clip_sample": process.clip < math.inf,
        **({"clip_sample_range": process.clip} if process.clip < math.inf else {}),
    }


def _down_to_nothing(beta):
    """These betas, changed so that √ᾱ falls to 0 at T, or nearly: samplers divide by it.

    A quarter of √ᾱ_{T-1} is left, or 1/4096 if that is less, as in their Euler's.
    Source     Lin et al. 2023, arXiv:2305.08891, Algorithm 1
    """
    root = np.cumprod(1 - beta) ** 0.5
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    root[-1] = min(2.0**-12, root[-2] / 4)
    return 1 - (root / np.append(1, root[:-1])) ** 2


def _clip(given, check):
    """The largest number of an estimate, as the scheduler's class makes it of its keys."""
    looks_at = SCHEDULERS[given.get("_class_name", DEFAULTS["_class_name"])]
    values = {**CLIPPING, **given}
    if "thresholding" in looks_at and values["thresholding"]:
        check("sample_max_value", values["sample_max_value"] == 1, "1, which is clipping to 1")
        return 1.0
    if "clip_sample" not in looks_at or not values["clip_sample"]:
        return math.inf
    limit = values["clip_sample_range"]
    check("clip_sample_range", type(limit) in (int, float) and limit > 0, "a number above 0")
    return float(limit)


def _linear(start, end, T):
    return np.linspace(start, end, T)


def _scaled_linear(start, end, T):
    """A straight line for √β, as in latent diffusion."""
    return np.linspace(start**0.5, end**0.5, T) ** 2


def _cosine(start, end, T):
    return Schedule.cosine(T).beta[1:]


def _sigmoid(start, end, T):
    return start + (end - start) / (1 + np.exp(-np.linspace(-6, 6, T)))


BETAS = {
    "linear": _linear, "squaredcos_cap_v2": _cosine, "scaled_linear": _scaled_linear,
    "sigmoid": _sigmoid,
}  # fmt: skip


def _is_share(value):
    return type(value) is float and 0 < value < 1 and math.isfinite(value)
