"""Digits that need no network: drawn with Pillow's own font, each one bent a little differently."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..randomness import generator
from .batches import Dataset


def offline_digits(count=10000, seed=0, size=28):
    """Digits 0 .. 9, each shifted, turned, slanted and thickened at random: a function of the seed.

    images     bytes (count, size, size, 1);  labels (count,), as many of each digit
    """
    rng = generator(seed, "digits")
    labels = rng.permutation(count) % 10
    large = 3 * size  # drawn large, then reduced: smooth edges
    masters = {}
    images = np.empty((count, size, size, 1), np.uint8)
    for i, digit in enumerate(labels):
        key = int(digit), int(rng.integers(0, 4))
        if key not in masters:
            masters[key] = _draw(*key, large)
        images[i, :, :, 0] = _bend(masters[key], rng).resize((size, size), Image.Resampling.BOX)
    return Dataset("offline-digits", images, labels.astype(np.int64))


def _draw(digit, thickness, size):
    """A digit in the middle of a black square of `size` pixels."""
    image = Image.new("L", (size, size))
    font = ImageFont.load_default(size=0.8 * size)
    ImageDraw.Draw(image).text(
        (size / 2, size / 2), str(digit), fill=255, font=font, anchor="mm",
        stroke_width=thickness, stroke_fill=255,
    )  # fmt: skip
    return image


def _bend(image, rng):
    """The image under a small random linear map and shift."""
    size = image.width
    angle, slant = rng.normal(0, 0.12), rng.normal(0, 0.2)
    grow_x, grow_y = rng.uniform(0.85, 1.2, 2)
    a = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    a = a @ np.array([[1, slant], [0, 1]]) @ np.diag([grow_x, grow_y])
    middle = np.array([size / 2, size / 2])
    shift = middle - a @ (middle + rng.uniform(-0.06, 0.06, 2) * size)
    coefficients = (a[0, 0], a[0, 1], shift[0], a[1, 0], a[1, 1], shift[1])
    return image.transform(
        image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
