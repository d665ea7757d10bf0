"""Samplers with the perfect network, which is known for data of Gaussians, and with each other."""

import warnings
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from tinyddpm import (
    SamplingConfig,
    Schedule,
    ancestral,
    ddim,
    ddim_inversion,
    dpm_solver,
    dpm_solver_sde,
    final_images,
    guided,
    sample,
    slerp,
)


def best_eps(schedule, mean, std, weights=(1.0,)):
    """The perfect network for a mixture of N(mean_k, std²): E[eps | x_t] in closed form."""
    mean, weights = np.atleast_1d(mean), np.array(weights)

    def predict(x_t, t):
        assert (t == t[0]).all() and 1 <= t[0] <= schedule.T
        alpha_bar = schedule.alpha_bar[t[0]]
        variance = alpha_bar * std**2 + 1 - alpha_bar
        gaps = x_t[..., None] - np.sqrt(alpha_bar) * mean
        share = np.log(weights) - gaps**2 / (2 * variance)
        share = np.exp(share - share.max(axis=-1, keepdims=True))
        share /= share.sum(axis=-1, keepdims=True)
        return np.sqrt(1 - alpha_bar) * (share * gaps).sum(axis=-1) / variance

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
def test_ancestral_with_the_perfect_network_is_algorithm_2_as_printed(steps, variance, rng):
    mean, std, n = 0.3, 0.1, 5000
    s = Schedule.linear()
    respaced = s.respaced(steps)
    x = final_images(
        ancestral(best_eps(s, mean, std), respaced, rng.standard_normal((n, 1)), rng, variance)
    )
    table = respaced.beta if variance == "large" else respaced.posterior_variance
    wanted_mean, wanted_std = moments_by_algorithm_2(respaced, mean, std, table)
    assert x.mean() == pytest.approx(wanted_mean, abs=4 * std / np.sqrt(n))
    assert x.std() == pytest.approx(wanted_std, rel=4 / np.sqrt(2 * n))
    z = (x - x.mean()) / x.std()
    assert abs((z**3).mean()) < 0.1 and abs((z**4).mean() - 3) < 0.2  # a Gaussian


# How far the deviation may be off, relatively: what the size of the steps costs.
SAMPLERS = {
    ("ancestral", 1000): 0.02, ("ancestral", 50): 0.15, ("ancestral", 20): 0.3,
    ("ddim", 1000): 0.01, ("ddim", 50): 0.08, ("ddim", 20): 0.17,
    ("dpm", 1000): 0.01, ("dpm", 50): 0.01, ("dpm", 20): 0.03,
    ("sde-dpm", 50): 0.03, ("sde-dpm", 20): 0.1,
}  # fmt: skip


