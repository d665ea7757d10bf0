"""What the config files of the diffusers library say, as settings of ours, and back.

A key that is not in a file has the default that diffusers gives it. Whatever would make another
network, or another diffusion process, than ours is refused by the name of its key.
Source     the arguments of UNet2DModel, DDPMScheduler and DDIMScheduler in diffusers 0.42
"""

import math
from functools import partial

from ..diffusion.schedule import Schedule
from ..nn.unet_config import UNetConfig

# What their U-Net has by default and ours has always; their other defaults; what else is ours.
COMMON = {
    "_class_name": "UNet2DModel", "act_fn": "silu", "add_attention": True,
    "attn_norm_num_groups": None, "center_input_sample": False, "class_embed_type": None,
    "downsample_type": "conv", "mid_block_scale_factor": 1, "mid_block_type": "UNetMidBlock2D",
    "num_class_embeds": None, "num_train_timesteps": None, "resnet_time_scale_shift": "default",
    "time_embedding_dim": None, "time_embedding_type": "positional", "upsample_type": "conv",
}  # fmt: skip
THEIRS = {
    **COMMON, "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0, "norm_eps": 1e-5,
    "sample_size": None, "in_channels": 3, "out_channels": 3, "layers_per_block": 2,
    "norm_num_groups": 32, "attention_head_dim": 8, "dropout": 0.0,
    "block_out_channels": [224, 448, 672, 896],
    "down_block_types": ["DownBlock2D", *["AttnDownBlock2D"] * 3],
    "up_block_types": [*["AttnUpBlock2D"] * 3, "UpBlock2D"],
}  # fmt: skip
OURS = {
    **COMMON, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6,
}  # fmt: skip
COUNTS = ("sample_size", "in_channels", "out_channels", "layers_per_block", "norm_num_groups")
WIDTHS = "block_out_channels"
BLOCKS = {False: "DownBlock2D", True: "AttnDownBlock2D"}  # by whether there is attention

PROCESS = {
    "_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear",
    "beta_start": 0.0001, "beta_end": 0.02, "trained_betas": None, "rescale_betas_zero_snr": False,
    "prediction_type": "epsilon", "variance_type": "fixed_small",
}  # fmt: skip
VARIANCES = {
    "fixed_small": "small", "fixed_small_log": "small", "fixed_large": "large",
    "fixed_large_log": "large", "learned_range": "learned",
}  # fmt: skip
SCHEDULERS = ("DDPMScheduler", "DDIMScheduler")  # both have these defaults
SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "cosine"}  # their names and ours
PREDICTS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}


