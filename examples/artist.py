"""What sample.py draws, once it is known what is wanted."""

import dataclasses
from typing import NamedTuple

import numpy as np

from tinyddpm import (
    ddim,
    ddim_inversion,
    denoising_strip,
    final_images,
    generator,
    image_grid,
    inpaint,
    labelled_grid,
    moving_picture,
    named_grid,
    sampler,
    sdedit,
    slerp,
    to_host,
    with_progress,
)

WEIGHTS = (0.0, 0.5, 1.0, 3.0)  # of guidance, for its picture
SHARES = np.linspace(0, 1, 9)  # of the second image, for the interpolation
FRAMES = 50  # of the moving picture, at most about


class Given(NamedTuple):
    """A picture x0 (1, H, W, C) to be altered: where `hidden` (H, W, 1), or all of it."""

    x0: np.ndarray
    hidden: np.ndarray | None = None
    strength: float = 1.0

    @property
    def shown(self):
        """The picture, grey where it is hidden."""
        return self.x0 if self.hidden is None else np.where(self.hidden, 0, self.x0)


class Artist:
    """Draws rows of `count` images, all from the same noise; a method for each kind of picture."""

    def __init__(self, trained, eps_model, sampling, rows, count, seed, given=None):
        self.trained, self.eps_model, self.sampling = trained, eps_model, sampling
        self.count, self.seed, self.given = count, seed, given
        self.labels = None if rows[0] is None else np.repeat(rows, count)
        self.names = [trained.label_names[row] for row in rows] if trained.label_names else []
        shape = (len(rows) * count, *trained.unet.config.image_shape)
        self.noise = generator(seed, "noise").standard_normal(shape, np.float32)
        self.ones = slice(None, None, count)  # the first image of each row

    def steps(self, some=slice(None), **changes):
        """The sampler's Steps for some of the images; `changes` to the sampling settings."""
        sampling = dataclasses.replace(self.sampling, **changes)
        noise = self.trained.xp.asarray(self.noise[some])
        labels = None if self.labels is None else self.labels[some]
        null, schedule = self.trained.unet.config.classes, self.trained.schedule
        predict = sampling.guided(self.eps_model, labels, null, schedule)
        rng = generator(self.seed, "sampling", xp=self.trained.xp)
        schedule = sampling.respaced(schedule)
        steps = self.begin(sampler(sampling, predict, rng), schedule, noise, rng)
        return with_progress(steps, f"drawing {len(noise)} images", schedule.T)

    def begin(self, walk, schedule, noise, rng):
        """The Steps of the sampler `walk`, from noise or from what is given."""
        if self.given is None:
            return walk(schedule, noise)
        x0 = self.trained.xp.asarray(self.given.x0).repeat(len(noise), axis=0)
        if self.given.hidden is None:
            return sdedit(walk, schedule, x0, noise, self.given.strength)
        return inpaint(walk, schedule, noise, x0, self.given.hidden, rng)

    def grid(self):
        images = final_images(self.steps())
        if self.given is None:
            return named_grid(images, self.count, self.names)
        images = to_host(images).reshape(-1, self.count, *self.given.x0.shape[1:])
        first = np.broadcast_to(self.given.shown, (len(images), *self.given.x0.shape))
        images = np.concatenate([first, images], axis=1).reshape(-1, *self.given.x0.shape[1:])
        return named_grid(images, 1 + self.count, self.names)

    def gif(self):
        every = max(1, self.sampling.steps // FRAMES)
        steps = [step for step in self.steps() if step.t % every == 0]
        return moving_picture(self.noise, steps, self.count)

    def denoising(self, of="x"):
        steps = list(self.steps(self.ones))
        times = self.sampling.respaced(self.trained.schedule).times
        return denoising_strip(self.noise[self.ones], steps, times, of)

    def progressive(self):
        return self.denoising("x0_hat")

    def guidance(self):
        rows = [(f"w = {w:g}", final_images(self.steps(self.ones, guidance=w))) for w in WEIGHTS]
        return labelled_grid(rows)

    def interpolation(self):
        ends = final_images(self.steps([0, -1]))
        images = [ends[:1], self.between(ends), ends[1:]]
        return image_grid(self.trained.xp.concatenate(images), 2 + len(SHARES))

    def between(self, ends):
        """Images on the way between two (2, H, W, C): through their noise, without labels."""
        schedule = self.trained.schedule.respaced(max(2, self.trained.schedule.T // 4))
        null = self.trained.unet.config.classes

        def predict(x_t, t):
            return self.eps_model(x_t, t, np.full(len(x_t), null) if null else None)

        steps = ddim_inversion(predict, schedule, ends)
        noise = final_images(with_progress(steps, "finding the noise", schedule.T))
        noise = self.trained.xp.stack([slerp(*noise, float(share)) for share in SHARES])
        steps = ddim(predict, schedule, noise)
        return final_images(with_progress(steps, f"drawing {len(noise)} images", schedule.T))
