"""A trained model, and how to ask it."""

import warnings
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import doors
from ..checkpoint import save_checkpoint
from ..device import array_module, module_for, to_host
from ..diffusion.schedule import SCHEDULES, Schedule
from ..interop import draws_latents, load_diffusers, load_process, name_of
from ..nn.unet import UNet
from ..workers import Workers
from .config import TrainConfig
from .denoiser import Denoiser
from .kept import read_run

PRETRAINED = Path(__file__).parents[1] / "pretrained"  # models that are part of this package
TRAINED_FOR = {"simple": "small", "hybrid": "learned", "vlb": "learned"}  # variances by loss


class Trained(NamedTuple):
    """What sampling needs of a run: no data set, no optimiser. `theta` are the averaged weights.

    data, step     the name of what it has learnt, and how long, if that is known
    variance       the variances that suit it: see `log_variance`
    labels         those that it has learnt; there are more rows in the U-Net's table
    clip           the largest number of a step's estimate that suits it: see `SamplingConfig`
    """

    unet: UNet
    config: TrainConfig
    schedule: Schedule
    theta: np.ndarray
    data: str
    step: int | None
    variance: str
    labels: tuple = ()
    label_names: tuple = ()
    clip: float = 1.0

    @property
    def xp(self):
        """The module for arrays where the weights are."""
        return array_module(self.theta)

    @property
    def knows_null(self):
        """Whether it can be asked without a label: it has none, or the null label was trained."""
        return not self.unet.config.classes or self.config.label_drop > 0

    @property
    def can_guide(self):
        """Whether labels and the null label were both trained."""
        return bool(self.labels) and self.knows_null

    def to(self, device):
        """The same model with its weights on "cpu", "cuda" or "auto"; see `module_for`."""
        return self._replace(theta=module_for(device).asarray(self.theta))

    @contextmanager
    def predictor(self, count=1):
        """eps_hat = eps_model(x_t, t, label) by this model, spread over `count` processes.

        x_t must be where the weights are; on a GPU one process does it. With learned variances v
        follows the image's channels. Leaving it ends the processes. It raises ValueError for labels
        that were never trained.
        """
        job = Denoiser(self.unet, self.schedule, self.config)
        with Workers(job, self.theta, count) as workers:
            (theta,) = workers.keep()
            ask = partial(workers.map_batch, "predict", theta, self.config.micro_batch)
            yield lambda x_t, t, label: ask(*self._checked(x_t, t, label))

    def _checked(self, x_t, t, label):
        """x_t, t and label as `doors` gives them; ValueError for rows that never learned."""
        (x_t,), null = doors.images(x_t=x_t), self.unet.config.classes
        t = doors.times(t, len(x_t), self.schedule.T)
        if label is None and not self.knows_null:
            raise ValueError("this model was trained with labels only: ask with a label")
        if label is not None:
            label = doors.labels(label, len(x_t), null)
            known = [*self.labels, null] if self.knows_null else self.labels
            if array_module(label) is np and not np.isin(label, known).all():
                raise ValueError(f"labels {np.unique(label)}: only {known} were trained")
        return x_t, t, label


def load_published(path, process=None, image_size=None):
    """The `Trained` model in a folder that diffusers wrote: see `load_diffusers`, `load_process`.

    It is called as its folder is; nobody knows after how many steps, so `step` is None. Its
    variances are those of its process, or learned if it has any. With class embeddings it is asked
    with a label, because nobody knows whether the last of them stands for none.

    There is a warning if images are made of its answers by an autoencoder, which is not read.

    process    a `Process` in place of that in the folder
    Raises     as `load_diffusers` and `load_process`; ValueError for channels to be joined
    """
    process = process or load_process(path)
    unet, theta = load_diffusers(path, image_size)
    if unet.config.joined:
        raise ValueError(
            f"{path}: {unet.config.joined} channels are to be joined to each image, and only its "
            "authors know which; use load_diffusers, and join them in a predict of your own"
        )
    if draws_latents(path):
        warnings.warn(f"{path} draws latents, of which another network makes images", stacklevel=2)
    loss = "simple" if unet.config.outputs == 1 else "hybrid"
    T, variance = process.schedule.T, process.variance or TRAINED_FOR[loss]
    config = TrainConfig(T=T, predicts=process.predicts, loss=loss, label_drop=0.0)
    labels = tuple(range(unet.config.classes + 1)) if unet.config.classes else ()
    name, schedule = name_of(path), process.schedule
    return Trained(unet, config, schedule, theta, name, None, variance, labels, clip=process.clip)


def load_pretrained(name="mnist"):
    """A `Trained` model that is part of this package: "mnist", see pretrained/README.md.

    Raises     ValueError for another name
    """
    known = {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}
    if name not in known:
        raise ValueError(f"no pretrained model is called {name!r}: choose from {', '.join(known)}")
    return load_trained(known[name])


def load_trained(path):
    """The `Trained` model in a run's folder, in a copy of its checkpoint, or of `save_trained`.

    "mnist" is the model of `load_pretrained`, unless there is such a file or folder.
    Raises     OSError or ValueError if there is no whole checkpoint of a run
    """
    if path == "mnist" and not Path(path).exists():
        return load_pretrained(path)
    _, arrays, unet_config, config, meta = read_run(path)
    unet, theta = UNet(unet_config), arrays["ema"].astype(np.float32, copy=False)
    schedule = SCHEDULES[config.schedule](config.T)
    every = range(unet.config.classes) if config.label_drop < 1 else ()
    labels = meta.get("learned_labels", every)
    names = meta.get("label_names", ()) if labels else ()
    variance = meta.get("variance", TRAINED_FOR[config.loss])
    return Trained(
        unet, config, schedule, theta, meta["data"], meta["step"], variance, tuple(labels),
        tuple(names),
    )  # fmt: skip


def save_trained(path, trained):
    """Write a `Trained` model as one small file: its weights in half precision, its settings.

    Raises     ValueError for weights beyond half precision, or a schedule that no setting names;
               OSError if it cannot be written
    """
    config = trained.config
    named = SCHEDULES[config.schedule](config.T)
    if not np.array_equal(trained.schedule.beta, named.beta):
        raise ValueError("this model has a schedule of its own, which its settings cannot name")
    with np.errstate(over="ignore"):
        half = doors.finite("half-precision theta", to_host(trained.theta).astype(np.float16))
    settings = {"unet": asdict(trained.unet.config), "train": asdict(config), "step": trained.step}
    names = {"learned_labels": list(trained.labels), "label_names": list(trained.label_names)}
    facts = {**settings, **names, "data": trained.data, "variance": trained.variance}
    save_checkpoint(path, {"ema": half}, facts)
