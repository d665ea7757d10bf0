"""Which frequencies are in images: a grid that a network leaves in its samples is a peak."""

from typing import NamedTuple

import numpy as np

from .. import doors


class Spectrum(NamedTuple):
    """How strong which frequencies are: (F,) each, `frequency` from 0 to 1/2 cycles per pixel."""

    frequency: np.ndarray
    power: np.ndarray


def power_spectrum(images):
    """The `Spectrum` of square images (N, S, S, C), at 0, 1, ... up to S/2 cycles in an image.

    The mean power of all rows and columns, each without its mean and faded out at its ends by a
    Hann window. A pattern of period p is at the frequency 1 / p.

    images     in [-1, 1]; the power that rounding to bytes adds is added, so none is 0
    Raises     ValueError unless they are square, of two pixels a side or more, and finite
    """
    (images,) = doors.images(images=images)
    size = images.shape[1]
    if images.ndim != 4 or images.shape[2] != size or size < 2:
        raise ValueError(f"images of shape {images.shape}: give (N, S, S, C), S from 2 on")
    doors.finite("images", images)
    window, powers = np.hanning(size + 1)[:-1], []
    for lines in (images, images.swapaxes(1, 2)):
        lines = np.moveaxis(lines.astype(np.float64), 1, -1)  # (N, S, C, S)
        lines = (lines - lines.mean(axis=-1, keepdims=True)) * window
        powers.append((np.abs(np.fft.rfft(lines)) ** 2).mean(axis=(0, 1, 2)))
    rounding = (2 / 255) ** 2 / 12
    power = (powers[0] + powers[1]) / (2 * (window**2).sum()) + rounding
    return Spectrum(np.fft.rfftfreq(size), power)


def spectral_excess(samples, data):
    """(ratio, period): where the spectrum of samples stands out most over that of the data.

    samples, data      the `power_spectrum` of each. A network that leaves a grid in its images, or
                       images whose bytes were read in the wrong order, have a large ratio
    """
    if not np.array_equal(samples.frequency, data.frequency):
        raise ValueError("spectra of images of two sizes: give images of one size")
    ratio = samples.power[1:] / data.power[1:]
    peak = int(ratio.argmax())
    return float(ratio[peak]), float(1 / samples.frequency[1 + peak])