def read_unet_config(given):
    """The UNetConfig that means the same as the keys and values of a config.json.

    Raises     ValueError that names the key if there is none
    """
    values, check = {**THEIRS, **given}, partial(_check, given, THEIRS)
    for key, value in given.items():
        if key not in THEIRS and key[:1] != "_" and value is not None:
            raise ValueError(f"{key} is {value!r}, but tinyddpm knows no such key")
    for key, wanted in OURS.items():
        check(key, values[key] == wanted, repr(wanted))
    for key in COUNTS:
        check(key, _is_count(values[key]), "a whole number from 1 on")
    _check_levels(values, check)
    pixels, channels, widths = (values[key] for key in ("sample_size", "in_channels", WIDTHS))
    attends = [block == BLOCKS[True] for block in values["down_block_types"]]
    answers = [channels, 2 * channels]
    heads = _heads(values["attention_head_dim"], _attended(widths, attends))
    check("out_channels", values["out_channels"] in answers, "in_channels or twice as many")
    check("dropout", type(values["dropout"]) in (int, float), "a number")
    check("attention_head_dim", heads, "null, or what makes as many heads wherever attention is")
    return UNetConfig(
        image_size=pixels,
        image_channels=channels,
        base=widths[0],
        multipliers=[width // widths[0] for width in widths],
        blocks=values["layers_per_block"],
        attention_at=[pixels >> level for level, attend in enumerate(attends) if attend],
        heads=heads,
        groups=values["norm_num_groups"],
        dropout=values["dropout"],
        outputs=1 + answers.index(values["out_channels"]),
    )


def write_unet_config(config):
    """The keys and values of a config.json that mean the same as a UNetConfig.

    Raises     ValueError that names the setting if there are none
    """
    attends = [size in config.attention_at for size in config.sizes]
    down = [BLOCKS[attend] for attend in attends]
    widths = _attended(config.channels, attends)
    if config.classes:
        raise ValueError(f"classes of {config.classes}: UNet2DModel has no null label; use 0")
    if config.multipliers[0] != 1:
        raise ValueError(f"multipliers of {config.multipliers}: UNet2DModel begins with 1")
    if config.heads > 1 and len(widths) > 1:
        raise ValueError(
            f"heads of {config.heads} where attention has {sorted(widths)} channels: heads of "
            "UNet2DModel have the same channels everywhere; use 1, or attention at fewer levels"
        )
    return {
        **OURS,
        "sample_size": config.image_size,
        "in_channels": config.image_channels,
        "out_channels": config.image_channels * config.outputs,
        "layers_per_block": config.blocks,
        "norm_num_groups": config.groups,
        "attention_head_dim": None if config.heads == 1 else min(widths) // config.heads,
        "dropout": config.dropout,
        WIDTHS: config.channels,
        "down_block_types": down,
        "up_block_types": _way_up(down),
    }


def read_process(given):
    """T, schedule and predicts, as in TrainConfig, from the content of a scheduler_config.json.

    What it says about sampling is left out: clipping, variances, which steps to take.
    Raises     ValueError that names the key if the process is none of ours
    """
    values, check = {**PROCESS, **given}, partial(_check, given, PROCESS)
    for key, choices in (
        ("_class_name", SCHEDULERS), ("beta_schedule", SCHEDULES), ("prediction_type", PREDICTS),
        ("trained_betas", (None,)), ("rescale_betas_zero_snr", (False,)),
        ("variance_type", VARIANCES),
    ):  # fmt: skip
        check(key, values[key] in tuple(choices), " or ".join(map(repr, choices)))
    T = values["num_train_timesteps"]
    check("num_train_timesteps", _is_count(T) and T <= 100_000, "a whole number up to 100,000")
    if values["beta_schedule"] == "linear":
        for key, beta in zip(("beta_start", "beta_end"), Schedule.linear(T).beta[[1, T]]):
            check(key, _is_near(values[key], beta), f"{beta:g} for {T} steps")
    return {
        "T": T,
        "schedule": SCHEDULES[values["beta_schedule"]],
        "predicts": PREDICTS[values["prediction_type"]],
    }


def read_variance(given):
    """What our samplers call the variances of a scheduler_config.json, or None if it says none."""
    read_process(given)  # refuses what is not ours
    return VARIANCES[given["variance_type"]] if "variance_type" in given else None


def _check(given, defaults, key, suits, wanted):
    """ValueError about the value of a key unless it suits."""
    if not suits:
        came = f"is {given.get(key)!r}"
        if key not in given:
            came = f"is not there, which means {defaults[key]!r} to diffusers"
        raise ValueError(f"{key} {came}, but tinyddpm needs {wanted}")


def _check_levels(values, check):
    """ValueError unless widths and block types describe the levels of a U-Net like ours."""
    widths, down = values[WIDTHS], values["down_block_types"]
    whole = type(widths) is list and widths and all(map(_is_count, widths))
    fit = whole and not any(width % widths[0] for width in widths)
    check(WIDTHS, fit, "whole multiples of the first of them")
    known = type(down) is list and all(block in BLOCKS.values() for block in down)
    fit = known and len(down) == len(widths)
    check("down_block_types", fit, f"{len(widths)} times {' or '.join(BLOCKS.values())}")
    check("up_block_types", values["up_block_types"] == _way_up(down), f"{_way_up(down)}")


def _way_up(down):
    """The types of the blocks on the way up that have attention where those on the way down do."""
    return [block.replace("Down", "Up") for block in reversed(down)]


def _attended(widths, attends):
    """All numbers of channels that meet attention, which the middle always has."""
    return {width for width, attend in zip(widths, attends) if attend} | {widths[-1]}


def _heads(size, widths):
    """How many heads of `size` channels attention has at all these widths; 0 if they differ."""
    if size is None:
        return 1
    if not _is_count(size):
        return 0
    heads = {width // size if width % size == 0 else 0 for width in widths}
    return min(heads) if len(heads) == 1 else 0


def _is_count(value):
    return type(value) is int and value > 0


def _is_near(value, wanted):
    return type(value) is float and math.isclose(value, wanted, rel_tol=1e-6)