@pytest.mark.parametrize("make", [Schedule.linear, Schedule.cosine])
@pytest.mark.parametrize("sampler, steps", SAMPLERS)
def test_every_sampler_with_the_perfect_network_returns_the_data(make, sampler, steps, rng):
    mean, std, n = 0.3, 0.2, 4000
    s = make()
    x_T = rng.standard_normal((n // 2, 1))
    x_T = np.concatenate([x_T, -x_T])  # the noise's mean is exactly 0
    config = SamplingConfig(sampler=sampler, steps=steps)
    x = final_images(sample(config, best_eps(s, mean, std), s, x_T, rng))
    assert x.mean() == pytest.approx(mean, abs=0.02)
    assert x.std() == pytest.approx(std, rel=SAMPLERS[sampler, steps] + 3 / np.sqrt(2 * n))


@pytest.mark.parametrize("sampler, steps", SAMPLERS)
def test_every_sampler_returns_both_parts_of_a_mixture_in_their_shares(sampler, steps, rng):
    s, n, std = Schedule.cosine(), 4000, 0.1
    predict = best_eps(s, (-0.5, 0.5), std, (0.3, 0.7))
    config = SamplingConfig(sampler=sampler, steps=steps)
    x = final_images(sample(config, predict, s, rng.standard_normal((n, 1)), rng))
    right = x > 0
    few = 0.02 if (sampler, steps) == ("ancestral", 20) else 0  # it takes the noise in large steps
    assert right.mean() == pytest.approx(0.7, abs=0.03 + few)  # four deviations of n draws
    for part, mean in ((x[right], 0.5), (x[~right], -0.5)):
        assert part.mean() == pytest.approx(mean, abs=0.05 if steps == 20 else 0.02)
        assert part.std() == pytest.approx(std, rel=SAMPLERS[sampler, steps] + 0.05)


@pytest.mark.parametrize("steps", [1000, 20])
def test_ddim_with_eta_1_is_ancestral_with_the_small_variance(steps):
    s = Schedule.linear().respaced(steps)
    predict = best_eps(Schedule.linear(), (-0.9, 0.9), 0.3)
    x_T = np.random.default_rng(1).standard_normal((50, 3))
    a = ancestral(predict, s, x_T, np.random.default_rng(2))
    b = ddim(predict, s, x_T, np.random.default_rng(2), eta=1.0)
    for one, other in zip(a, b):
        assert np.allclose(one.x, other.x, atol=1e-9) and one.t == other.t


@pytest.mark.parametrize("eta", [0.3, 0.7])
def test_a_step_of_ddim_takes_the_share_eta_of_the_deviation(eta):
    """Equation 16 has η on σ: σ² = η² β̃. With η in place of η² the two differ for 0 < η < 1."""
    s = Schedule.linear(100).respaced(10)
    x_T = np.random.default_rng(1).standard_normal((200, 3))
    step = next(ddim(lambda x, t: 0.5 * x, s, x_T, np.random.default_rng(2), eta))
    z = np.random.default_rng(2).standard_normal(x_T.shape)
    x0_hat = ((x_T - np.sqrt(1 - s.alpha_bar[10]) * 0.5 * x_T) / s.alpha_bar[10] ** 0.5).clip(-1, 1)
    eps_hat = (x_T - s.alpha_bar[10] ** 0.5 * x0_hat) / np.sqrt(1 - s.alpha_bar[10])
    before, variance = s.alpha_bar[9], eta**2 * s.posterior_variance[10]
    wanted = before**0.5 * x0_hat + np.sqrt(1 - before - variance) * eps_hat + variance**0.5 * z
    assert step.t == 9 and np.allclose(step.x, wanted, rtol=1e-12)


def ode_solution(s, mean, std, x_T, t):
    """x_t on the probability-flow curve through x_T, for data N(mean, std²) (Song et al. 2021)."""
    a_T, a = np.sqrt(s.alpha_bar[s.T]), np.sqrt(s.alpha_bar[t])
    spread = np.sqrt((a**2 * std**2 + 1 - a**2) / (a_T**2 * std**2 + 1 - a_T**2))
    return a * mean + spread * (x_T - a_T * mean)


FINE = Schedule.linear(200_000)


def order(error, counts=(40, 80, 160)):
    """The order in which error(schedule) falls with more steps: even in λ, down to λ = 1."""
    s, errors = FINE, []
    lambda_ = np.log(s.alpha_bar[1:] / (1 - s.alpha_bar[1:])) / 2
    for n in counts:
        kept = np.searchsorted(-lambda_, -np.linspace(1, lambda_[-1], n)) + 1
        alpha_bar = np.concatenate([[1], s.alpha_bar[kept]])
        errors.append(error(Schedule(1 - alpha_bar[1:] / alpha_bar[:-1], np.array([0, *kept]))))
    return np.log2(np.array(errors[:-1]) / errors[1:])


def at_1(steps):
    """The x of the Step at t = 1: λ is infinite at 0."""
    return next(step for step in steps if step.t == 1).x


def test_dpm_solver_converges_with_order_2_and_ddim_with_order_1():
    predict, x_T = best_eps(FINE, 0.2, 0.4), np.linspace(-0.5, 0.5, 11)[:, None]

    def error_of(sampler):
        def error(s):
            wanted = ode_solution(FINE, 0.2, 0.4, x_T, s.times[1])
            return np.abs(at_1(sampler(predict, s, x_T)) - wanted).max()

        return error

    assert (abs(order(error_of(dpm_solver)) - 2) < 0.2).all()
    assert (abs(order(error_of(ddim)) - 1) < 0.05).all()


class OneAtATime:
    """Instead of noise, for row k of the batch a tiny 1 in its k-th step and 0 in all others.

    A sampler that is linear then shows in x what each z counts: the sum of squares is the variance.
    """

    tiny = 1e-3  # so that nothing is clipped

    def __init__(self):
        self.calls = 0

    def standard_normal(self, shape, dtype=np.float64):
        z = np.zeros(shape, dtype)
        z[self.calls] = self.tiny
        self.calls += 1
        return z


def test_the_variance_of_sde_dpm_solver_converges_with_order_2_and_of_ancestral_with_order_1():
    std = 0.4
    predict = best_eps(FINE, 0.0, std)

    def error_of(sampler):
        def error(s):
            rng = OneAtATime()
            x_T = rng.standard_normal((s.T + 1, 1))
            variance = (at_1(sampler(predict, s, x_T, rng)) ** 2).sum() / rng.tiny**2
            return abs(variance - (s.alpha_bar[1] * std**2 + 1 - s.alpha_bar[1]))

        return error

    assert (abs(order(error_of(dpm_solver_sde)) - 2) < 0.1).all()
    assert (abs(order(error_of(ancestral)) - 1) < 0.05).all()


@pytest.mark.parametrize("spacing", ["quadratic", "log-snr", "trailing"])
def test_both_dpm_solvers_are_as_printed_in_the_paper(spacing, rng):
    """Lu et al. 2022, in its own symbols; its r is kept at 1 or more, as dpm_solver.py explains."""
    s = Schedule.linear().respaced(12, spacing)
    predict = best_eps(Schedule.linear(), (-0.5, 0.5), 0.1)
    alpha, sigma = np.sqrt(s.alpha_bar), np.sqrt(1 - s.alpha_bar)
    x_T, z = rng.standard_normal((5, 2)), np.random.default_rng(3)
    ode = dpm_solver(predict, s, x_T)
    sde = dpm_solver_sde(predict, s, x_T, np.random.default_rng(3))
    x, y, D, E, h = x_T, x_T, None, None, None
    for t in range(s.T, 1, -1):
        before, h = (D, E, h), np.log(alpha[t - 1] / sigma[t - 1] / (alpha[t] / sigma[t]))
        D, E = (
            np.clip((u - sigma[t] * predict(u, s.times[[t]])) / alpha[t], -1, 1) for u in (x, y)
        )
        D_1, E_1 = 0, 0
        if before[2]:
            r = max(before[2] / h, 1)
            D_1, E_1 = (D - before[0]) / r, (E - before[1]) / r
        growth = np.exp(-h)
        x = sigma[t - 1] / sigma[t] * x - alpha[t - 1] * (growth - 1) * (D + D_1 / 2)
        y = sigma[t - 1] / sigma[t] * growth * y + alpha[t - 1] * (1 - growth**2) * (E + E_1 / 2)
        y = y + sigma[t - 1] * np.sqrt(1 - growth**2) * z.standard_normal(y.shape)
        assert np.allclose(next(ode).x, x, atol=1e-12) and np.allclose(next(sde).x, y, atol=1e-12)


def distance(x, means, std):
    """The Wasserstein distance of x (N, 1) to a mixture of N(mean_k, std²) in equal shares."""
    grid = np.linspace(-2, 2, 4001)
    wanted = np.mean([[NormalDist(m, std).cdf(g) for g in grid] for m in means], axis=0)
    share = np.searchsorted(np.sort(x[:, 0]), grid) / len(x)
    return np.abs(share - wanted).sum() * (grid[1] - grid[0])


# For 20 steps on the linear schedule. "dpm" is at 0.137 with even times if its long step to t = 1
# extrapolates as far as Algorithm 2 says.
@pytest.mark.parametrize(
    "sampler, spacing, wanted",
    [
        ("ddim", "even", 0.045), ("dpm", "even", 0.034), ("dpm", "trailing", 0.032),
        ("dpm", "leading", 0.032), ("dpm", "log-snr", 0.004), ("dpm", "quadratic", 0.004),
        ("ddim", "quadratic", 0.031), ("sde-dpm", "quadratic", 0.018), ("ancestral", "even", 0.068),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:x_T still holds")  # "leading" begins below T
def test_few_steps_at_the_right_times_come_close_to_a_mixture(sampler, spacing, wanted):
    means, std, s, n = (-0.8, 0.0, 0.8), 0.05, Schedule.linear(), 4000
    x_T = np.array([[NormalDist().inv_cdf((i + 0.5) / n)] for i in range(n)])
    config = SamplingConfig(sampler, 20, spacing=spacing)
    predict = best_eps(s, means, std, np.full(3, 1 / 3))
    x = final_images(sample(config, predict, s, x_T, np.random.default_rng(0)))
    chance = 0.02 if sampler in ("ancestral", "sde-dpm") else 0
    assert distance(x, means, std) == pytest.approx(wanted, abs=0.002 + chance)


def test_ddim_inverted_and_back_is_the_image_the_nearer_the_more_steps(rng):
    s, x0 = Schedule.linear(), rng.uniform(-0.9, 0.9, (20, 3))
    predict, gaps = best_eps(s, (-0.5, 0.5), 0.4), []
    for steps in (10, 50, 250, 1000):
        respaced = s.respaced(steps)
        noise = final_images(ddim_inversion(predict, respaced, x0))
        gaps.append(np.abs(final_images(ddim(predict, respaced, noise)) - x0).max())
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 8 * gaps[3] and gaps[3] < 0.01


def test_noise_found_by_inversion_is_gaussian_noise(rng):
    s = Schedule.linear()
    x0 = 0.3 + 0.2 * rng.standard_normal((5000, 1))
    steps = list(ddim_inversion(best_eps(s, 0.3, 0.2), s, x0))
    assert [step.t for step in steps] == list(range(1, 1001))
    assert steps[-1].x.mean() == pytest.approx(0, abs=0.05)
    assert steps[-1].x.std() == pytest.approx(1, abs=0.05)


def test_no_noise_is_added_in_the_last_step(rng):
    """With the last x0 estimate the same for all, all images must be the same."""
    s = Schedule.linear(100)
    x = rng.standard_normal((50, 3))
    for sampler in ("ancestral", "ddim", "sde-dpm"):
        config = SamplingConfig(sampler=sampler, steps=100, eta=0.9)
        *_, step = sample(config, best_eps(s, 0.2, 0.0), s, x, rng)
        assert step.t == 0 and np.allclose(step.x, 0.2, atol=1e-6)


@pytest.mark.parametrize("eta", [0.3, 0.8])
def test_ddim_takes_the_share_eta_of_the_posterior_deviation(eta):
    """The first step, worked out by hand: a z of ones shows σ, a z of zeros all the rest."""

    class Noise:
        def __init__(self, z):
            self.z = z

        def standard_normal(self, shape, dtype):
            return np.full(shape, self.z, dtype)

    s, x_T, eps = Schedule.linear(30), np.full((1, 2), 0.4), 0.7
    quiet, loud = (
        next(ddim(lambda x, t: np.full(x.shape, eps), s, x_T, Noise(z), eta)) for z in (0.0, 1.0)
    )
    before, now = s.alpha_bar[s.T - 1], s.alpha_bar[s.T]
    sigma = eta * np.sqrt((1 - before) / (1 - now)) * np.sqrt(1 - now / before)  # equation 16
    x0 = np.clip((x_T - np.sqrt(1 - now) * eps) / np.sqrt(now), -1, 1)
    follows = (x_T - np.sqrt(now) * x0) / np.sqrt(1 - now)  # the noise that goes with it
    wanted = np.sqrt(before) * x0 + np.sqrt(1 - before - sigma**2) * follows
    assert np.allclose(quiet.x, wanted, rtol=1e-12, atol=0)
    assert np.allclose(loud.x - quiet.x, sigma, rtol=1e-9, atol=0)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm", "sde-dpm"])
def test_x0_is_clipped_before_it_is_used(sampler, rng):
    s, config = Schedule.linear(100), SamplingConfig(sampler=sampler, steps=30, eta=0.5)
    x_T = rng.standard_normal((4, 2))
    for step in sample(config, lambda x_t, t: -5 + 0 * x_t, s, x_T, rng):
        assert np.abs(step.x0_hat).max() <= 1
    assert np.allclose(step.x, 1)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm", "sde-dpm"])
def test_samplers_yield_every_step_in_the_precision_of_the_noise(sampler, rng):
    s, told = Schedule.linear(100), []

    def predict(x_t, t):
        told.append(int(t[0]))
        return x_t

    config = SamplingConfig(sampler=sampler, steps=10, eta=0.5)
    x_T = rng.standard_normal((2, 3), np.float32)
    x_T.flags.writeable = False
    steps = list(sample(config, predict, s, x_T, rng))
    assert [step.t for step in steps] == list(range(9, -1, -1))
    wanted = s.respaced(10, config.spacing).times
    assert told == wanted[:0:-1].tolist() and told[0] == 100 and told[-1] == 1
    assert {step.x.dtype for step in steps} == {np.dtype(np.float32)}


def test_learned_variances_lie_where_the_network_says(rng):
    s = Schedule.linear(100)
    x_T, best = np.zeros((5, 2)), best_eps(s, 0.1, 0.5)
    for v, variance in ((-1.0, "small"), (1.0, "large")):

        def learns(x, t, v=v):
            return np.concatenate([best(x, t), np.full_like(x, v)], axis=-1)

        a = ancestral(learns, s, x_T, np.random.default_rng(3), "learned")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            b = list(ancestral(best, s, x_T, np.random.default_rng(3), variance))
        assert all(np.allclose(one.x, other.x) for one, other in zip(a, b))


@pytest.mark.parametrize("chain", [ddim, dpm_solver])
def test_other_samplers_leave_learned_variances_aside(chain, rng):
    s, best = Schedule.linear(100), best_eps(Schedule.linear(100), 0.1, 0.5)
    learns = lambda x, t: np.concatenate([best(x, t), np.full_like(x, 9)], axis=-1)  # noqa: E731
    x_T = rng.standard_normal((5, 2))
    assert np.array_equal(final_images(chain(learns, s, x_T)), final_images(chain(best, s, x_T)))
    assert np.array_equal(
        final_images(ddim_inversion(learns, s, x_T)), final_images(ddim_inversion(best, s, x_T))
    )


def test_the_large_variance_with_few_steps_is_warned_of(rng):
    config = SamplingConfig("ancestral", 100, variance="large")
    with pytest.warns(UserWarning, match="leaves noise in 100 steps: use 200"):
        sample(config, lambda x, t: x, Schedule.linear(), np.zeros((1, 1)), rng)


def test_settings_that_cannot_be_are_refused(rng):
    with pytest.raises(ValueError, match="choose from large, small, learned"):
        next(ancestral(lambda x, t: x, Schedule.linear(), np.zeros((1, 1)), rng, "medium"))
    with pytest.raises(ValueError, match="eta of 1.5: use 0"):
        next(ddim(None, Schedule.linear(), None, rng, eta=1.5))
    with pytest.raises(ValueError, match="and give an rng"):
        next(ddim(None, Schedule.linear(), None, eta=0.5))
    for change, sentence in (
        ({"sampler": "heun"}, "sampler of 'heun': choose from ancestral, ddim, dpm, sde-dpm"),
        ({"spacing": "odd"}, "spacing of 'odd': choose from even, quadratic, log-snr, leading, tr"),
        ({"variance": "tiny"}, "variance of 'tiny': choose from large, small, learned"),
        ({"steps": 0}, "steps of 0: use 1 or more"),
        ({"times": (5, 0)}, "times of 0: use 1 or more"),
        ({"clip": -1.0}, "clip of -1.0: use 0 or more"),
        ({"dynamic": 1.5}, "dynamic of 1.5: use a number from 0 to 1"),
        ({"guidance": -1.0}, "guidance of -1.0: use 0 or more"),
        ({"guidance": float("nan")}, "guidance of nan"),
        ({"eta": 2.0}, "eta of 2.0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            SamplingConfig(**change)


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


def test_guidance_leaves_a_learned_variance_to_the_label(rng):
    x, t, label = rng.standard_normal((3, 5, 2)), np.array([5, 5, 5]), np.array([0, 1, 2])

    def eps_model(x_t, t, label):
        return np.concatenate([x_t, x_t + 1], -1) * (label[:, None, None] + 1)

    asked, free = eps_model(x, t, label), eps_model(x, t, np.full(3, 7))
    answer = guided(eps_model, label, null=7, weight=0.5)(x, t)
    assert np.allclose(answer[..., :2], 1.5 * asked[..., :2] - 0.5 * free[..., :2])
    assert np.array_equal(answer[..., 2:], asked[..., 2:])


def test_a_share_of_the_times_is_guided(rng):
    schedule, x, label = Schedule.cosine(100), rng.standard_normal((2, 3)), np.array([0, 1])
    eps_model = lambda x_t, t, label: x_t * (label[:, None] + 1)  # noqa: E731
    config = SamplingConfig(guidance=2.0, guided_share=0.6)
    predict = config.guided(eps_model, label, 5, schedule)
    free, asked = eps_model(x, None, np.array([5, 5])), eps_model(x, None, label)
    assert np.allclose(predict(x, np.array([60, 60])), 3 * asked - 2 * free)
    assert np.array_equal(predict(x, np.array([61, 61])), asked)
    without = replace(config, guidance=0.0).guided(eps_model, label, 5, schedule)
    assert np.array_equal(without(x, np.array([1, 1])), asked)
    nobody = config.guided(lambda x_t, t, label: label, None, 0, schedule)
    assert nobody(x, np.array([1, 1])) is None


def test_the_variance_of_guided_steps_is_that_of_the_label():
    eps_model = lambda x, t, label: np.stack([x[:, 0] * label, label + 0.5], axis=1)  # noqa: E731
    predict = guided(eps_model, np.array([1, 2]), null=3, weight=2.0)
    answer = predict(np.ones((2, 1)), np.array([4, 4]))
    assert answer.tolist() == [[3 * 1 - 2 * 3, 1.5], [3 * 2 - 2 * 3, 2.5]]


def test_guidance_sharpens_towards_the_label_and_x0_is_clipped_after_it(rng):
    s = Schedule.linear(100)
    means = np.array([[-0.5], [0.5], [0.0]])  # of label 0, label 1 and the null label

    def eps_model(x_t, t, label):
        x0_hat = means[label]
        a = np.sqrt(s.alpha_bar[t])[:, None]
        return (x_t - a * x0_hat) / np.sqrt(1 - a**2)

    label = np.array([0, 1, 1])
    for weight, wanted in ((0.0, 0.5), (0.5, 0.75), (5.0, 1.0)):
        predict = guided(eps_model, label, null=2, weight=weight)
        x = final_images(dpm_solver(predict, s, rng.standard_normal((3, 1))))
        assert np.allclose(x[:, 0], [-wanted, wanted, wanted])


def test_slerp_keeps_the_length_of_noise(rng):
    a, b = rng.standard_normal((2, 20, 20))
    assert np.allclose(slerp(a, b, 0), a) and np.allclose(slerp(a, b, 1), b)
    ends = np.linalg.norm(a), np.linalg.norm(b)
    for share in (0.25, 0.5, 0.75):
        assert 0.97 * min(ends) < np.linalg.norm(slerp(a, b, share)) < 1.03 * max(ends)
    assert np.allclose(slerp(a, a, 0.3), a)
