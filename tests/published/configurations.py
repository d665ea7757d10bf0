"""Configurations of published networks, made small, and weights for them that need no library.

What a key means is tried alone, and together with others as people have it. Each is a config.json;
`image_size` beside it is what the caller has to say.
"""

import zlib

import numpy as np

SMALL = {
    "sample_size": 8, "in_channels": 3, "out_channels": 3, "layers_per_block": 1,
    "block_out_channels": [8, 16], "norm_num_groups": 4, "attention_head_dim": 4,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
PAPER = {
    "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6,
}  # fmt: skip
AVERAGED = {
    "decay": 0.9999, "inv_gamma": 1.0, "min_decay": 0.0, "optimization_step": 5000,
    "power": 0.75, "update_after_step": 0, "use_ema_warmup": True,
}  # fmt: skip
DEEP = {
    "block_out_channels": [8, 8, 16], "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
CONFIGURATIONS = {
    "the defaults of diffusers": SMALL,
    "the paper": {**SMALL, **PAPER, "attention_head_dim": None, "sample_size": 4},
    "padding alone": {**SMALL, **PAPER, "downsample_padding": 1},
    "cosines first alone": {**SMALL, **PAPER, "flip_sin_to_cos": True},
    "shift alone": {**SMALL, **PAPER, "freq_shift": 0},
    "norm_eps alone": {**SMALL, **PAPER, "norm_eps": 0.1},  # large enough to be seen
    "heads of one size at three levels": {**SMALL, **DEEP},
    "heads as wide as the last level": {**SMALL, "attention_head_dim": 16},
    "labels joined": {**SMALL, "in_channels": 5, "out_channels": 1},
    "another image joined": {**SMALL, "in_channels": 6, "dropout": 0.1},
    "learned variances": {**SMALL, "out_channels": 6},
    "grey": {**SMALL, "in_channels": 1, "out_channels": 1, "act_fn": "swish"},
    "a square": {**SMALL, "sample_size": [8, 8], "block_out_channels": [8, 24]},
    "any size": {**SMALL, "sample_size": None, "image_size": 4},
    "an average of weights": {**SMALL, **AVERAGED},
    "class embeddings": {**SMALL, "num_class_embeds": 3},
    "attention on the way down": {**SMALL, "up_block_types": ["UpBlock2D", "UpBlock2D"]},
    "attention on the way up": {
        **SMALL, **DEEP, "down_block_types": ["DownBlock2D"] * 3,
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    },
    "keys that say nothing": {
        **SMALL, "num_train_timesteps": 1000, "time_embedding_dim": 32, "attn_norm_num_groups": 4,
        "set_W_to_weight": True, "dual_cross_attention": False, "class_embed_type": None,
    },
}  # fmt: skip
UNKNOWN = {*AVERAGED, "image_size", "set_W_to_weight", "dual_cross_attention"}  # to UNet2DModel


def weight_of(name, shape):
    """A weight with random numbers that its name decides; a norm's gain is near 1."""
    stream = np.random.RandomState(zlib.crc32(name.encode()))
    numbers = stream.standard_normal(shape) * 0.3
    return (numbers + ("norm" in name and name.endswith("weight"))).astype(np.float32)


def question_of(settings):
    """x (2, H, W, C), t from 0, labels or None, and the gradient of the output, in float64."""
    stream = np.random.RandomState(0)
    size = settings.get("image_size") or np.ravel(settings["sample_size"])[0]
    x = stream.standard_normal((2, size, size, settings["in_channels"]))
    d_out = stream.standard_normal((2, size, size, settings["out_channels"]))
    n = settings.get("num_class_embeds")
    return x, np.array([3, 998]), np.array([0, n - 1]) if n else None, d_out


def some_of(y, dx, grads):
    """Some numbers of an output and of its gradients, which no wrong network has by chance.

    A weight's gradient (all by their names) is multiplied with random numbers and summed.
    """
    sums = [
        (grad * weight_of(f"direction of {name}", grad.shape)).sum() for name, grad in grads.items()
    ]
    return {"output": y.ravel()[::7], "dx": dx.ravel()[::7], "sums": np.array(sums)}
