"""The settings of a training run; its flags are made from them."""

import dataclasses

from ..config import ABOVE_0, COUNT, FROM_0, SHARE, Range, check, setting
from ..device import DEVICES
from ..diffusion.process import PREDICTS
from ..diffusion.schedule import SCHEDULES
from ..diffusion.timesteps import TIMES
from ..diffusion.variational import LOSSES

LENGTHS = Range("2 to 100,000", lambda T: 2 <= T <= 100_000)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Training. The defaults are those of Ho et al. 2020, appendix B, for CIFAR-10."""

    steps: int = setting(800_000, "batches to learn from", COUNT)
    batch: int = setting(128, "images a step", COUNT)
    micro_batch: int = setting(0, "most images at once; 0 for what suits their size", FROM_0)
    optimizer: str = setting("adam", "what makes steps of gradients", ("adam", "muon"))
    lr: float = setting(2e-4, "learning rate after the warm-up", ABOVE_0)
    lr_end: float = setting(1.0, "share of lr left at the end, down a cosine; 1 keeps it", SHARE)
    warmup: int = setting(5000, "steps in which the learning rate rises", FROM_0)
    clip: float = setting(1.0, "largest length of a gradient", ABOVE_0)
    ema_decay: float = setting(0.9999, "decay of the moving average of the weights", SHARE)
    flips: float = setting(0.0, "share of the images that are mirrored", SHARE)
    label_drop: float = setting(0.1, "share of the labels replaced by the null label", SHARE)
    T: int = setting(1000, "steps of the diffusion process", LENGTHS)
    schedule: str = setting("linear", "noise schedule", tuple(SCHEDULES))
    predicts: str = setting("eps", "what the network predicts: noise, image or v", PREDICTS)
    loss: str = setting("simple", "hybrid and vlb also learn the variances", tuple(LOSSES))
    times: str = setting("uniform", "which times t are learnt from more often", tuple(TIMES))
    every: int = setting(500, "steps between pictures; a checkpoint is written then, too", COUNT)
    seed: int = setting(0, "same seed and workers, same run", FROM_0)
    workers: int = setting(1, "processes to train with on a CPU, at most one an image", COUNT)
    device: str = setting("auto", "where to compute; auto takes a GPU if there is one", DEVICES)

    def __post_init__(self):
        check(self)
        if self.loss == "vlb" and self.times != "uniform":
            raise ValueError(
                f"times {self.times!r} of loss 'vlb', which draws them by its losses: use 'uniform'"
            )
