"""What the folder of a run keeps: its last two checkpoints, trusted no more than a stranger's."""

from pathlib import Path

import numpy as np

from ..checkpoint import load_checkpoint
from ..config import from_dict
from ..data.own import SOURCE
from ..diffusion.process import VARIANCES
from ..doors import brief, finite, whole
from ..nn.unet import UNet
from ..nn.unet_config import UNetConfig
from .config import TrainConfig

NEWEST, BEFORE = "checkpoint.safetensors", "checkpoint-before.safetensors"
OLD = "checkpoint.npz"  # of older versions
VECTORS = "theta", "ema", "m", "v"


def read_run(place):
    """(path, arrays, UNetConfig, TrainConfig, other facts) of the newest whole checkpoint of a run.

    If a newer one is damaged, that is printed.
    place      a run's folder, or a checkpoint of any name
    Raises     OSError or ValueError if there is no whole checkpoint of a run
    """
    place, errors = Path(place), []
    paths = [place / name for name in (NEWEST, BEFORE, OLD) if (place / name).exists()]
    for path in [place] if place.is_file() else paths:
        try:
            arrays, *settings, meta = _read(path)
        except (OSError, ValueError) as error:
            errors.append(error)
            continue
        if errors:
            print(f"{errors[0]}. Instead, {path} is taken, of step {meta['step']}.")
        return path, arrays, *settings, meta
    missing = FileNotFoundError(f"there is no {place / NEWEST}: name the folder of a run")
    raise [*errors, missing][0]


def _read(path):
    """What `read_run` returns of a file; all of it is checked before anything is built of it."""
    arrays, meta = load_checkpoint(path)
    if not {"unet", "train", "data", "step"} <= meta.keys():
        raise ValueError(f"{path} is no checkpoint of a run: name the folder of a run")
    try:
        unet, train = from_dict(UNetConfig, meta["unet"]), from_dict(TrainConfig, meta["train"])
        _check_facts(meta, unet.classes, can_go_on=len(arrays) > 1)
        _check_arrays(arrays, unet, train)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: {brief(error)}") from None
    return arrays, unet, train, meta


def _check_facts(meta, classes, can_go_on):
    """ValueError unless the facts beside the settings are of the kinds that they should be."""
    data, names, labels = (meta.get(k, []) for k in ("data", "label_names", "learned_labels"))
    if can_go_on or meta["step"] is not None:  # nobody knows that of published weights
        whole("step", meta["step"], 0)
    if not all(type(values) is list for values in (names, labels)):
        raise ValueError("label_names and learned_labels should be lists")
    source = meta.get("source", {})
    if type(source) is not dict or any(type(v) is not SOURCE.get(k) for k, v in source.items()):
        raise ValueError(f"the source of the data should have {', '.join(SOURCE)} and no more")
    for label in labels:
        whole("a learned label", label, 0, classes)
    if not all(type(name) is str for name in (data, *names)) or Path(data).name != data:
        raise ValueError("the names of data and labels should be texts, and the data's no path")
    if meta.get("variance", "small") not in VARIANCES:
        raise ValueError(f"the variance should be one of {', '.join(VARIANCES)}")


def _check_arrays(arrays, unet, train):
    """ValueError unless all arrays, or the averaged weights alone, fit the network."""
    some = 22 * unet.base**2 * unet.blocks * len(unet.multipliers)  # of all its weights
    if some > sum(array.size for array in arrays.values()):
        raise ValueError("it has too few weights for its network")
    size = UNet(unet).layout.size
    wanted = {name: f"float32 ({size},)" for name in VECTORS}
    wanted["history"] = f"float64 ({train.T}, 10)"
    for name, kind in wanted.items() if len(arrays) > 1 else [("ema", f"float16 ({size},)")]:
        array = arrays.get(name)
        came = "nothing" if array is None else f"{array.dtype} {array.shape}"
        if came != kind:
            raise ValueError(f"{name} should be {kind}, but {came} came")
        finite(name, array[~np.isnan(array)] if name == "history" else array)
