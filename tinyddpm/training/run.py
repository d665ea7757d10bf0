"""A training run: its settings, its state, and the folder that it lives in."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from ..checkpoint import load_checkpoint, save_checkpoint
from ..config import ABOVE_0, COUNT, FROM_0, SHARE, Range, check, from_dict, setting
from ..data import check_dataset
from ..device import DEVICES, module_for, to_host
from ..diffusion.process import PREDICTS
from ..diffusion.schedule import SCHEDULES
from ..diffusion.timesteps import LossSecondMomentResampler
from ..diffusion.variational import LOSSES
from ..doors import finite
from ..files import atomic_write
from ..nn.layers import Adam
from ..nn.unet import UNet
from ..nn.unet_config import UNetConfig
from ..randomness import generator
from .log import Log

TIMES = Range("2 to 100,000", lambda T: 2 <= T <= 100_000)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Training. The defaults are those of Ho et al. 2020, appendix B, for CIFAR-10."""

    steps: int = setting(800_000, "batches to learn from", COUNT)
    batch: int = setting(128, "images a step", COUNT)
    micro_batch: int = setting(0, "most images at once; 0 for 16 on a CPU and 256 on a GPU", FROM_0)
    lr: float = setting(2e-4, "learning rate after the warm-up", ABOVE_0)
    lr_end: float = setting(1.0, "share of lr left at the end, down a cosine; 1 keeps it", SHARE)
    warmup: int = setting(5000, "steps in which the learning rate rises", FROM_0)
    clip: float = setting(1.0, "largest length of a gradient", ABOVE_0)
    ema_decay: float = setting(0.9999, "decay of the moving average of the weights", SHARE)
    flips: float = setting(0.0, "share of the images that are mirrored", SHARE)
    label_drop: float = setting(0.1, "share of the labels replaced by the null label", SHARE)
    T: int = setting(1000, "steps of the diffusion process", TIMES)
    schedule: str = setting("linear", "noise schedule", tuple(SCHEDULES))
    predicts: str = setting("eps", "what the network predicts: noise, image or v", PREDICTS)
    loss: str = setting("simple", "hybrid and vlb also learn the variances", tuple(LOSSES))
    every: int = setting(500, "steps between pictures; a checkpoint is written then, too", COUNT)
    seed: int = setting(0, "same seed and workers, same run", FROM_0)
    workers: int = setting(1, "processes to train with on a CPU, at most one an image", COUNT)
    device: str = setting("auto", "where to compute; auto takes a GPU if there is one", DEVICES)

    def __post_init__(self):
        check(self)


