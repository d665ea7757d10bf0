"""Pictures noised and drawn again, and holes filled, with the perfect network of a Gaussian."""

from functools import partial

import numpy as np
import pytest

from tinyddpm import (
    SamplingConfig,
    Schedule,
    ancestral,
    clipped,
    ddim,
    ddim_inversion,
    dpm_solver,
    final_images,
    inpaint,
    sample,
    sampler,
    sdedit,
)

MEAN = np.array([0.2, -0.1])
COV = np.array([[0.25, 0.18], [0.18, 0.2]])  # two pixels that know much of each other
UNCLIPPED = partial(clipped, limit=0)


def best_eps(schedule, mean=MEAN, cov=COV):
    """E[eps | x_t] for images (N, 2) from N(mean, cov): b Σ_t⁻¹ (x_t - a mean)."""

    def predict(x_t, t):
        alpha_bar = schedule.alpha_bar[t[0]]
        a, b = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        return b * (x_t - a * mean) @ np.linalg.inv(alpha_bar * cov + b * b * np.eye(2))

    return predict


def law_of_inpainting(s, x0, hidden, repeat):
    """Mean (2,) and covariance (2, 2) of what `inpaint` draws with `ancestral`, in closed form.

    All that it does to x is linear, plus Gaussian noise: a Gaussian stays one.
    """
    m, v, see = np.zeros(2), np.eye(2), np.diag(hidden.astype(float))
    known = np.where(hidden, 0, x0)
    for t in range(s.T, 0, -1):
        a, b = s.alpha_bar[t] ** 0.5, (1 - s.alpha_bar[t]) ** 0.5
        gain = a * COV @ np.linalg.inv(a * a * COV + b * b * np.eye(2))  # of E[x0 | x_t]
        A = s.posterior_x0_coef[t] * gain + s.posterior_x_t_coef[t] * np.eye(2)
        c = s.posterior_x0_coef[t] * (MEAN - a * gain @ MEAN)
        for again in range(repeat if t > 1 else 1):
            if again:
                m, v = s.alpha[t] ** 0.5 * m, s.alpha[t] * v + s.beta[t] * np.eye(2)
            m, v = A @ m + c, A @ v @ A.T + s.posterior_variance[t] * np.eye(2)
            m = see @ m + s.alpha_bar[t - 1] ** 0.5 * known
            v = see @ v @ see + (1 - s.alpha_bar[t - 1]) * (np.eye(2) - see)
    return m, v


HIDDEN = np.array([False, True])


def conditional(x0):
    """Mean and variance of the second pixel, given the first."""
    slope = COV[0, 1] / COV[0, 0]
    return MEAN[1] + slope * (x0[0] - MEAN[0]), COV[1, 1] - slope * COV[0, 1]


@pytest.mark.parametrize("repeat", [1, 3])
def test_inpainting_does_what_its_formulas_say(repeat, rng):
    s, n = Schedule.cosine(100).respaced(12), 20_000
    x0 = np.array([0.9, 77.0])  # what is hidden is not looked at
    predict = best_eps(Schedule.cosine(100))
    walk = partial(ancestral, predict, rng=rng, clip=UNCLIPPED)
    x_T = rng.standard_normal((n, 2))
    steps = list(inpaint(walk, s, x_T, np.tile(x0, (n, 1)), HIDDEN, rng, repeat))
    assert [step.t for step in steps] == list(range(11, -1, -1))
    mean, cov = law_of_inpainting(s, x0, HIDDEN, repeat)
    x = steps[-1].x
    assert (x[:, 0] == 0.9).all()
    assert x[:, 1].mean() == pytest.approx(mean[1], abs=4 * (cov[1, 1] / n) ** 0.5)
    assert x[:, 1].var() == pytest.approx(cov[1, 1], rel=4 * (2 / n) ** 0.5)


def test_inpainting_repeated_draws_from_the_conditional_distribution():
    """One step alone does not look at what is known beside it: that is what repeating is for."""
    x0, s = np.array([0.9, 0.0]), Schedule.cosine(1000).respaced(250)
    mean, variance = conditional(x0)
    laws = [law_of_inpainting(s, x0, HIDDEN, repeat) for repeat in (1, 5, 10, 25)]
    off = [abs(got[1] - mean) for got, _ in laws]
    assert off[0] > 0.15 and off[1] < 0.04 and off[2] < 0.02 and off[3] < 0.01
    assert all(cov[1, 1] ** 0.5 == pytest.approx(variance**0.5, abs=0.04) for _, cov in laws)


@pytest.mark.parametrize("name", ["ancestral", "ddim", "dpm", "sde-dpm"])
def test_every_sampler_fills_holes(name, rng):
    s, n = Schedule.cosine(), 2000
    config = SamplingConfig(name, 20, clip=0)
    walk = sampler(config, best_eps(s), rng)
    x0 = np.tile([0.9, 0.0], (n, 1))
    x = final_images(
        inpaint(walk, config.respaced(s), rng.standard_normal((n, 2)), x0, HIDDEN, rng)
    )
    mean, variance = conditional(x0[0])
    assert (x[:, 0] == 0.9).all()
    assert x[:, 1].mean() == pytest.approx(mean, abs=0.05)
    assert x[:, 1].std() == pytest.approx(variance**0.5, abs=0.08)


