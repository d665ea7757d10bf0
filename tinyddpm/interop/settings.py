"""What a config.json of the diffusers library says, as a UNetConfig, and back.

A key that is not in a file has the default that diffusers gives it. Whatever would make another
network than ours is refused by the name of its key.
Source     the arguments of UNet2DModel in diffusers 0.42
"""

from functools import partial

from ..nn.unet_config import UNetConfig

# What ours has always: the values that mean the same, the default of diffusers first.
FIXED = {
    "_class_name": ("UNet2DModel",), "act_fn": ("silu", "swish"), "add_attention": (True,),
    "center_input_sample": (False,), "class_embed_type": (None,), "downsample_type": ("conv",),
    "dual_cross_attention": (False,), "mid_block_scale_factor": (1,),
    "mid_block_type": ("UNetMidBlock2D",), "resnet_time_scale_shift": ("default",),
    "time_embedding_type": ("positional",), "upsample_type": ("conv",),
}  # fmt: skip
THEIRS = {key: values[0] for key, values in FIXED.items()} | {
    "attn_norm_num_groups": None, "num_class_embeds": None, "time_embedding_dim": None,
    "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0, "norm_eps": 1e-5,
    "sample_size": None, "in_channels": 3, "out_channels": 3, "layers_per_block": 2,
    "norm_num_groups": 32, "attention_head_dim": 8, "dropout": 0.0,
    "block_out_channels": [224, 448, 672, 896],
    "down_block_types": ["DownBlock2D", *["AttnDownBlock2D"] * 3],
    "up_block_types": [*["AttnUpBlock2D"] * 3, "UpBlock2D"],
}  # fmt: skip
SAYS_NOTHING = {  # about a network like ours; all but two are left by an average of weights
    "num_train_timesteps", "set_W_to_weight", "decay", "inv_gamma", "power", "min_decay",
    "optimization_step", "update_after_step", "use_ema_warmup",
}  # fmt: skip
COUNTS = ("in_channels", "out_channels", "layers_per_block", "norm_num_groups")
WIDTHS, DOWN, UP = "block_out_channels", "down_block_types", "up_block_types"
BLOCKS = {DOWN: ("DownBlock2D", "AttnDownBlock2D"), UP: ("UpBlock2D", "AttnUpBlock2D")}


