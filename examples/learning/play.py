"""The reward: networks that learn with the reader's own code in place of the package's."""

import sys
from pathlib import Path

import grid
import numpy as np

from learning.course import LESSONS
from learning.trouble import load
from tinyddpm import (
    Schedule,
    Tape,
    UNet,
    UNetConfig,
    final_images,
    learning_rate,
    named_grid,
    offline_digits,
    save_picture,
    to_model_range,
)
from tinyddpm.diffusion import predictors, process, samplers
from tinyddpm.nn import blocks, condition, optim, pairs, unet

PLACES = [grid, process, predictors, samplers, blocks, condition, optim, pairs, unet]
GRIDS, DIGITS = 200, 2000
STEPS, BATCH, SIZE, EACH, WALK = 800, 32, 14, 10, 50


def train(solved, folder):
    """Checkerboards with what is solved; digits with a U-Net if everything is."""
    if not solved:
        sys.exit("error: nothing is solved yet; the first lesson: python examples/learn.py linear")
    own = use(solved, folder)
    print(f"yours: {', '.join(own)}; the rest is the package's")
    grid.main(str(folder / "grid.png"), grid.STEPS, GRIDS, device="cpu")
    if len(solved) == len(LESSONS):
        digits(folder / "digits.png")
    else:
        print(f"with all {len(LESSONS)} lessons solved, a U-Net learns digits here, too")
    return 0


def use(solved, folder):
    """Put the reader's classes and functions wherever the package's stand; returns them by name."""
    files = [load(folder / f"{lesson.name}.py", lesson) for lesson in solved]
    own = {lesson.target: names[lesson.target] for lesson, names in zip(solved, files)}
    plain = {"NormSiLU": pairs.NormSiLU, "UpsampleConv": pairs.UpsampleConv}
    for names in [vars(place) for place in PLACES] + files:
        names.update({name: thing for name, thing in {**plain, **own}.items() if name in names})
    return own


def digits(path):
    """A small U-Net learns digits, and draws ten of each kind with DDIM and guidance."""
    data = offline_digits(DIGITS, size=SIZE)
    config = UNetConfig(
        image_size=SIZE, base=8, multipliers=(1, 2), attention_at=(7,), groups=4, dropout=0.1,
        classes=10,
    )  # fmt: skip
    model, schedule, rng = UNet(config), Schedule.cosine(), np.random.default_rng(0)
    theta = model.layout.init(rng)
    adam = optim.Adam(theta)
    for step in range(STEPS):
        chosen = rng.integers(0, len(data.images), BATCH)
        x0 = to_model_range(data.images[chosen])
        label = np.where(rng.random(BATCH) < 0.1, 10, data.labels[chosen])  # 10: any digit
        t, eps = rng.integers(1, schedule.T + 1, BATCH), rng.standard_normal(x0.shape, np.float32)
        tape = Tape(theta, grad := np.zeros_like(theta), rng)
        loss = process.simple_loss(model, x0, t, eps, schedule, tape, label)
        adam.update(theta, grad, learning_rate(step, STEPS, 2e-3, 100, 0.02))
        if (step + 1) % 100 == 0:
            print(f"step {step + 1:5}  loss {loss.mean():.3f}")

    label = np.repeat(np.arange(10), EACH)

    def answer(x_t, t, label):
        return model.forward(x_t, t, Tape(theta), label)

    predict = predictors.guided(answer, label, 10, 1.0)
    noise = rng.standard_normal((10 * EACH, SIZE, SIZE, 1), np.float32)
    images = final_images(samplers.ddim(predict, schedule.respaced(WALK), noise))
    save_picture(named_grid(images, EACH), Path(path))
    print(f"{EACH} digits of each kind are in {path}")
