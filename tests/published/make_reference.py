"""A tiny network with random weights, written by the diffusers library, and its answers.

    python tests/published/make_reference.py       needs diffusers and torch

It was run with diffusers 0.42 (the last file: 0.35), torch 2.13 and safetensors 0.8. What it writes
beside itself lets test_interop.py do without them: the network, as published ones are; answers.npz,
computed in float64; gradients.safetensors, the gradient of every weight by its name there; and
configurations.npz, some numbers of the answers of all networks of configurations.py.
"""

import math
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))
from published.configurations import (  # noqa: E402
    CONFIGURATIONS,
    UNKNOWN,
    question_of,
    some_of,
    weight_of,
)

TINY = {
    "sample_size": 8, "in_channels": 2, "out_channels": 2, "layers_per_block": 1,
    "block_out_channels": (4, 4, 8), "norm_num_groups": 2, "norm_eps": 1e-6,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), "attention_head_dim": None,
    "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
}  # fmt: skip


def random_model(settings, deviation, seed=0):
    """A UNet2DModel with weights from N(0, deviation²), those of its norms, too."""
    torch.manual_seed(seed)
    model = UNet2DModel(**settings).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=deviation)
    return model


def random_question(shape, outputs=1, seed=0):
    """x, t from 0, and the gradient of the output, for images of `shape` (H, W, C)."""
    rng, (h, w, c) = np.random.default_rng(seed), shape
    x, d_out = rng.standard_normal((2, h, w, c)), rng.standard_normal((2, h, w, c * outputs))
    return x.astype(np.float32), np.array([0, 999]), d_out.astype(np.float32)


class ExactTime(torch.nn.Module):
    """Sines and cosines in float64; those of the library are in float32, off by up to 6e-5.

    An output hardly feels that, but for the gradients of a few weights it is more than all other
    rounding together.
    """

    def __init__(self, dim, cosines_first, shift):
        super().__init__()
        self.dim, self.cosines_first, self.shift = dim, cosines_first, shift

    def forward(self, t):
        i = torch.arange(self.dim // 2, dtype=torch.float64)
        angle = t[:, None] * torch.exp(-math.log(10000) * i / (len(i) - self.shift))
        halves = [angle.sin(), angle.cos()]
        return torch.cat(halves[::-1] if self.cosines_first else halves, dim=1)


def configured_model(settings):
    """The UNet2DModel of one of CONFIGURATIONS, with weights from `weight_of`."""
    known = {key: value for key, value in settings.items() if key not in UNKNOWN}
    model = UNet2DModel(**known).eval()
    model.load_state_dict(
        {name: torch.tensor(weight_of(name, w.shape)) for name, w in model.state_dict().items()}
    )
    return model


def output(model, x, t, label=None):
    """The answer to x (N, H, W, C) and t (N,) as in tinyddpm, but t from 0."""
    return model(x.permute(0, 3, 1, 2), t, label).sample.permute(0, 2, 3, 1)


def answers(model, x, t, d_out, label=None):
    """Its output, and the gradients of Σ output · d_out: of x, and of every weight by its name.

    All is computed in the precision of x, but the sines and cosines of t in float64.
    """
    x, t, d_out = map(torch.tensor, (x, t, d_out))
    model, config = deepcopy(model).to(x.dtype), model.config
    model.time_proj = ExactTime(
        config["block_out_channels"][0], config["flip_sin_to_cos"], config["freq_shift"]
    )
    label = None if label is None else torch.tensor(label)
    y = output(model, x.requires_grad_(), t, label)
    (y * d_out).sum().backward()
    grads = {name: weight.grad.numpy() for name, weight in model.named_parameters()}
    return y.detach().numpy(), x.grad.numpy(), grads


if __name__ == "__main__":
    folder = Path(__file__).parent
    model = random_model(TINY, deviation=0.3)
    model.save_pretrained(folder)
    x, t, d_out = random_question((8, 8, 2))
    y, dx, grads = answers(model, x.astype(np.float64), t, d_out)
    y, dx = y.astype(np.float32), dx.astype(np.float32)
    np.savez_compressed(folder / "answers.npz", x=x, t=t, d_out=d_out, output=y, dx=dx)
    grads = {name: torch.tensor(grad).float() for name, grad in grads.items()}
    save_file(grads, folder / "gradients.safetensors")
    DDPMScheduler().save_config(folder)
    stored = {}
    for name, settings in CONFIGURATIONS.items():
        x, t, label, d_out = question_of(settings)
        model = configured_model(settings)
        y, dx, grads = answers(model, x, t, d_out, label)
        stored |= {f"{name}/{key}": value for key, value in some_of(y, dx, grads).items()}
        stored[f"{name}/names"] = list(grads)
        stored[f"{name}/shapes"] = [" ".join(map(str, grad.shape)) for grad in grads.values()]
    np.savez_compressed(folder / "configurations.npz", **stored)
