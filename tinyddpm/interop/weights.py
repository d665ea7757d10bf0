"""Published weights in and out: the folders that the diffusers library writes and reads.

The library itself is not needed. Its time steps count from 0: our t is theirs + 1.
"""

import json
import re
from pathlib import Path

import numpy as np

from ..files import atomic_write
from ..nn.unet import UNet
from ..safetensors import write_safetensors
from .folders import (
    CONFIG,
    SCHEDULER,
    WEIGHTS,
    naming,
    network_folder,
    read_settings,
    read_weights,
    scheduler_file,
)
from .process import read_process, write_process
from .settings import read_unet_config, write_unet_config

TABLE = "class_embedding.weight"

# Our names of weights and theirs, piece by piece; the rest of a name is the same in both.
NAMES = (
    (r"^condition\.linear", "time_embedding.linear_"),
    (r"^condition\.label\.table", TABLE),
    (r"^norm_out", "conv_norm_out"),
    (r"^middle", "mid_block"),
    (r"^(down|up)(\d+)", r"\1_blocks.\2"),
    (r"(down|up)sample", r"\1samplers.0.conv"),
    (r"(\d+)\.res\.", r"resnets.\1."),
    (r"shift", "time_emb_proj"),
    (r"skip", "conv_shortcut"),
    (r"(\d+)\.attention\.", r"attentions.\1."),
    (r"(attentions\.\d+)\.norm", r"\1.group_norm"),
    (r"(attentions\.\d+)\.([qkv])", r"\1.to_\2"),
    (r"(attentions\.\d+)\.out", r"\1.to_out.0"),
    (r"(W|gain)$", "weight"),
    (r"b$", "bias"),
)
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_diffusers(path, image_size=None):
    """A published network: (unet, theta), its UNet and its float32 weights.

    The weights may be in safetensors or .bin files, in half precision, in several parts. Where the
    file wants cosines before sines, the rows of the first matrix are exchanged in their place.

    path           a folder with config.json and the weights, a pipeline's folder with these in
                   unet/, a folder of the hub's cache, or the file of the weights (or of their
                   index) with config.json beside it
    image_size     pixels a side, if the file says none or others are wanted
    Raises         OSError if a file cannot be opened; ValueError that names the file, and the
                   setting or weight in it, if it is damaged or no network that ours can be
    """
    file = network_folder(path) / CONFIG
    given = read_settings(file)
    with naming(file):
        config = read_unet_config(given, image_size)
    arrays, file = read_weights(path)
    with naming(file):
        unet, theta = _filled(config, arrays)
    if given.get("flip_sin_to_cos", True):
        W = unet.condition.linear1.W.of(theta)
        W[...] = np.roll(W, len(W) // 2, axis=0)
    return unet, theta


def save_diffusers(path, unet, theta, process):
    """Write a folder that load_diffusers and diffusers' DDPMPipeline.from_pretrained can load.

    process    the `Process` that the network was trained for
    Raises     ValueError if UNet2DModel cannot be this U-Net, or theta is not its float32 weights;
               OSError if it cannot be written
    """
    size = unet.layout.size
    if theta.shape != (size,) or theta.dtype != np.float32:
        raise ValueError(f"theta of {theta.dtype} {theta.shape}: give {size:,} numbers of float32")
    config, scheduler = write_unet_config(unet.config), write_process(process)
    arrays = {name: _theirs(param.of(theta), name) for name, param in _named(unet).items()}
    path = Path(path)
    write_safetensors(path / "unet" / WEIGHTS, arrays, {"format": "pt"})
    _write_json(path / "unet" / CONFIG, config)
    _write_json(path / "scheduler" / SCHEDULER, scheduler)
    parts = {"unet": config["_class_name"], "scheduler": scheduler["_class_name"]}
    index = {name: ["diffusers", part] for name, part in parts.items()}
    _write_json(path / "model_index.json", {"_class_name": "DDPMPipeline", **index})


def load_process(path):
    """The `Process` that a published network was trained for, of its scheduler_config.json.

    path       as for load_diffusers; the file lies in that folder, or in scheduler/
    Raises     FileNotFoundError if there is none; OSError or ValueError as load_diffusers does
    """
    file = scheduler_file(path)
    values = read_settings(file)
    with naming(file):
        return read_process(values)


def _write_json(path, values):
    with atomic_write(path) as file:
        file.write((json.dumps(values, indent=2, sort_keys=True) + "\n").encode())


def _named(unet):
    """The Params of a UNet by their names in diffusers."""
    last = len(unet.config.multipliers) - 1
    params = {}
    for param in unet.layout.params:
        # the way up: they count the blocks, we name the levels
        name = re.sub(r"^up(\d+)", lambda level: f"up{last - int(level[1])}", param.name)
        for ours, theirs in NAMES:
            name = re.sub(ours, theirs, name)
        params[name] = param
    return params


def _filled(config, arrays):
    """The UNet of `config` and theta, made of all these arrays; ValueError if they do not fit."""
    if config.blocks * len(config.multipliers) > len(arrays):  # before a giant is built
        raise ValueError(f"{len(arrays)} weights are too few for the network of config.json")
    unet, found = UNet(config), {}
    params = _named(unet)
    for name, array in arrays.items():
        new = ".".join(OLD_NAMES.get(piece, piece) for piece in name.split("."))
        if new not in params:
            raise ValueError(f"{name} has no place in the network of config.json")
        if new in found:
            raise ValueError(f"{new} comes twice: by its new name and by an old one")
        found[new] = _ours(array, new)
        if array.dtype.kind != "f" or found[new].shape != params[new].shape:
            raise ValueError(
                f"{name} of {array.dtype} {array.shape} cannot be {params[new].name}, "
                f"which is of float32 {params[new].shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    missing = sorted(params.keys() - found.keys())
    if missing:
        raise ValueError(f"{missing[0]} is missing, and {len(missing) - 1} more")
    theta = np.empty(unet.layout.size, np.float32)
    for name, array in found.items():
        params[name].of(theta)[...] = array
    return unet, theta


def _ours(array, name):
    """A weight with our order of axes: a matrix is (in, out) here, a kernel (3, 3, in, out).

    A 1×1 kernel is a matrix; a table of labels is the same in both.
    """
    if name == TABLE:
        return array
    if array.shape[2:] == (1, 1):
        array = array[:, :, 0, 0]
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _theirs(array, name):
    """A weight with their order of axes: a matrix is (out, in) there, a kernel (out, in, 3, 3).

    Only the ways past residual blocks are 1×1 kernels there.
    """
    if name == TABLE:
        return array
    if "conv_shortcut" in name and array.ndim == 2:
        array = array[None, None]
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