def test_a_mask_may_be_of_any_shape_that_fits_and_of_any_numbers(rng):
    s, x = Schedule.cosine(50).respaced(4), np.ones((2, 3, 3, 1), np.float32) / 2
    walk = partial(dpm_solver, lambda x_t, t: 0 * x_t)
    mask = np.zeros((3, 3, 1), np.uint8)
    mask[0] = 255
    *_, step = inpaint(walk, s, x, x, mask, rng, repeat=2)
    assert step.x.dtype == np.float32 and (step.x[:, 1:] == 0.5).all() and step.t == 0
    assert (step.x[:, 0] != 0.5).all()
    for repeat in (0, 1.5):
        with pytest.raises(ValueError, match="repeat of"):
            next(inpaint(walk, s, x, x, mask, rng, repeat))
    with pytest.raises(ValueError, match="give alike"):
        next(inpaint(walk, s, x, x[:1], mask, rng))
    with pytest.raises(ValueError, match="could not be broadcast"):
        next(inpaint(walk, s, x, x, mask[:2], rng))


@pytest.mark.parametrize("strength", [0.3, 0.6])
def test_a_noised_picture_comes_back_as_bayes_rule_says(strength, rng):
    """x0 -> x_t -> x0' through the exact reverse chain: x0' is drawn from p(x0 | x_t)."""
    s, n, x0 = Schedule.cosine(), 2000, np.array([0.7, 0.3])
    walk = partial(ancestral, best_eps(s), rng=rng, clip=UNCLIPPED)
    steps = list(sdedit(walk, s, np.tile(x0, (n, 1)), rng.standard_normal((n, 2)), strength))
    t = round(1000 * strength)
    assert [step.t for step in steps] == list(range(t - 1, -1, -1))
    a, noise = s.alpha_bar[t] ** 0.5, 1 - s.alpha_bar[t]
    gain = a * COV @ np.linalg.inv(a * a * COV + noise * np.eye(2))
    mean = MEAN + a * gain @ (x0 - MEAN)
    cov = COV - a * gain @ COV + noise * gain @ gain.T
    x = steps[-1].x
    assert np.abs(x.mean(axis=0) - mean).max() < 4 * (np.diag(cov) / n).max() ** 0.5 + 0.01
    assert np.abs(np.cov(x.T) - cov).max() < 6 * cov.max() / n**0.5


def test_the_share_of_the_time_counts_not_that_of_the_steps(rng):
    s, x0 = Schedule.cosine().respaced(10, "quadratic"), np.ones((1, 2))
    walk, T = partial(ddim, best_eps(Schedule.cosine())), 1000
    for strength in (0.0005, 0.02, 0.3, 0.6, 1.0):
        begun = s.times[len(list(sdedit(walk, s, x0, x0, strength)))]
        assert (
            begun == 1
            or begun <= strength * T < [*s.times, 2000][s.times.tolist().index(begun) + 1]
        )
    for strength in (0, 1.01, -1, float("nan")):
        with pytest.raises(ValueError, match="strength of .*: use a share"):
            sdedit(walk, s, x0, x0, strength)


def test_an_image_s_own_noise_gives_the_image(rng):
    s, x0 = Schedule.cosine().respaced(400), rng.uniform(-0.5, 0.5, (5, 2))
    predict, strength = best_eps(Schedule.cosine()), 0.5
    half = s.until(int((s.times <= strength * 1000).sum()) - 1)
    x_t = final_images(ddim_inversion(predict, half, x0))
    a, b = half.alpha_bar[-1] ** 0.5, (1 - half.alpha_bar[-1]) ** 0.5
    back = final_images(sdedit(partial(ddim, predict), s, x0, (x_t - a * x0) / b, strength))
    assert np.abs(back - x0).max() < 0.01


def test_clipping_on_off_within_a_range_and_dynamic():
    x = np.array([[0.5, -4.0, 2.0, 1.0, 0.0], [0.1, 0.2, 0.3, 0.4, 0.5]])
    assert clipped(x)[0].tolist() == [0.5, -1, 1, 1, 0]
    assert clipped(x, 2.5)[0].tolist() == [0.5, -2.5, 2, 1, 0]
    assert np.array_equal(clipped(x, 0), x) and np.array_equal(clipped(x, 0, 0.9), x)
    # sizes in order 0, 0.5, 1, 2, 4: three quarters of them reach to 2
    assert clipped(x, share=0.75)[0].tolist() == [0.25, -1, 1, 0.5, 0]
    assert clipped(x, 1.5, 0.75)[0].tolist() == [0.375, -1.5, 1.5, 0.75, 0]
    assert np.array_equal(clipped(x, share=0.75)[1], x[1])  # within the range: as it is
    assert clipped(x.astype(np.float32), share=0.75).dtype == np.float32


@pytest.mark.parametrize("name", ["ancestral", "ddim", "dpm", "sde-dpm"])
def test_every_sampler_clips_as_the_settings_say(name, rng):
    """A network that sees 3 everywhere but -1 in one place of ten."""
    s, seen = Schedule.cosine(100), np.array([[3.0] * 9 + [-1.0]])

    def predict(x_t, t):
        a = s.alpha_bar[t[0]] ** 0.5
        return (x_t - a * seen) / (1 - a * a) ** 0.5

    for change, wanted in (
        ({}, [1, -1]), ({"clip": 2.0}, [2, -1]), ({"clip": 0}, [3, -1]),
        ({"dynamic": 0.5}, [1, -1 / 3]), ({"dynamic": 0.5, "clip": 2.0}, [2, -2 / 3]),
        ({"steps": 1, "dynamic": 0.5}, [1, -1 / 3]), ({"times": (100, 7)}, [1, -1]),
    ):  # fmt: skip
        config = SamplingConfig(**{"sampler": name, "steps": 5, **change})
        steps = list(sample(config, predict, s, rng.standard_normal((1, 10)), rng))
        assert len(steps) == {"steps": 1, "times": 2}.get(next(iter(change), ""), 5)
        for step in steps:
            assert np.allclose(step.x0_hat[0, [0, -1]], wanted)
        assert np.allclose(steps[-1].x, steps[-1].x0_hat)
