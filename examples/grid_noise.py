"""What puts a grid or grain into images, shown on purpose: three mistakes, and their spectra.

    python examples/grid_noise.py        writes grid-noise.png; it needs CIFAR-10

A pattern that repeats every few pixels is a peak in the power spectrum, at that period. Grain is
not: it lifts all fine frequencies, like anything that a network has not learnt well enough.

wrong order   bytes of height, width, channel, read as channel, height, width: what was a colour
              is now the next pixel, so there is a pattern of three pixels. Where training data are
              read like this, the network learns it, and its samples look like this, too
betas         β from 0.0001 to 0.02 in 100 steps, which are meant for 1,000: x_T still holds 0.6 of
              the image, but sampling starts from pure noise. Large shapes come out too weak, and
              fine ones up to twice as strong: grain, no grid. The network is the best there is for
              images of this mean and covariance, so the schedule alone does it
transposed    transposed convolutions of 3 pixels and stride 2: every other pixel is the sum of
              twice as many products, a pattern of two pixels (Odena, Dumoulin, Olah 2016). A U-Net
              that doubles pixels and then convolves them, as this one, has no such pattern
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import argparse
import warnings

import numpy as np
from PIL import Image

from tinyddpm import (
    Schedule,
    ddim,
    final_images,
    generator,
    image_grid,
    load_cifar10,
    power_spectrum,
    save_picture,
    spectral_excess,
    spectrum,
    to_model_range,
)

COUNT = 2000  # images
DRAWN = 400  # samples
ROWS, COLUMNS = 5, 6  # of them in the picture


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", help="folder with the files of CIFAR-10 (the cache)")
    parser.add_argument("--out", default="grid-noise.png", metavar="FILE", help="(grid-noise.png)")
    arguments = parser.parse_args()
    images = to_model_range(load_cifar10(arguments.data_dir).images[:COUNT])
    save_picture(picture(images), arguments.out)
    print(f"{arguments.out}: three mistakes, and how strong which frequencies are with each")


def picture(images):
    """A row for each mistake: images (N, H, W, C) with it, and their spectrum over that without."""
    rows = []
    for name, (with_it, without) in mistakes(images).items():
        powers = power_spectrum(with_it), power_spectrum(without)
        ratio, period = spectral_excess(*powers)
        title = f"{name}: up to {ratio:,.1f} times the data's power, at period {period:.3g}"
        rows.append((image_grid(with_it[: ROWS * COLUMNS], COLUMNS), spectrum(*powers, title)))
    height = max(rows[0][0].height, rows[0][1].height)
    sheet = Image.new("RGB", (sum(part.width for part in rows[0]), len(rows) * height), "white")
    for i, (left, right) in enumerate(rows):
        sheet.paste(left, (0, i * height))
        sheet.paste(right, (left.width, i * height))
    return sheet


def mistakes(images):
    """{name: (images with the mistake, images without)}"""
    grey = images.mean(axis=-1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is noticed: x_T still holds some of the image
        unscaled = Schedule(np.linspace(1e-4, 0.02, 100))
    return {
        "wrong order": (wrong_order(images), images),
        "betas": (sampled(grey, unscaled), sampled(grey, Schedule.linear(100))),
        "transposed": (transposed(transposed(images, axis=1), axis=2), images),
    }


def wrong_order(images):
    """Bytes of height, width, channel taken for bytes of channel, height, width."""
    n, h, w, c = images.shape
    return images.reshape(n, c, h, w).transpose(0, 2, 3, 1)


def sampled(images, schedule):
    """Samples by the best network for a Gaussian with the images' mean and covariance.

    eps_hat = √(1 - ᾱ) (ᾱ Σ + (1 - ᾱ) I)^-1 (x_t - √ᾱ μ)
    """
    flat = images.reshape(len(images), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))

    def predict(x_t, t):
        alpha_bar = schedule.alpha_bar[t[0]]
        gap = (x_t.reshape(len(x_t), -1) - alpha_bar**0.5 * mean) @ vectors
        share = (1 - alpha_bar) ** 0.5 / (alpha_bar * values + 1 - alpha_bar)
        return ((gap * share) @ vectors.T).reshape(x_t.shape)

    noise = generator(0, "noise").standard_normal((DRAWN, *images.shape[1:]))
    return final_images(ddim(predict, schedule, noise))


def transposed(images, axis):
    """Half as many pixels along an axis, doubled by a transposed convolution with equal weights.

    y_{2i} += x_i / 1.5,  y_{2i + 1} += x_i / 1.5,  y_{2i + 2} += x_i / 1.5
    """
    lines = np.moveaxis(images, axis, 0)
    half = (lines[::2] + lines[1::2]) / 2
    y = np.zeros((2 * len(half) + 1, *half.shape[1:]), images.dtype)
    for k in range(3):
        y[k : k + 2 * len(half) : 2] += half / 1.5
    return np.moveaxis(y[:-1], 0, axis)


if __name__ == "__main__":
    console.run(main)
