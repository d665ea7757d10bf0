"""Schedules, the forward process and the sampler against what is known in closed form."""

import warnings

import numpy as np
import pytest

from tinyddpm import Schedule, ancestral, guided, last, predict_x0, q_sample


def test_linear_schedule_of_the_paper():
    s = Schedule.linear()
    assert s.T == 1000 and s.beta[1] == 1e-4 and s.beta[1000] == 0.02
    assert s.alpha_bar[0] == 1 and s.beta[0] == 0 and s.posterior_variance[1] == 0
    assert s.alpha_bar[1000] == pytest.approx(4.0358e-5, rel=1e-4)  # the paper's code
    assert s.posterior_variance[2] == pytest.approx(5.453e-5, rel=1e-3)  # OpenAI's first entry
    assert {a.dtype for a in (s.beta, s.alpha_bar, s.posterior_variance)} == {np.dtype(float)}


@pytest.mark.parametrize("T", [25, 50, 100, 400, 1000, 4000])
def test_every_linear_schedule_ends_in_noise(T):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s = Schedule.linear(T)
    assert np.sqrt(s.alpha_bar[T]) < 0.01
    assert (np.diff(s.alpha_bar) < 0).all()


def test_a_schedule_that_leaves_the_image_visible_warns():
    with pytest.warns(UserWarning, match="x_T still holds 0.1"):
        Schedule(np.linspace(1e-4, 0.02, 400))  # the paper's betas without scaling


@pytest.mark.parametrize("beta", [[], [0.1, 0.0], [0.1, 1.0], [np.nan], [[0.1]], [-0.1]])
def test_betas_outside_0_and_1_are_refused(beta):
    with pytest.raises(ValueError, match="numbers between 0 and 1"):
        Schedule(beta)


def test_too_few_linear_steps_are_refused():
    with pytest.raises(ValueError, match="20 steps: use more than 20"):
        Schedule.linear(20)


def test_posterior_is_the_product_of_two_gaussians():
    """q(x_{t-1} | x_t, x_0) by Bayes: precisions add. Ho et al. 2020, equation 7."""
    s = Schedule.linear(100)
    for t in (2, 50, 100):
        precision = s.alpha[t] / s.beta[t] + 1 / (1 - s.alpha_bar[t - 1])
        assert s.posterior_variance[t] == pytest.approx(1 / precision, rel=1e-12)


@pytest.mark.parametrize("steps", [2, 7, 50, 999, 1000])
def test_respacing_keeps_both_ends_and_the_marginals(steps):
    s = Schedule.linear()
    few = s.respaced(steps)
    assert few.times[[0, 1, -1]].tolist() == [0, 1, 1000] and len(set(few.times)) == steps + 1
    assert np.allclose(few.alpha_bar, s.alpha_bar[few.times], rtol=1e-9)


def test_respacing_to_all_steps_is_the_same_schedule():
    s = Schedule.linear(200)
    again = s.respaced(200)
    assert np.allclose(again.beta, s.beta, rtol=1e-10) and (again.times == s.times).all()


@pytest.mark.parametrize("steps", [1, 0, -3, 1001])
def test_respacing_to_impossible_numbers_is_refused(steps):
    with pytest.raises(ValueError, match="choose from 2 to 1000"):
        Schedule.linear().respaced(steps)


def test_q_sample_has_the_moments_of_equation_4(rng):
    s, n = Schedule.linear(), 200_000
    for t in (1, 377, 1000):
        x_t = q_sample(np.full(n, 0.7), np.full(n, t), rng.standard_normal(n), s)
        assert x_t.mean() == pytest.approx(np.sqrt(s.alpha_bar[t]) * 0.7, abs=5 / np.sqrt(n))
        assert x_t.var() == pytest.approx(1 - s.alpha_bar[t], rel=0.02)


def test_one_jump_equals_many_steps(rng):
    """t single steps x_t = √α_t x_{t-1} + √β_t z have the variance of one jump."""
    s = Schedule.linear(50)
    mean, variance = 1.0, 0.0
    for t in range(1, 51):
        mean, variance = np.sqrt(s.alpha[t]) * mean, s.alpha[t] * variance + s.beta[t]
        assert mean == pytest.approx(np.sqrt(s.alpha_bar[t]), rel=1e-12)
        assert variance == pytest.approx(1 - s.alpha_bar[t], rel=1e-12)


def test_predict_x0_inverts_q_sample(rng):
    s = Schedule.linear()
    x0, eps = rng.uniform(-1, 1, (2, 5, 4, 3, 1))
    t = np.array([1, 10, 377, 900, 1000])
    assert np.allclose(predict_x0(q_sample(x0, t, eps, s), t, eps, s), x0, atol=1e-10)


def best_eps(schedule, mean, std):
    """The perfect network for data N(mean, std²): E[eps | x_t], linear in x_t."""

    def predict(x_t, t):
        assert (t == t[0]).all() and 1 <= t[0] <= 1000
        alpha_bar = schedule.alpha_bar[t[0]]
        variance = alpha_bar * std**2 + 1 - alpha_bar
        return np.sqrt(1 - alpha_bar) * (x_t - np.sqrt(alpha_bar) * mean) / variance

    return predict


