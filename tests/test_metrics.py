"""Distances between sets of images, against closed forms, brute force and numbers by hand."""

import numpy as np
import pytest

from tinyddpm import (
    frechet_distance,
    inception_score,
    kernel_distance,
    nearest,
    nearest_of_looks,
    power_spectrum,
    precision_and_recall,
    spectral_excess,
)


def test_the_frechet_distance_of_known_gaussians(rng):
    """For covariances with the same axes it is |Δμ|² + Σ (σ_a - σ_b)²."""
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    normal = rng.standard_normal((2000, 3))
    normal = (normal - normal.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(normal.T))).T
    a = normal * [1.0, 2.0, 0.5] @ axes.T
    b = normal[::-1] * [3.0, 1.0, 0.5] @ axes.T + np.array([1.0, 0, -2])
    assert frechet_distance(a, b) == pytest.approx(5 + 4 + 1, rel=1e-12)
    assert frechet_distance(b, a) == pytest.approx(10, rel=1e-12)


def test_the_frechet_distance_by_the_matrix_root_of_the_product(rng):
    a, b = rng.standard_normal((50, 4)) @ rng.standard_normal((4, 4)), rng.standard_normal((60, 4))
    product = np.cov(a.T) @ np.cov(b.T)
    root = np.sqrt(np.linalg.eigvals(product)).sum().real
    gap = a.mean(axis=0) - b.mean(axis=0)
    wanted = gap @ gap + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)


@pytest.fixture(params=[(300, 40), (30, 100), (5000, 3)], ids=str)
def features(rng, request):
    """Features (N, D) that depend on each other, also with fewer images than features."""
    n, d = request.param
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) / d**0.5 + 5


def test_the_frechet_distance_of_equal_sets_is_0(features, rng):
    assert frechet_distance(features, features) < 1e-10
    assert frechet_distance(features, features[rng.permutation(len(features))]) < 1e-10


def test_the_frechet_distance_of_a_shift_is_its_square(features, rng):
    shift = rng.standard_normal(features.shape[1])
    assert frechet_distance(features, features + shift) == pytest.approx(shift @ shift, rel=1e-11)


def test_the_frechet_distance_of_twice_as_wide_a_set_is_its_variance(features):
    wide = 2 * features - features.mean(axis=0)  # Σ_b = 4 Σ_a
    wanted = features.var(axis=0, ddof=1).sum()
    assert frechet_distance(features, wide) == pytest.approx(wanted, rel=1e-11)


def test_the_frechet_distance_is_symmetric_and_turns_with_its_sets(features, rng):
    other = features[::2] ** 2
    distance, (_, d) = frechet_distance(features, other), features.shape
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    assert frechet_distance(other, features) == pytest.approx(distance, rel=1e-11)
    assert frechet_distance(features @ turn, other @ turn) == pytest.approx(distance, rel=1e-11)
    assert isinstance(distance, float) and distance > 0


def test_features_in_float32_are_worked_on_in_float64(rng):
    a, b = (rng.standard_normal((2, 1500, 3)) + 100).astype(np.float32)
    for distance in (frechet_distance, kernel_distance):
        wide = distance(a.astype(float), b.astype(float))
        assert distance(a, b) == pytest.approx(wide, rel=1e-12)


def test_the_kernel_distance_by_hand():
    """k(x, y) = (x y + 1)³: within a, k(0, 1) = 1; within b, k(2, 3) = 343; across 1, 1, 27, 64."""
    a, b = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    assert kernel_distance(a, b) == pytest.approx(1 + 343 - 2 * (1 + 1 + 27 + 64) / 4)
    wide = np.concatenate([a, 0 * a], axis=1)  # D = 2 halves the products
    assert kernel_distance(wide, wide[:, ::-1]) == pytest.approx(1 + 1 - 2)


def test_the_kernel_distance_of_samples_of_one_thing_is_0_in_the_mean(rng):
    """Unbiased, also for few: its mean over many draws is within what their spread allows."""
    draws = [kernel_distance(*rng.standard_normal((2, 6, 3))) for _ in range(1000)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / 1000**0.5
    assert min(draws) < 0


def test_the_kernel_distance_in_chunks_is_the_same(rng, monkeypatch):
    a, b = rng.standard_normal((11, 4)), rng.standard_normal((7, 4)) + 1
    whole = kernel_distance(a, b)
    monkeypatch.setattr("tinyddpm.evaluation.distances.CHUNK", 3)
    assert kernel_distance(a, b) == pytest.approx(whole, rel=1e-12)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(a[::-1], b), rel=1e-12)


