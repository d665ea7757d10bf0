"""How good are samples? Distances between sets of images, with no network for a judge."""

import numpy as np


def frechet_distance(a, b):
    """The Fréchet distance between the Gaussians with the means and covariances of two sets.

        |μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½)        a (N, D), b (M, D) features

    Source     Dowson & Landau 1982; Heusel et al. 2017, arXiv:1706.08500, for FID's features
    """
    gap = a.mean(axis=0) - b.mean(axis=0)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.maximum(values, 0) ** 0.5 @ vectors.T  # Σ_a^½
    cross = np.linalg.eigvalsh(root @ cov_b @ root)  # of Σ_a^½ Σ_b Σ_a^½, as of Σ_a Σ_b
    return gap @ gap + np.trace(cov_a + cov_b) - 2 * (np.maximum(cross, 0) ** 0.5).sum()


def block_means(images, size):
    """Images (N, H, W, C) as features (N, D): the means of their blocks of size × size pixels."""
    n, h, w, c = images.shape
    blocks = images.reshape(n, h // size, size, w // size, size, c).astype(np.float64)
    return blocks.mean(axis=(2, 4)).reshape(n, -1)


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


def nearest(images, among):
    """For each image (N, H, W, C) the index (N,) of the one among (M, H, W, C) that is nearest."""
    a, b = (x.reshape(len(x), -1).astype(np.float32) for x in (images, among))
    lengths = (b * b).sum(axis=1)
    blocks = [a[i : i + 500] for i in range(0, len(a), 500)]  # the products are large
    return np.concatenate([(lengths - 2 * (block @ b.T)).argmin(axis=1) for block in blocks])