def moments_by_algorithm_2(s, mean, std, variance):
    """Mean and deviation of x_0 by Algorithm 2 as printed: the form with eps, not x0.

    x_{t-1} = (x_t - β_t / √(1 - ᾱ_t) eps(x_t)) / √α_t + σ_t z is linear: a Gaussian stays one.
    """
    m, v = 0.0, 1.0
    for t in range(s.T, 0, -1):
        alpha_bar = s.alpha_bar[t]
        slope = np.sqrt(1 - alpha_bar) / (alpha_bar * std**2 + 1 - alpha_bar)
        c = s.beta[t] / np.sqrt(1 - alpha_bar)
        m = (m - c * slope * (m - np.sqrt(alpha_bar) * mean)) / np.sqrt(s.alpha[t])
        v = ((1 - c * slope) ** 2 / s.alpha[t]) * v + (variance[t] if t > 1 else 0)
    return m, np.sqrt(v)


@pytest.mark.parametrize("steps, variance", [(1000, "large"), (1000, "small"), (100, "small")])
def test_sampler_with_the_perfect_network_returns_the_data(steps, variance, rng):
    mean, std, n = 0.3, 0.1, 20_000
    s = Schedule.linear()
    few = s.respaced(steps)
    x = last(ancestral(best_eps(s, mean, std), few, rng.standard_normal((n, 1)), rng, variance))
    table = few.beta if variance == "large" else few.posterior_variance
    wanted_mean, wanted_std = moments_by_algorithm_2(few, mean, std, table)
    assert x.mean() == pytest.approx(wanted_mean, abs=4 * std / np.sqrt(n))
    assert x.std() == pytest.approx(wanted_std, rel=4 / np.sqrt(2 * n))
    z = (x - x.mean()) / x.std()
    assert abs((z**3).mean()) < 0.1 and abs((z**4).mean() - 3) < 0.2  # a Gaussian
    assert wanted_mean == pytest.approx(mean, abs=1e-3)  # the data's, but for the steps' size
    assert wanted_std == pytest.approx(std, rel={1000: 0.05, 100: 0.25}[steps])


def test_no_noise_is_added_in_the_last_step(rng):
    """With the last x0 estimate the same for all, all images must be the same."""
    s = Schedule.linear(100)
    x = rng.standard_normal((50, 3))
    chain = ancestral(best_eps(s, 0.2, 0.0), s, x, rng)
    *_, step = chain
    assert step.t == 0 and np.allclose(step.x, 0.2, atol=1e-6)


def test_x0_is_clipped_before_the_mean_is_taken(rng):
    s = Schedule.linear(100)
    for step in ancestral(lambda x_t, t: -5 + 0 * x_t, s, rng.standard_normal((4, 2)), rng):
        assert np.abs(step.x0_hat).max() <= 1
    assert np.allclose(step.x, 1)


def test_sampler_yields_every_step_in_the_precision_of_the_noise(rng):
    s = Schedule.linear(100).respaced(10)
    told = []

    def predict(x_t, t):
        told.append(int(t[0]))
        return x_t

    steps = list(ancestral(predict, s, rng.standard_normal((2, 3), np.float32), rng))
    assert [step.t for step in steps] == list(range(9, -1, -1))
    assert told == s.times[:0:-1].tolist() and told[0] == 100 and told[-1] == 1
    assert {step.x.dtype for step in steps} == {np.dtype(np.float32)}


def test_an_unknown_variance_is_refused_at_the_call(rng):
    with pytest.raises(ValueError, match="choose 'large' or 'small'"):
        ancestral(None, Schedule.linear(), None, rng, "medium")


def test_guidance_extrapolates_from_the_null_label_in_one_call(rng):
    x, t, label = rng.standard_normal((3, 2)), np.array([5, 5, 5]), np.array([0, 1, 2])
    calls = []

    def eps_model(x_t, t, label):
        calls.append(len(x_t))
        return x_t * (label[:, None] + 1) + t[:, None]

    conditional, free = eps_model(x, t, label), eps_model(x, t, np.full(3, 7))
    calls.clear()
    for weight in (0, 0.5, 3):
        eps_hat = guided(eps_model, label, null=7, weight=weight)(x, t)
        assert np.allclose(eps_hat, (1 + weight) * conditional - weight * free)
    assert calls == [3, 6, 6]


def test_guidance_towards_one_of_two_gaussians_is_exact_where_it_must_be():
    """With equal label and null predictions the weight does not matter."""
    s = Schedule.linear(100)
    best = best_eps(s, 0.3, 0.1)
    predict = guided(lambda x, t, label: best(x, t), np.zeros(4, int), null=1, weight=5.0)
    x, t = np.linspace(-1, 1, 4)[:, None], np.full(4, 50)
    assert np.allclose(predict(x, t), best(x, t))
