"""Open this first: a network with one hidden layer learns to turn noise into checkerboards.

    python examples/grid.py              less than a minute on a CPU; writes grid.png

Everything that the large example does is here in small: a model with a forward and a backward, a
noise schedule, Algorithm 1 (training) and Algorithm 2 (sampling) of Ho et al. 2020. The last line
printed says how many of the grids it draws are flawless checkerboards.
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import argparse
from pathlib import Path

import numpy as np

from tinyddpm import (
    DEVICES,
    Adam,
    Layout,
    Linear,
    Schedule,
    SiLU,
    Sinusoid,
    Tape,
    ancestral,
    array_module,
    device_name,
    labelled_grid,
    learning_rate,
    module_for,
    picture_format,
    predictor,
    random_generator,
    save_picture,
    simple_loss,
    to_host,
)

SIDE = 8  # pixels
COLOURS = np.array([[-0.9, -0.3, 0.5], [0.9, 0.7, -0.4]])  # blue for -1, yellow for 1
STEPS, BATCH = 10_000, 256


class OneHiddenLayer:
    """eps_hat = W2 silu(W1 [x_t, sinusoid(t)] + b1) + b2, with x_t as a flat list of pixels."""

    def __init__(self, n_pixels, n_time=32, n_hidden=512):
        self.layout = Layout()
        self.n_pixels = n_pixels
        self.time = Sinusoid(n_time)
        self.linear1 = Linear(self.layout, "linear1", n_pixels + n_time, n_hidden)
        self.silu = SiLU()
        self.linear2 = Linear(self.layout, "linear2", n_hidden, n_pixels)

    def forward(self, x_t, t, tape, label=None):
        time = self.time.forward(t, tape)
        h = array_module(x_t).concatenate([x_t.reshape(len(x_t), -1), time], axis=1)
        h = self.linear1.forward(h, tape)
        h = self.silu.forward(h, tape)
        h = self.linear2.forward(h, tape)
        return h.reshape(x_t.shape)

    def backward(self, d_out, tape):
        dh = d_out.reshape(len(d_out), -1)
        dh = self.linear2.backward(dh, tape)
        dh = self.silu.backward(dh, tape)
        dh = self.linear1.backward(dh, tape)
        return dh[:, : self.n_pixels].reshape(d_out.shape)


def checkerboards(count, rng):
    """Grids (count, SIDE, SIDE, 1) of -1 and 1 with cells of 2 or 4 pixels, shifted evenly."""
    cell = rng.choice([2, 4], (count, 1, 1))
    shift_y, shift_x = 2 * rng.integers(0, SIDE, (2, count, 1, 1))
    y, x = np.ogrid[:SIDE, :SIDE]
    colour = ((y + shift_y) // cell + (x + shift_x) // cell) % 2
    return (2 * colour - 1).astype(np.float32)[..., None]


def flawless(images):
    """The share of images that are within 0.5 of one and the same checkerboard in every pixel."""
    boards = np.unique(checkerboards(1000, np.random.default_rng(0)), axis=0)  # all there are
    furthest = np.abs(images[:, None] - boards).max(axis=(2, 3, 4))  # (images, boards)
    return (furthest < 0.5).any(axis=1).mean()


def in_colour(x):
    """Numbers (N, H, W, 1) from -1 to 1 as a mix of the two colours (N, H, W, 3)."""
    return (1 - x) / 2 * COLOURS[0] + (1 + x) / 2 * COLOURS[1]


def main(path, steps=STEPS, count=200, device="auto"):
    xp = module_for(device)
    host_rng, rng = random_generator([0]), random_generator([1], xp)
    model, schedule = OneHiddenLayer(SIDE * SIDE), Schedule.linear()
    theta = xp.asarray(model.layout.init(host_rng))
    print(f"learning on {device_name(xp)}")
    adam = Adam(theta)

    for step in range(steps):  # Algorithm 1
        x0 = xp.asarray(checkerboards(BATCH, host_rng))
        t = rng.integers(1, schedule.T + 1, BATCH)
        eps = rng.standard_normal(x0.shape, np.float32)
        grad = xp.zeros_like(theta)
        loss = simple_loss(model, x0, t, eps, schedule, Tape(theta, grad))
        adam.update(theta, grad, learning_rate(step, steps, peak=5e-3, warmup=100, end=0.01))
        if (step + 1) % 2000 == 0:
            print(f"step {step + 1:5}  loss {loss.mean():.3f}")

    noise = rng.standard_normal((count, SIDE, SIDE, 1), np.float32)
    rows = [("noise", in_colour(to_host(noise[:10])))]
    predict = predictor(model, theta, schedule)
    for t, x, _ in ancestral(predict, schedule, noise, rng):  # Algorithm 2
        if t in (600, 400, 300, 200, 100, 0):
            rows.append((f"t = {t}", in_colour(to_host(x[:10]))))
    save_picture(labelled_grid(rows, scale=5), path)
    share = flawless(to_host(x))
    print(f"{share:.0%} of {count} grids are flawless checkerboards; ten are in {path}")


def command_line():
    """main() as the flags say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="grid.png", help="the picture to write (grid.png)")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="where to compute (auto)")
    arguments = parser.parse_args()
    picture_format(arguments.out)  # what cannot be is refused before the work begins
    console.check_folder(Path(arguments.out).parent)
    main(arguments.out, device=arguments.device)


if __name__ == "__main__":
    console.run(command_line)
