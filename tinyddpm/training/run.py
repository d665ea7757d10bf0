"""A training run: its settings, its state, and the folder that it lives in."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from ..checkpoint import save_checkpoint
from ..config import from_dict
from ..data import check_dataset
from ..device import module_for, to_host
from ..diffusion.schedule import SCHEDULES
from ..diffusion.timesteps import LossSecondMomentResampler
from ..doors import finite
from ..files import atomic_write, keep_as
from ..nn.layers import Adam
from ..nn.optim import Muon
from ..nn.unet import UNet
from ..randomness import generator
from ..shared import return_freed_memory
from .config import TrainConfig
from .kept import BEFORE, NEWEST, VECTORS, read_run
from .log import Log


class Run:
    """A training run in its folder: the state that a checkpoint holds, and how to save and find it.

    unet, config, schedule, dataset    what is trained, how, and on what
    xp                                 the array module that config.device asks for
    images, labels                     those of the data set, as arrays of xp
    theta, ema, optimizer, history     the state: with `config` it decides all that comes after
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
        muon = config.optimizer == "muon"
        self.optimizer = Muon(self.theta, self.unet.matrices) if muon else Adam(self.theta)
        self.history = LossSecondMomentResampler(config.T)
        self.log = Log()
        self.saved_step = 0  # the step of the checkpoint
        self.newest_is_whole = False  # then it is kept when the next one is saved

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
        return self.optimizer.step

    @property
    def vectors(self):
        """All that is of the length of theta: see VECTORS."""
        return self.theta, self.ema, self.optimizer.m, self.optimizer.v

    @vectors.setter
    def vectors(self, vectors):
        """Others, as the `vectors` of Workers; the room of those before goes back to the system."""
        self.theta, self.ema, self.optimizer.m, self.optimizer.v = vectors
        return_freed_memory()

    @property
    def learned_labels(self):
        """The labels that the U-Net learns, a list: those of the data, unless all are dropped."""
        if not self.unet.config.classes or self.config.label_drop == 1:
            return []
        return np.unique(self.dataset.labels).tolist()

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
        path, arrays, unet_config, config, meta = read_run(folder)
        if path == Path(folder) or "theta" not in arrays:
            raise ValueError(f"{path} alone cannot go on: name the folder of a run")
        config = from_dict(TrainConfig, {**dataclasses.asdict(config), **changes})
        if config.steps < meta["step"]:
            raise ValueError(f"{path} has done {meta['step']:,} steps, more than {config.steps:,}")
        module_for(config.device)  # refused before anything is fetched
        run = cls(unet_config, config, load_dataset(meta["data"], **meta.get("source", {})), folder)
        run.vectors = [run.xp.asarray(arrays[name]) for name in VECTORS]
        run.history.losses, run.newest_is_whole = arrays["history"], path.name == NEWEST
        run.optimizer.step = run.saved_step = meta["step"]
        run.log.read(run.folder / "log.csv", run.step)  # it may be ahead of the checkpoint
        return run

    def save(self):
        """Write config.json, log.csv and checkpoint.safetensors, each whole or not at all.

        The checkpoint that was there is kept beside it until the next one is written.
        Raises     OSError if one of them could not be written; the checkpoint is tried in any case;
                   NotFinite instead of a checkpoint with weights or moments that are no numbers
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
            named = zip(VECTORS, self.vectors)
            arrays = {name: finite(name, to_host(vector)) for name, vector in named}
            arrays["history"] = self.history.losses
            newest, before = self.folder / NEWEST, self.folder / BEFORE
            if self.newest_is_whole:
                keep_as(newest, before)
            save_checkpoint(newest, arrays, {**settings, "step": self.step})
            self.saved_step, self.newest_is_whole = self.step, True