def test_the_inception_score_by_hand():
    sure = np.eye(4)[[0, 1, 2, 3] * 5]
    assert inception_score(sure, splits=5) == pytest.approx((4, 0))
    assert inception_score(sure, splits=20) == pytest.approx((1, 0))  # a part of one image
    assert inception_score(np.full((10, 4), 0.25), splits=2) == pytest.approx((1, 0))
    half = np.array([[0.75, 0.25], [0.25, 0.75]])
    wanted = np.exp(0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    assert inception_score(half, splits=1) == pytest.approx((wanted, 0))
    both = np.concatenate([half, np.eye(2)])  # of the second part: 2
    assert inception_score(both, splits=2) == pytest.approx(((wanted + 2) / 2, (2 - wanted) / 2))


def test_precision_and_recall_by_hand():
    """On a line, with one neighbour: balls of real reach 1, 1, 6, of made 2, 1, 1."""
    real, made = np.array([[0.0], [1.0], [7.0]]), np.array([[0.5], [2.5], [3.5]])
    assert precision_and_recall(real, made, k=1) == pytest.approx((1, 2 / 3))
    far = np.array([[0.5], [2.5], [13.5]])  # its last one reaches 11: recall forgives it
    assert precision_and_recall(real, far, k=1) == pytest.approx((2 / 3, 1))
    line = np.arange(8.0)[:, None]
    assert precision_and_recall(line, line + 0.25) == (1, 1)
    assert precision_and_recall(line, line + 100) == (0, 0)
    one = np.full((8, 1), 3.5) + 1e-9 * line  # what was made is all alike, and real
    assert precision_and_recall(line, one) == (1, 0)


def test_precision_and_recall_by_brute_force(rng, monkeypatch):
    monkeypatch.setattr("tinyddpm.evaluation.neighbours.ROWS", 7)
    real, made = rng.standard_normal((40, 3)), 0.7 * rng.standard_normal((30, 3)) + 0.5

    def share(points, centres):
        between = np.linalg.norm(centres[:, None] - centres, axis=2)
        radii = np.sort(between, axis=1)[:, 3]
        return np.mean((np.linalg.norm(points[:, None] - centres, axis=2) <= radii).any(axis=1))

    wanted = share(made, real), share(real, made)
    assert precision_and_recall(real, made) == pytest.approx(wanted) and 0 < wanted[0] < 1


REFUSED = {
    "features of shapes": lambda a: frechet_distance(a, a[:, :2]),
    "two images or more": lambda a: kernel_distance(a[:1], a),
    "not finite": lambda a: frechet_distance(a, a / 0),
    "give \\(N, D\\)": lambda a: precision_and_recall(a[0], a[0]),
    "use more than 3 of each": lambda a: precision_and_recall(a, a[:3]),
    "10 splits of 5 images": lambda a: inception_score(a),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_sets_that_cannot_be_compared_are_refused(sentence):
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=sentence):
        REFUSED[sentence](np.zeros((5, 3)))


@pytest.fixture
def small_cuts(monkeypatch):
    monkeypatch.setattr("tinyddpm.evaluation.neighbours.ROWS", 4)
    monkeypatch.setattr("tinyddpm.evaluation.neighbours.COLUMNS", 9)


def test_the_nearest_image_is_the_nearest(rng, small_cuts):
    images, among = rng.integers(0, 256, (2, 30, 5, 5, 1), np.uint8)
    images = images[:7]
    gaps = ((images[:, None].astype(float) - among) ** 2).sum(axis=(2, 3, 4)) ** 0.5
    index, distance = nearest(images, among)
    assert (index == gaps.argmin(axis=1)).all() and np.allclose(distance, gaps.min(axis=1))
    index, distance = nearest(among, among)
    assert (index == np.arange(30)).all() and (distance == 0).all()
    features = rng.standard_normal((30, 6)).astype(np.float32)
    assert (nearest(features + 0.001, features)[0] == np.arange(30)).all()


def test_a_mirror_image_is_a_copy_where_flips_count(rng, small_cuts):
    images = rng.integers(0, 256, (12, 5, 5, 3), np.uint8)
    asked = images[[3, 11, 0]]
    asked[1] = asked[1, :, ::-1]
    index, distance = nearest_of_looks([asked, asked[:, :, ::-1]], images)
    assert list(index) == [3, 11, 0] and (distance == 0).all()
    assert nearest(asked, images)[1][1] > 0


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
    _, power = power_spectrum(0.3 * rng.standard_normal((200, 32, 32, 1)))
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
