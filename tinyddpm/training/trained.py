"""A trained model, and how to ask it."""

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..config import from_dict
from ..device import array_module, module_for
from ..diffusion.schedule import SCHEDULES, Schedule
from ..interop import load_diffusers, load_scheduler
from ..nn.unet import UNet, UNetConfig
from ..workers import Workers
from .denoiser import Denoiser
from .run import TrainConfig, checked_array, read_run


class Trained(NamedTuple):
    """What sampling needs of a run: no data set, no optimiser. `theta` are the averaged weights.

    `data` is the name of what it has learnt, `step` how long, if that is known.
    """

    unet: UNet
    config: TrainConfig
    schedule: Schedule
    theta: np.ndarray
    data: str
    step: int | None
    label_names: tuple = ()

    @property
    def xp(self):
        """The module for arrays where the weights are."""
        return array_module(self.theta)

    @property
    def variance(self):
        """The variances that it was trained for: see `log_variance`."""
        return "small" if self.config.loss == "simple" else "learned"

    @property
    def can_guide(self):
        """Whether there are labels, and a null label that was trained, too."""
        return bool(self.unet.config.classes) and self.config.drops_labels

    def to(self, device):
        """The same model with its weights on "cpu", "cuda" or "auto"; see `module_for`."""
        return self._replace(theta=module_for(device).asarray(self.theta))

    @contextmanager
    def predictor(self, count=1):
        """eps_hat = eps_model(x_t, t, label) by this model, spread over `count` processes.

        x_t must be where the weights are; on a GPU one process does it. With learned variances v
        follows the image's channels. Leaving it ends the processes.
        """
        job = Denoiser(self.unet, self.schedule, self.config)
        with Workers(job, self.theta, count) as workers:
            yield partial(workers.map_batch, "predict", self.theta, self.config.micro_batch)


def load_published(path):
    """The `Trained` model in a folder that diffusers wrote: see `load_diffusers`, `load_scheduler`.

    It is called as its folder is; nobody knows after how many steps, so `step` is None.
    """
    unet, theta = load_diffusers(path)
    loss = "simple" if unet.config.outputs == 1 else "hybrid"
    config = TrainConfig(**load_scheduler(path), loss=loss)
    folder = Path(path).resolve()
    name = folder.parent.name if folder.is_file() else folder.name
    return Trained(unet, config, SCHEDULES[config.schedule](config.T), theta, name, None)


def load_trained(path):
    """The `Trained` model in a run's folder, or in a copy of its checkpoint.npz.

    Raises     OSError or ValueError if there is no whole checkpoint of a run
    """
    path = Path(path) if Path(path).is_file() else Path(path) / "checkpoint.npz"
    arrays, meta = read_run(path)
    unet, config = UNet(from_dict(UNetConfig, meta["unet"])), from_dict(TrainConfig, meta["train"])
    theta = checked_array(arrays, "ema", (unet.layout.size,), path)
    schedule = SCHEDULES[config.schedule](config.T)
    names = tuple(meta.get("label_names", ())) if unet.config.classes else ()
    return Trained(unet, config, schedule, theta, meta["data"], meta["step"], names)
