"""Pictures that explain better than text, each with a paragraph about what one sees.

python examples/see.py                        those that need no training
python examples/see.py runs/mnist             all of them, with a network trained on digits
python examples/see.py runs/mnist attention   this one only

schedule     the tables of the linear and the cosine schedule
arrows       where an exact network moves points of a plane, and the way of every sampler
norm         the three ways from a pixel to what GroupNorm makes of it
digit        one digit at many times of the forward process
flow         how large the gradient of each block is, at the start and after training
pixel        what one pixel of the output sees of the input
attention    what a pixel asks for, at several times
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import argparse
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from tinyddpm import (
    Attention,
    Axes,
    GroupNorm,
    Layout,
    Schedule,
    Tape,
    ancestral,
    ddim,
    dpm_solver,
    generator,
    labelled_grid,
    load_dataset,
    load_trained,
    q_sample,
    save_picture,
    simple_loss,
    to_model_range,
)

SCHEDULES = {"linear": Schedule.linear, "cosine": Schedule.cosine}
RED, BLUE, GREEN = (200, 60, 30), (60, 90, 150), (60, 140, 70)


def schedule():
    """The schedule. √ᾱ_t is the share of the image in x_t, √(1 - ᾱ_t) that of the noise. The linear
    schedule has erased the image well before T; the cosine one leaves something to learn at all
    times."""
    sheet, panels = new_sheet(2)
    for box, (name, make) in zip(panels, SCHEDULES.items()):
        made = make()
        axes = Axes(sheet, box, (0, made.T), (0, 1), "t", f"{name}: image (red), noise (blue)")
        for share, color in ((made.alpha_bar, RED), (1 - made.alpha_bar, BLUE)):
            axes.curve(np.arange(made.T + 1), share**0.5, color)
    return sheet


def arrows():
    """The field. Data are three spots of a plane, so the best network is known as a formula. Lines
    lead from a noisy point towards the clean one that it sees: at late times the middle of all
    data, at early ones the nearest spot. Below are ways from noise to data: DDIM and DPM-Solver++
    go almost straight, Algorithm 2 is pushed about by new noise."""
    made, limits = Schedule.cosine(1000), (-2.2, 2.2)
    predict = exact_network(made, np.array([[-0.6, -0.4], [0.6, -0.4], [0.0, 0.7]]), 0.06)
    sheet, panels = new_sheet(2, rows=2)
    for box, t in zip(panels, (900, 300)):
        axes = Axes(sheet, box, limits, limits, "", f"towards what the network sees, t = {t}")
        a, b = made.alpha_bar[t] ** 0.5, (1 - made.alpha_bar[t]) ** 0.5
        grid = np.stack(np.meshgrid(*[np.linspace(-2, 2, 15)] * 2), axis=-1).reshape(-1, 2)
        x0_hat = (grid - b * predict(grid, np.full(len(grid), t))) / a
        for start, end in zip(grid, grid + 0.2 * (x0_hat - grid)):
            axes.curve(*np.stack([start, end], axis=1), BLUE)
    angle = np.arange(8) * np.pi / 4 + 0.3
    x_T, respaced = 1.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1), made.respaced(50)
    straight, pushed = (
        Axes(sheet, box, limits, limits, "", f"50 steps: {name}")
        for box, name in zip(panels[2:], ("DDIM (red), DPM-Solver++ (blue)", "Algorithm 2"))
    )
    rng = generator(0, "sampling")
    for axes, color, walk in (
        (straight, BLUE, dpm_solver(predict, respaced, x_T)),
        (straight, RED, ddim(predict, respaced, x_T)),
        (pushed, GREEN, ancestral(predict, respaced, x_T[:3], rng)),
    ):
        steps = list(walk)
        for way in np.stack([x_T[: len(steps[0].x)], *(step.x for step in steps)], axis=1):
            axes.curve(*way.T, color)
    return sheet


def norm():
    """GroupNorm. The gradient of one output pixel by all inputs: by itself, through the mean that
    it shares with its group, through the variance, and their sum. Each has its own scale: the ways
    through mean and variance are faint, but they reach every pixel."""
    layer, rng = GroupNorm(layout := Layout(), "norm", 1, 1), np.random.default_rng(3)
    theta, x = layout.init(rng, float), rng.standard_normal((1, 8, 8, 1))
    dy = np.zeros_like(x)
    dy[0, 3, 4] = 1
    layer.forward(x, tape := Tape(theta, np.zeros_like(theta)))
    dx = layer.backward(dy, tape)
    r = (x.var() + layer.tiny) ** -0.5
    x_hat = (x - x.mean()) * r
    mean, variance = 0 * x - r * dy.mean(), -r * x_hat * (dy * x_hat).mean()
    assert np.allclose(dx, r * dy + mean + variance)
    parts = [("by itself", r * dy), ("through the mean", mean), ("through the variance", variance)]
    return labelled_grid([(name, centred(part)) for name, part in [*parts, ("all", dx)]], scale=12)


def digit(trained, images):
    """One digit at many times. The linear schedule above the cosine one, T = 1000."""
    t = np.arange(0, 1001, 100)
    eps = generator(0, "noise").standard_normal(images[:1].shape, np.float32)
    x0, eps = (np.repeat(image, len(t), axis=0) for image in (images[:1], eps))
    rows = [(name, q_sample(x0, t, eps, make())) for name, make in SCHEDULES.items()]
    return labelled_grid(rows, head=[f"t = {time}" for time in t])


def flow(trained, images):
    """The gradient. How long the gradient of each block is, in the order of the forward pass. At
    the start (blue) the last layers are nearly zero, so hardly anything flows back through them;
    after training (red) every block gets its share."""
    start = trained.unet.layout.init(generator(trained.config.seed, "weights"))
    sheet, (box,) = new_sheet(1, width=760)
    curves = []
    for theta in (start, trained.theta):
        _, grad = loss_gradient(trained, theta, images)
        blocks = groupby(trained.unet.layout.params, lambda param: param.name.split(".")[0])
        squares = [sum((p.of(grad) ** 2).sum() for p in params) for _, params in blocks]
        curves.append(np.maximum(np.sqrt(squares), 1e-12))
    heights = min(map(min, curves)) / 2, max(map(max, curves)) * 2
    names = f"blocks of the network, {len(curves[0])} of them, from the first to the last"
    title = "length of the gradient: at the start (blue), after training (red)"
    axes = Axes(sheet, box, (0, len(curves[0]) - 1), heights, names, title, log=True)
    for sizes, color in zip(curves, (BLUE, RED)):
        axes.curve(np.arange(len(sizes)), sizes, color)
    return sheet


def pixel(trained, images):
    """One pixel. The gradient of the output's middle pixel by the whole input: with much noise the
    network looks at everything to guess what is there, with little noise only nearby."""
    t = shown_times(trained)
    eps = generator(0, "noise").standard_normal((len(t), *images.shape[1:]), np.float32)
    x_t = q_sample(np.repeat(images[:1], len(t), axis=0), t, eps, trained.schedule)
    tape = Tape(trained.theta, np.zeros_like(trained.theta))
    d_out = np.zeros_like(trained.unet.forward(x_t, t, tape))
    d_out[:, d_out.shape[1] // 2, d_out.shape[2] // 2] = 1
    seen = trained.unet.backward(d_out, tape)
    rows = [("x_t", x_t), ("gradient", np.concatenate([centred(d, 0.3) for d in seen[:, None]]))]
    return labelled_grid(rows, scale=3, head=[f"t = {time}" for time in t])


def attention(trained, images):
    """Attention. Where one place in the middle of the image looks, in each layer of attention, in
    the order of the forward pass."""
    t = shown_times(trained)
    eps = generator(0, "noise").standard_normal((len(t), *images.shape[1:]), np.float32)
    x_t = q_sample(np.repeat(images[:1], len(t), axis=0), t, eps, trained.schedule)
    tape = Listening(trained.theta, np.zeros_like(trained.theta))
    trained.unet.forward(x_t, t, tape)
    rows = [("x_t", x_t)]
    for i, (q, k) in enumerate(tape.heard, 1):
        score = q @ k.mT / np.sqrt(q.shape[-1])
        A = np.exp(score - score.max(axis=-1, keepdims=True))
        A = (A / A.sum(axis=-1, keepdims=True)).mean(axis=1)  # over heads: (N, S, S)
        side = round(A.shape[1] ** 0.5)
        maps = A[:, side * side // 2].reshape(len(t), side, side, 1)
        size = images.shape[1] // side
        maps = maps.repeat(size, axis=1).repeat(size, axis=2)
        rows.append((f"layer {i}", 2 * maps / maps.max(axis=(1, 2), keepdims=True) - 1))
    return labelled_grid(rows, scale=3, head=[f"t = {time}" for time in t])


def shown_times(trained):
    """Four times of its process, from little noise to much."""
    return np.maximum(1, np.round(trained.schedule.T * np.array([0.05, 0.3, 0.6, 0.9])).astype(int))


class Listening(Tape):
    """A tape that also notes what attention asks and answers: q, k (N, heads, S, d)."""

    def __init__(self, theta, grad):
        super().__init__(theta, grad)
        self.heard = []

    def push(self, owner, memory):
        super().push(owner, memory)
        if isinstance(owner, Attention):
            self.heard.append(memory[:2])


def exact_network(made, centres, spread):
    """The best eps_hat = predict(x_t, t) for spots of the plane around `centres`, all as likely."""

    def predict(x, t):
        a, b = (s[:, None] for s in (made.alpha_bar[t] ** 0.5, (1 - made.alpha_bar[t]) ** 0.5))
        variance = (a * spread) ** 2 + b**2
        gaps = x[:, None] - a[:, None] * centres  # (N, spots, 2)
        far = (gaps**2).sum(axis=-1)
        weight = np.exp((far.min(axis=1, keepdims=True) - far) / (2 * variance))
        weight /= weight.sum(axis=1, keepdims=True)
        return b / variance * (weight[..., None] * gaps).sum(axis=1)

    return predict


def loss_gradient(trained, theta, images):
    """The loss of images at evenly spread times, and its gradient."""
    t = np.linspace(1, trained.schedule.T, len(images)).round().astype(int)
    eps = generator(0, "noise").standard_normal(images.shape, np.float32)
    tape = Tape(theta, grad := np.zeros_like(theta))
    predicts = trained.config.predicts
    return simple_loss(
        trained.unet, images, t, eps, trained.schedule, tape, predicts=predicts
    ), grad


def centred(image, power=1.0):
    """Numbers as a picture (N, H, W, C): 0 is grey; a power below 1 shows small ones, too."""
    image = image / np.abs(image).max()
    return np.sign(image) * np.abs(image) ** power


def new_sheet(columns, rows=1, width=420, height=400):
    """White paper with room for panels: (picture, [(left, top, right, bottom), ...])."""
    sheet = Image.new("RGB", (columns * width, rows * height), (255, 255, 255))
    return sheet, [
        (x * width + 60, y * height + 40, (x + 1) * width - 20, (y + 1) * height - 50)
        for y in range(rows)
        for x in range(columns)
    ]  # fmt: skip


ALONE = {"schedule": schedule, "arrows": arrows, "norm": norm}
TRAINED = {"digit": digit, "flow": flow, "pixel": pixel, "attention": attention}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", nargs="?", help="folder of a run")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which pictures (all)")
    parser.add_argument("--out", default="see", metavar="FOLDER", help="where they go (see)")
    parser.add_argument("--data-dir", help="folder with the data set's files (the cache)")
    arguments = parser.parse_args()
    everything = ALONE | TRAINED
    if arguments.checkpoint in everything:  # no checkpoint was named
        arguments.names.insert(0, arguments.checkpoint)
        arguments.checkpoint = None
    names = arguments.names or [*ALONE, *(TRAINED if arguments.checkpoint else ())]
    if wrong := [name for name in names if name not in everything]:
        raise ValueError(f"{wrong[0]} is no picture: choose from {', '.join(everything)}")
    given = ()
    if any(name in TRAINED for name in names):
        if not arguments.checkpoint:
            raise ValueError("this picture needs a trained network: name the folder of a run")
        trained = load_trained(arguments.checkpoint)
        if not trained.knows_null:
            raise ValueError("this model was trained with labels only: choose another run")
        data = load_dataset(trained.data, folder=arguments.data_dir)
        given = trained, to_model_range(data.images[:16])
    for name in names:
        picture = everything[name](*(given if name in TRAINED else ()))
        path = Path(arguments.out) / f"{name}.png"
        save_picture(picture, path)
        text = " ".join(everything[name].__doc__.split())
        print(f"{path}\n    {text}\n")


if __name__ == "__main__":
    console.run(main)
