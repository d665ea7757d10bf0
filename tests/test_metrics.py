"""Distances between sets of images, against closed forms and brute force."""

import numpy as np
import pytest

from tinyddpm import block_means, frechet_distance, nearest


def test_the_frechet_distance_of_known_gaussians(rng):
    """For covariances with the same axes it is |Δμ|² + Σ (σ_a - σ_b)²."""
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    normal = rng.standard_normal((2000, 3))
    normal = (normal - normal.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(normal.T))).T
    a = normal * [1.0, 2.0, 0.5] @ axes.T
    b = normal[::-1] * [3.0, 1.0, 0.5] @ axes.T + np.array([1.0, 0, -2])
    assert frechet_distance(a, b) == pytest.approx(5 + 4 + 1, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(b, a) == pytest.approx(10, rel=1e-9)


def test_the_frechet_distance_by_the_matrix_root_of_the_product(rng):
    a, b = rng.standard_normal((50, 4)) @ rng.standard_normal((4, 4)), rng.standard_normal((60, 4))
    product = np.cov(a.T) @ np.cov(b.T)
    root = np.sqrt(np.linalg.eigvals(product)).sum().real
    gap = a.mean(axis=0) - b.mean(axis=0)
    wanted = gap @ gap + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)


def test_block_means_are_means_of_squares_of_pixels(rng):
    images = rng.standard_normal((2, 4, 6, 1))
    means = block_means(images, 2)
    assert means.shape == (2, 6) and means[1, 4] == pytest.approx(images[1, 2:4, 2:4].mean())


def test_the_nearest_image_is_the_nearest(rng):
    images, among = rng.integers(0, 256, (7, 5, 5, 1)), rng.integers(0, 256, (30, 5, 5, 1))
    gaps = ((images[:, None].astype(float) - among) ** 2).sum(axis=(2, 3, 4))
    assert (nearest(images, among) == gaps.argmin(axis=1)).all()
    assert (nearest(among, among) == np.arange(30)).all()