class Run:
    """A training run in its folder: the state that a checkpoint holds, and how to save and find it.

    unet, config, schedule, dataset    what is trained, how, and on what
    xp                                 the array module that config.device asks for
    images, labels                     those of the data set, as arrays of xp
    theta, ema, adam, history, step    the state: with `config` it decides all that comes after
    log                                the `Log` of its steps
    """

    def __init__(self, unet_config, config, dataset, folder):
        dataset = self.check(unet_config, config, dataset)
        self.folder, self.dataset, self.xp = Path(folder), dataset, module_for(config.device)
        device = "cpu" if self.xp is np else "cuda"  # to go on where it began, see `resume`
        self.config = dataclasses.replace(config, device=device)
        self.images, self.labels = map(self.xp.asarray, (dataset.images, dataset.labels))
        self.unet = UNet(unet_config)
        self.schedule = SCHEDULES[config.schedule](config.T)
        self.theta = self.xp.asarray(self.unet.layout.init(generator(config.seed, "weights")))
        self.ema = self.theta.copy()
        self.adam = Adam(self.theta)
        self.history = LossSecondMomentResampler(config.T)
        self.log = Log()
        self.saved_step = 0  # the step of the checkpoint

    @staticmethod
    def check(unet_config, config, dataset):
        """The data set, its labels int64; ValueError if this network cannot learn from it."""
        shape, classes = unet_config.input_shape, unet_config.classes
        dataset = check_dataset(dataset, shape, classes, config.batch)
        outputs = 1 if config.loss == "simple" else 2
        if unet_config.outputs != outputs:
            raise ValueError(
                f"loss {config.loss!r} of a U-Net with outputs={unet_config.outputs}: this loss "
                f"wants outputs={outputs}, the second of which are learned variances"
            )
        SCHEDULES[config.schedule](config.T)
        module_for(config.device)
        return dataset

    @property
    def step(self):
        """How many steps have been done."""
        return self.adam.step

    @property
    def learned_labels(self):
        """The labels that the U-Net learns, a list: those of the data, unless all are dropped."""
        if not self.unet.config.classes or self.config.label_drop == 1:
            return []
        return np.unique(self.dataset.labels).tolist()

    @property
    def checkpoint_is_sound(self):
        """Whether the weights of the checkpoint have been tried: the step after it had a loss."""
        return bool(self.log.rows) and int(self.log.rows[-1].split(",")[0]) > self.saved_step

    @classmethod
    def start(cls, unet_config, config, dataset, folder):
        """A new run in a new folder: `folder`, or `folder`-2, -3, ... if it is taken."""
        run = cls(unet_config, config, dataset, folder)
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            try:
                run.folder.mkdir()
                break
            except FileExistsError:
                number += 1
                run.folder = Path(f"{folder}-{number}")
        run.save()
        return run

    @classmethod
    def resume(cls, folder, load_dataset, **changes):
        """The run in `folder`, at its last checkpoint. `load_dataset(name)` gives its data set, or
        `load_dataset(name, **source)`, if that has a source.

        Without `changes` to the TrainConfig it goes on bit for bit as if it had never stopped.
        Raises     OSError or ValueError if there is no whole checkpoint of a run that can go on
        """
        path = Path(folder) / "checkpoint.npz"
        arrays, meta = read_run(path)
        unet_config = from_dict(UNetConfig, meta["unet"])
        config = from_dict(TrainConfig, {**meta["train"], **changes})
        if config.steps < meta["step"]:
            raise ValueError(f"{path} has done {meta['step']:,} steps, more than {config.steps:,}")
        module_for(config.device)  # refused before anything is fetched
        run = cls(unet_config, config, load_dataset(meta["data"], **meta.get("source", {})), folder)
        run.theta, run.ema, run.adam.m, run.adam.v = (
            run.xp.asarray(checked_array(arrays, name, run.theta.shape, path))
            for name in ("theta", "ema", "m", "v")
        )
        run.history.losses = checked_array(arrays, "history", run.history.losses.shape, path)
        run.adam.step = run.saved_step = meta["step"]
        run.log.read(run.folder / "log.csv", run.step)  # it may be ahead of the checkpoint
        return run

    def save(self):
        """Write config.json, log.csv and checkpoint.npz, each whole or not at all.

        Raises     OSError if one of them could not be written; the checkpoint is tried in any case
        """
        settings = {
            "data": self.dataset.name,
            "source": self.dataset.source,
            "label_names": self.dataset.label_names,
            "learned_labels": self.learned_labels,
            "unet": dataclasses.asdict(self.unet.config),
            "train": dataclasses.asdict(self.config),
        }
        try:
            with atomic_write(self.folder / "config.json") as file:
                file.write((json.dumps(settings, indent=2) + "\n").encode())
            with atomic_write(self.folder / "log.csv") as file:
                file.write(self.log.text().encode())
        finally:  # a log that cannot be replaced, as a spreadsheet has it open, is no great loss
            arrays = {"theta": self.theta, "ema": self.ema, "m": self.adam.m, "v": self.adam.v}
            arrays = {name: to_host(array) for name, array in arrays.items()}
            arrays["history"] = self.history.losses
            save_checkpoint(self.folder / "checkpoint.npz", arrays, {**settings, "step": self.step})
            self.saved_step = self.step


def read_run(path):
    """The arrays and the other facts in the checkpoint of a run.

    Raises     OSError or ValueError if there is no whole checkpoint of a run
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: name the folder of a run")
    arrays, meta = load_checkpoint(path)
    if not {"unet", "train", "data", "step"} <= meta.keys():
        raise ValueError(f"{path} is no checkpoint of a run: name the folder of a run")
    return arrays, meta


def checked_array(arrays, name, shape, path):
    """The array `name` of a checkpoint; ValueError unless it has the shape that is wanted.

    Raises     NotFinite for weights or moments that are no numbers
    """
    if name not in arrays or arrays[name].shape != shape:
        came = arrays[name].shape if name in arrays else "nothing"
        raise ValueError(f"{path}: {name} should have the shape {shape}, but {came} came")
    return arrays[name] if name == "history" else finite(f"{path}: {name}", arrays[name])
