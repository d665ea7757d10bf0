"""Distances between sets of images, against closed forms and brute force."""

import numpy as np
import pytest

from tinyddpm import block_means, frechet_distance, nearest, power_spectrum, spectral_excess


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


def smooth_images(rng, n=300):
    """Images (N, 32, 32, 3) as photographs are: the finer, the fainter; colours much alike."""
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    spectra = np.fft.fft2(rng.standard_normal((n, 4, 32, 32))) / (0.05 + f) ** 2
    grey, *colors = np.fft.ifft2(spectra).real.transpose(1, 0, 2, 3)
    images = np.stack([grey + 0.2 * color for color in colors], axis=-1)
    return 0.4 * images / images.std()


@pytest.mark.parametrize("period", [2, 4, 8])
def test_a_pattern_is_a_peak_at_its_frequency(rng, period):
    images, data = smooth_images(rng), power_spectrum(smooth_images(rng))
    grid = 0.1 * np.cos(2 * np.pi * np.arange(32) / period)[:, None]
    for pattern in (grid, grid[:, None]):  # along rows, along columns
        ratio, where = spectral_excess(power_spectrum(images + pattern), data)
        assert where == period and ratio > 1.25
    ratio, _ = spectral_excess(power_spectrum(images), data)
    assert ratio < 1.1


def test_white_noise_has_its_variance_at_all_frequencies_but_none(rng):
    power = power_spectrum(0.3 * rng.standard_normal((200, 32, 32, 1)))
    assert np.allclose(power[2:-1], 0.09, rtol=0.05)


def test_bytes_read_in_the_wrong_order_stand_out(rng):
    """Height, width, channel read as channel, height, width: grid-like noise, of period 3."""
    images, data = smooth_images(rng), power_spectrum(smooth_images(rng))
    wrong = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    ratio, period = spectral_excess(power_spectrum(wrong), data)
    assert ratio > 5 * spectral_excess(power_spectrum(images), data)[0]
    assert period == pytest.approx(3, rel=0.05)


def test_what_bytes_cannot_show_does_not_count(rng):
    black = np.full((5, 32, 32, 1), -1.0)
    faint = black + 1e-4 * rng.standard_normal(black.shape)
    assert spectral_excess(power_spectrum(faint), power_spectrum(black))[0] < 1.01
