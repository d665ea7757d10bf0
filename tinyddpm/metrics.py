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


def nearest(images, among):
    """For each image (N, H, W, C) the index (N,) of the one among (M, H, W, C) that is nearest."""
    a, b = (x.reshape(len(x), -1).astype(np.float32) for x in (images, among))
    lengths = (b * b).sum(axis=1)
    blocks = [a[i : i + 500] for i in range(0, len(a), 500)]  # the products are large
    return np.concatenate([(lengths - 2 * (block @ b.T)).argmin(axis=1) for block in blocks])