def read_unet_config(given, image_size=None):
    """The UNetConfig that means the same as the keys and values of a config.json.

    The order of sines and cosines is none of its settings: see `load_diffusers`. Of n class
    embeddings the last is the null label's here, so these are n - 1 classes.

    image_size     pixels a side, in place of the file's sample_size
    Raises         ValueError that names the key if there is none
    """
    values, check = {**THEIRS, **given}, partial(check_key, given, THEIRS)
    for key, value in given.items():
        if key not in THEIRS and key not in SAYS_NOTHING and key[:1] != "_" and value is not None:
            raise ValueError(f"{key} is {value!r}, but tinyddpm knows no such key")
    _check_values(values, check)
    pixels = _pixels(values["sample_size"], image_size, check)
    channels, answers, widths = (values[key] for key in ("in_channels", "out_channels", WIDTHS))
    check("out_channels", answers <= channels or answers == 2 * channels, "in_channels or fewer")
    sizes = [pixels >> level for level in range(len(widths))]
    down = _attended(sizes, values[DOWN])
    up = _attended(sizes, reversed(values[UP]))
    return UNetConfig(
        image_size=pixels,
        image_channels=min(channels, answers),
        base=widths[0],
        multipliers=[width // widths[0] for width in widths],
        blocks=values["layers_per_block"],
        attention_at=down,
        groups=values["norm_num_groups"],
        dropout=values["dropout"],
        classes=(values["num_class_embeds"] or 1) - 1,
        outputs=2 if answers > channels else 1,
        joined=max(channels - answers, 0),
        attention_up_at=[0] if up == down else up,
        head_channels=values["attention_head_dim"] or 0,
        downsample_padding=values["downsample_padding"],
        freq_shift=values["freq_shift"],
        tiny=values["norm_eps"],
    )


def write_unet_config(config):
    """The keys and values of a config.json that mean the same as a UNetConfig.

    Raises     ValueError that names the setting if there are none
    """
    if config.multipliers[0] != 1:
        raise ValueError(f"multipliers of {config.multipliers}: UNet2DModel begins with 1")
    if config.heads > 1 and len(config.attended) > 1:
        raise ValueError(
            f"heads of {config.heads} where attention has {sorted(config.attended)} channels: "
            "heads of UNet2DModel have the same channels everywhere; use head_channels"
        )
    if config.joined and config.outputs > 1:
        raise ValueError(f"joined of {config.joined} with learned variances: set outputs=1")
    one_size = min(config.attended) // config.heads if config.heads > 1 else None
    attends = [size in config.attention_at for size in config.sizes]
    attends_up = [size in config.up_attention for size in reversed(config.sizes)]
    return {
        **{key: value for key, value in THEIRS.items() if key != "dual_cross_attention"},
        "sample_size": config.image_size,
        "in_channels": config.image_channels + config.joined,
        "out_channels": config.image_channels * config.outputs,
        "layers_per_block": config.blocks,
        "norm_num_groups": config.groups,
        "attention_head_dim": config.head_channels or one_size,
        "dropout": config.dropout,
        "num_class_embeds": config.classes + 1 if config.classes else None,
        "downsample_padding": config.downsample_padding,
        "flip_sin_to_cos": False,
        "freq_shift": config.freq_shift,
        "norm_eps": config.tiny,
        "num_train_timesteps": None,
        WIDTHS: config.channels,
        DOWN: [BLOCKS[DOWN][attend] for attend in attends],
        UP: [BLOCKS[UP][attend] for attend in attends_up],
    }


def check_key(given, defaults, key, suits, wanted):
    """ValueError about the value of a key unless it suits."""
    if not suits:
        came = f"is {given.get(key)!r}"
        if key not in given:
            came = f"is not there, which means {defaults[key]!r} to diffusers"
        raise ValueError(f"{key} {came}, but tinyddpm needs {wanted}")


def is_count(value):
    """Whether it is a whole number from 1 on."""
    return type(value) is int and value > 0


def _check_values(values, check):
    """ValueError unless each value is one that ours can have, and the levels fit together."""
    for key, same in FIXED.items():
        check(key, values[key] in same, " or ".join(map(repr, same)))
    for key in COUNTS:
        check(key, is_count(values[key]), "a whole number from 1 on")
    widths = values[WIDTHS]
    whole = type(widths) is list and widths and all(map(is_count, widths))
    fit = whole and not any(width % widths[0] for width in widths)
    check(WIDTHS, fit, "whole multiples of the first of them")
    for key, names in BLOCKS.items():
        blocks = values[key]
        fit = type(blocks) is list and all(block in names for block in blocks)
        check(key, fit and len(blocks) == len(widths), f"{len(widths)} times {' or '.join(names)}")
    for key, same in (
        ("attn_norm_num_groups", values["norm_num_groups"]), ("time_embedding_dim", 4 * widths[0])
    ):  # fmt: skip
        check(key, values[key] in (None, same), f"null, or {same} here")
    for key, least in (("num_class_embeds", 2), ("attention_head_dim", 1)):
        fit = values[key] is None or (is_count(values[key]) and values[key] >= least)
        check(key, fit, f"null, or a whole number from {least} on")
    for key in ("downsample_padding", "freq_shift"):
        check(key, type(values[key]) is int and values[key] in (0, 1), "0 or 1")
    for key in ("dropout", "norm_eps"):
        check(key, type(values[key]) in (int, float), "a number")
    check("flip_sin_to_cos", type(values["flip_sin_to_cos"]) is bool, "true or false")


def _pixels(sample_size, image_size, check):
    """Pixels a side, as the caller says or the file."""
    if image_size is not None:
        return image_size
    pixels = sample_size
    if type(pixels) is list and len(pixels) == 2 and pixels[0] == pixels[1]:
        pixels = pixels[0]
    wanted = "one whole number, or two that are the same; or say image_size (--image-size)"
    check("sample_size", is_count(pixels), wanted)
    return pixels


def _attended(sizes, blocks):
    return [size for size, block in zip(sizes, blocks) if block.startswith("Attn")]
