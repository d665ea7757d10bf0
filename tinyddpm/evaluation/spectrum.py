"""Which frequencies are in images: a grid that a network leaves in its samples is a peak."""

import numpy as np


def power_spectrum(images):
    """How strong which frequencies are in square images (N, S, S, C): (S/2 + 1,) for f = 0 .. S/2.

    The mean power of all rows and columns, each without its mean and faded out at its ends by a
    Hann window. f counts cycles in an image: a pattern of period p is at f = S / p.

    images     in [-1, 1]; the power that rounding to bytes adds is added, so none is 0
    """
    size = images.shape[1]
    window, powers = np.hanning(size + 1)[:-1], []
    for lines in (images, images.swapaxes(1, 2)):
        lines = np.moveaxis(lines.astype(np.float64), 1, -1)  # (N, S, C, S)
        lines = (lines - lines.mean(axis=-1, keepdims=True)) * window
        powers.append((np.abs(np.fft.rfft(lines)) ** 2).mean(axis=(0, 1, 2)))
    rounding = (2 / 255) ** 2 / 12
    return (powers[0] + powers[1]) / (2 * (window**2).sum()) + rounding


def spectral_excess(samples, data):
    """(ratio, period): where the spectrum of samples stands out most over that of the data.

    samples, data      the `power_spectrum` of each. A network that leaves a grid in its images, or
                       images whose bytes were read in the wrong order, have a large ratio
    """
    ratio = (samples / data)[1:]
    f = 1 + int(ratio.argmax())
    return float(ratio[f - 1]), 2 * len(ratio) / f
