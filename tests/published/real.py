"""45 configurations as people have them: which of them load, and whether they answer the same.

    python tests/published/real.py           needs diffusers and torch; some minutes, 4 GB
    python tests/published/real.py paper     only those with such words in their names

They are those of model pages, tutorials, the library's training scripts and tests, in their full
width; of two that ask for the same layers one is here. The networks have random weights and are
asked with small images. test_interop.py looks at the configurations alone.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

BLOCKS = {"d": ("DownBlock2D", "UpBlock2D"), "a": ("AttnDownBlock2D", "AttnUpBlock2D")}
BLOCKS |= {"r": ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")}
BLOCKS |= {"s": ("SkipDownBlock2D", "SkipUpBlock2D")}


def network(size, levels, *widths, up=None, **more):
    """A config.json; a letter for each level: plain, attention, ResNet that halves, skip."""
    return {
        "sample_size": size, "block_out_channels": list(widths),
        "down_block_types": [BLOCKS[level][0] for level in levels],
        "up_block_types": [BLOCKS[level][1] for level in up or reversed(levels)], **more,
    }  # fmt: skip


SIX, GREY = (128, 128, 256, 256, 512, 512), {"in_channels": 1, "out_channels": 1}
DIGITS, FOUR = (28, "daa", 32, 64, 64), (128, 256, 256, 256)
PAPER = {
    "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6,
    "attention_head_dim": None,
}  # fmt: skip
AVERAGE = {
    "decay": 0.9999, "inv_gamma": 1.0, "min_decay": 0.0, "optimization_step": 5000, "power": 0.75,
    "update_after_step": 0, "use_ema_warmup": True,
}  # fmt: skip
LOADED = {
    "paper: CIFAR-10": network(32, "dadd", *FOUR, **PAPER),
    "paper: CIFAR-10, retrained": network(32, "dadd", *FOUR, dropout=0.1, **PAPER),
    "paper: church, bedroom, cat, CelebA-HQ": network(256, "ddddad", *SIX, **PAPER),
    "paper: averaged, act_fn swish": network(256, "ddddad", *SIX, act_fn="swish", **PAPER),
    "paper: church, tuned further": network(256, "ddddad", *SIX, dropout=0.1, **PAPER),
    "training script, 64": network(64, "ddddad", *SIX),
    "training tutorial, 128": network(128, "ddddad", *SIX),
    "training script, averaged": network(64, "ddddad", *SIX, **AVERAGE),
    "no setting at all": {"sample_size": 64},
    "course 1: butterflies": network(32, "ddaa", 64, 128, 128, 256),
    "course 1: digits": network(*DIGITS, **GREY),
    "course 2: digits with labels joined": network(*DIGITS, in_channels=5, out_channels=1),
    "flowers": network(64, "ddda", 64, 128, 256, 512),
    "monsters, one block a level": network(64, "ddad", 64, 128, 128, 256, layers_per_block=1),
    "cats, no attention": network(64, "dddd", 64, 128, 256, 256),
    "X-rays": network(128, "ddddad", *SIX, **GREY),
    "spectrograms": network([256, 256], "ddddad", *SIX, **GREY),
    "latent spectrograms": network(32, "ddad", 128, 256, 512, 512, **GREY),
    "latents": network(32, "ddaa", 128, 256, 384, 512, in_channels=4, out_channels=4),
    "clothes": network(32, "dad", 32, 64, 128, **GREY),
    "three blocks a level": network(32, "da", 64, 128, layers_per_block=3),
    "latent diffusion: CelebA-HQ": network(64, "daaa", 224, 448, 672, 896, attention_head_dim=32),
    "latent diffusion: four times as large": network(
        64, "ddaa", 160, 320, 320, 640, in_channels=6, attention_head_dim=32
    ),
    "latent diffusion: the library's test": network(
        32, "dd", 32, 64, in_channels=4, out_channels=4, attention_head_dim=32
    ),
    "heads of 64": network(32, "ddaa", 64, 128, 256, 256, attention_head_dim=64),
    "one head": network(32, "dadd", *FOUR, attention_head_dim=None),
    "an image joined": network(
        32, "ddad", *FOUR, in_channels=6, freq_shift=1, flip_sin_to_cos=False
    ),
    "learned variances": network(32, "ddad", *FOUR, out_channels=6),
    "any size": network(None, "dad", 32, 64, 64),
    "class embeddings": network(*DIGITS, **GREY, num_class_embeds=10),
    "attention on the way down": network(32, "dad", 64, 128, 128, up="ddd"),
    "num_train_timesteps": network(32, "ddaa", 64, 128, 128, 256, num_train_timesteps=1000),
    "the library's tests of pipelines": network(8, "da", 4, 8, norm_num_groups=4),
}
REFUSED = [  # what the sentence names, and of which network
    ("heads of 3", network(32, "da", 4, 8, norm_num_groups=2, attention_head_dim=3)),
    ("downsample_type", network(*DIGITS, downsample_type="resnet", upsample_type="resnet")),
    ("down_block_types", network(32, "ra", 32, 64)),
    ("scale_shift", network(*DIGITS, resnet_time_scale_shift="scale_shift")),
    ("downsample_type", network(  # consistency models, ADM
        32, "ra", 32, 64, upsample_type="resnet", downsample_type="resnet",
        resnet_time_scale_shift="scale_shift", num_class_embeds=1000,
    )),
    ("mid_block_scale_factor", network(  # NCSN++
        32, "ss", 32, 64, mid_block_scale_factor=2**0.5, time_embedding_type="fourier"
    )),
    ("time_embedding_type", network(32, "dad", 32, 64, 64, time_embedding_type="fourier")),
    ("sample_size", network([32, 64], "ad", 128, 128, **GREY)),
    ("add_attention", network(32, "dad", 32, 64, 64, add_attention=False)),
    ("mid_block_type", network(32, "dad", 32, 64, 64, mid_block_type=None)),
    ("attn_norm_num_groups", network(32, "dad", 32, 64, 64, attn_norm_num_groups=8)),
    ("center_input_sample", network(32, "dad", 32, 64, 64, center_input_sample=True)),
]  # fmt: skip


def side(settings):
    """Pixels a side that are enough for a network and soon computed; None if it has no square."""
    if len(set(np.ravel(settings["sample_size"]))) > 1:
        return None
    levels = len(settings.get("block_out_channels", range(4)))
    return 28 if levels == 3 else max(16, 2**levels)


def random_model(settings):
    """A UNet2DModel with random weights, and norms and biases that matter."""
    model = UNet2DModel(**{key: settings[key] for key in settings.keys() - AVERAGE.keys()}).eval()
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight, 0, 0.1)
        elif "norm" in name:
            torch.nn.init.normal_(weight, 1, 0.2)
        elif "to_q" in name or "to_k" in name:  # attention that looks at something
            weight.data *= 3
    return model


def compare(settings):
    """How far ours is from theirs, of the length and of the largest number; how many weights."""
    model, size = random_model(settings), side(settings)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        file = Path(folder, "config.json")
        file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
        unet, theta = load_diffusers(folder, size)
    x, t = torch.randn(1, model.config.in_channels, size, size), torch.tensor([437])
    label = torch.tensor([3]) if model.config.num_class_embeds else None
    with torch.no_grad():
        y = model(x, t, label).sample.permute(0, 2, 3, 1).numpy()
    x, label = x.permute(0, 2, 3, 1).numpy(), None if label is None else label.numpy()
    off = unet.forward(np.ascontiguousarray(x), t.numpy() + 1, Tape(theta), label) - y
    return np.linalg.norm(off) / np.linalg.norm(y), abs(off).max() / abs(y).max(), theta.size


if __name__ == "__main__":
    import torch
    from diffusers import UNet2DModel

    from tinyddpm import Tape, load_diffusers

    torch.manual_seed(0)
    for name, settings in [*LOADED.items(), *REFUSED]:
        if all(word in name for word in sys.argv[1:]):
            try:
                length, largest, size = compare(settings)
                print(f"{name:40}{size:>13,} weights  off {length:.1e}, {largest:.1e}", flush=True)
            except ValueError as error:
                print(f"{name:40}refused: {str(error).split('config.json: ')[-1]}", flush=True)
