"""How a worker turns its share of a batch into a gradient, or predicts the noise in it."""

from contextlib import nullcontext
from dataclasses import dataclass

from ..data import to_model_range
from ..device import array_module
from ..diffusion.predictors import predictor
from ..diffusion.schedule import Schedule
from ..diffusion.variational import LOSSES
from ..nn.tape import Tape
from ..nn.unet import UNet
from ..nn.watch import watched
from ..randomness import generator
from .config import TrainConfig


@dataclass
class Denoiser:
    """The job of `Workers`: the loss and its gradient in training, eps_hat in sampling."""

    unet: UNet
    schedule: Schedule
    config: TrainConfig
    detect_nan: bool = False

    def gradient(self, theta, grad, step, part, images, label, t, weight):
        """Micro-batch number `part`: adds its gradient to grad, returns the loss of each image."""
        config, xp = self.config, array_module(theta)
        rng = generator(config.seed, "training", step, part, xp)
        x0 = to_model_range(images).astype(theta.dtype, copy=False)
        if config.flips:
            mirrored = rng.random(len(x0)) < config.flips
            x0 = xp.where(mirrored[:, None, None, None], x0[:, :, ::-1], x0)
        eps = rng.standard_normal(x0.shape, theta.dtype)
        if label is not None:
            dropped = rng.random(len(x0)) < config.label_drop
            label = xp.where(dropped, self.unet.config.classes, label)
        tape = Tape(theta, grad, rng)
        loss = LOSSES[config.loss]
        with watched(f"step {step + 1}: ") if self.detect_nan else nullcontext():
            return loss(self.unet, x0, t, eps, self.schedule, tape, label, weight, config.predicts)

    def predict(self, theta, x_t, t, label):
        """eps_hat for a part of the images that are being sampled: see `predictor`."""
        return predictor(self.unet, theta, self.schedule, self.config.predicts, label)(x_t, t)
