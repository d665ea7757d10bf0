"""Published weights in and out: the folders that the diffusers library writes and reads.

config.json says what the network is, diffusion_pytorch_model.safetensors holds its weights. The
library itself is not needed. Its time steps count from 0: our t is theirs + 1.
"""

import json
import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..files import atomic_write
from ..nn.unet import UNet
from .safetensors import read_json, read_safetensors, write_safetensors
from .settings import read_process, read_unet_config, read_variance, write_unet_config

WEIGHTS = "diffusion_pytorch_model.safetensors"

# Our names of weights and theirs, piece by piece; the rest of a name is the same in both.
NAMES = (
    (r"^condition\.linear", "time_embedding.linear_"),
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


def load_diffusers(path):
    """A published network: (unet, theta), its UNet and its float32 weights.

    path       a folder with config.json and the weights, a pipeline's folder with these in unet/,
               or the file of the weights, with config.json beside it
    Raises     OSError if a file cannot be opened; ValueError that names the file, and the setting
               or weight in it, if it is damaged or no network that ours can be
    """
    folder = _unet_folder(path)
    with _naming(folder / "config.json") as file:
        config = read_unet_config(read_json(file.read_bytes()))
    file = Path(path) if Path(path).is_file() else folder / WEIGHTS
    arrays, _ = read_safetensors(file)
    with _naming(file):
        return _filled(config, arrays)


def save_diffusers(path, unet, theta):
    """Write a folder that load_diffusers and diffusers' UNet2DModel.from_pretrained can load.

    Raises     ValueError if UNet2DModel cannot be this U-Net, or theta is not its float32 weights;
               OSError if it cannot be written
    """
    size = unet.layout.size
    if theta.shape != (size,) or theta.dtype != np.float32:
        raise ValueError(f"theta of {theta.dtype} {theta.shape}: give {size:,} numbers of float32")
    config = json.dumps(write_unet_config(unet.config), indent=2, sort_keys=True)
    arrays = {name: _theirs(param.of(theta), name) for name, param in _named(unet).items()}
    write_safetensors(Path(path) / WEIGHTS, arrays, {"format": "pt"})
    with atomic_write(Path(path) / "config.json") as file:
        file.write((config + "\n").encode())


def load_scheduler(path):
    """The process that a published network was trained for: T, schedule, predicts of TrainConfig.

    path       as for load_diffusers; scheduler_config.json lies in that folder or in scheduler/.
               Without one it is what diffusers takes by default: 1000 linear steps, eps
    Raises     OSError or ValueError as load_diffusers does
    """
    return _of_scheduler(path, read_process)


def load_variance(path):
    """The variance with which a published network is sampled: "small", "large", "learned" or None.

    None if its scheduler_config.json says none; path and Raises as for load_scheduler
    """
    return _of_scheduler(path, read_variance)


def _of_scheduler(path, read):
    """What `read` makes of the scheduler_config.json of a published network, or of none."""
    folder = _unet_folder(path)
    home = folder.parent if folder.name == "unet" else folder
    for place in (home, home / "scheduler"):
        if (place / "scheduler_config.json").exists():
            with _naming(place / "scheduler_config.json") as file:
                return read(read_json(file.read_bytes()))
    return read({})


def _unet_folder(path):
    """The folder of config.json; FileNotFoundError if there is nothing at `path`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: name the folder of a published network")
    if path.is_file():
        return path.parent
    return path / "unet" if (path / "unet").is_dir() else path


@contextmanager
def _naming(file):
    """What is wrong inside is said with the name of the file in front."""
    try:
        yield file
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


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
        found[new] = _ours(array)
        if array.dtype != np.float32 or found[new].shape != params[new].shape:
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


def _ours(array):
    """A weight with our order of axes: a matrix is (in, out) here, a kernel (3, 3, in, out).

    A 1×1 kernel is a matrix.
    """
    if array.shape[2:] == (1, 1):
        array = array[:, :, 0, 0]
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _theirs(array, name):
    """A weight with their order of axes: a matrix is (out, in) there, a kernel (out, in, 3, 3).

    Only the ways past residual blocks are 1×1 kernels there.
    """
    if "conv_shortcut" in name and array.ndim == 2:
        array = array[None, None]
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
