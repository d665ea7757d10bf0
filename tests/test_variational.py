"""The variational bound, its gradients by hand, and where it is looked at."""

import math
from functools import partial

import numpy as np
import pytest
from test_diffusion import Answers

from tinyddpm import (
    LossSecondMomentResampler,
    Schedule,
    Tape,
    UNet,
    UNetConfig,
    bits_per_dimension,
    bound,
    bound_terms,
    hybrid_loss,
    log_variance,
    posterior_mean,
    prior_bits,
    q_sample,
    target,
    to_model_range,
    vlb_loss,
    x0_and_eps,
)
from tinyddpm.diffusion.timesteps import middle_times, uniform_times
from tinyddpm.nn.gradcheck import complex_step, slope_gap, stencil

S = Schedule.linear(100)


def parts(rng, shape=(4, 3, 2, 1), t=(1, 1, 2, 70)):
    """Images of bytes that reach both ends, their noisy versions, and a model's Gaussians."""
    x0 = to_model_range(rng.integers(0, 256, shape)).astype(float)
    x0.flat[:2] = -1, 1
    t = np.array(t)
    x_t = q_sample(x0, t, rng.standard_normal(shape), S)
    mean = posterior_mean(x0, x_t, t, S) + 0.02 * rng.standard_normal(shape)
    log_var = log_variance("learned", rng.uniform(-1, 1, shape), t, S)
    return x0, x_t, t, mean, log_var


def kl_by_integration(mean_q, var_q, mean_p, var_p):
    x = np.linspace(mean_q - 12 * var_q**0.5, mean_q + 12 * var_q**0.5, 100_001)
    log_q = -((x - mean_q) ** 2) / (2 * var_q) - np.log(2 * np.pi * var_q) / 2
    log_p = -((x - mean_p) ** 2) / (2 * var_p) - np.log(2 * np.pi * var_p) / 2
    return np.sum(np.exp(log_q) * (log_q - log_p)) * (x[1] - x[0])


def test_terms_are_divergences_in_bits_per_dimension(rng):
    x0, x_t, t, mean, log_var = parts(rng, (2, 3), (2, 70))
    term = bound(x0, x_t, t, mean, log_var, S)
    true_mean = posterior_mean(x0, x_t, t, S)
    for n in range(2):
        nats = [
            kl_by_integration(true_mean[n, i], S.posterior_variance[t[n]], m, np.exp(v))
            for i, (m, v) in enumerate(zip(mean[n], log_var[n]))
        ]
        assert term.bits[n] == pytest.approx(np.mean(nats) / math.log(2), rel=1e-8)


def test_the_decoder_has_the_normal_distributions_share_of_each_bin(rng):
    """With the exact Φ; the papers' approximation by tanh is off by 4e-4 at most."""
    levels = to_model_range(np.arange(256)).astype(float)[:, None]
    mean, sigma, t = 0.2 * np.ones((256, 1)), 0.1, np.ones(256, int)
    log_var = np.full((256, 1), 2 * np.log(sigma))
    p = 2 ** -bound(levels, levels, t, mean, log_var, S).bits
    cdf = np.array([(1 + math.erf((x - 0.2) / sigma / 2**0.5)) / 2 for x in levels[:, 0] + 1 / 255])
    exact = np.diff(np.concatenate([[0.0], cdf]))
    exact[-1] += 1 - cdf[-1]
    assert np.allclose(p, exact, atol=4e-4) and p.sum() == pytest.approx(1, abs=1e-6)


def test_an_impossible_image_costs_a_finite_number_of_bits():
    x0, t = np.ones((1, 1)), np.array([1])
    term = bound(x0, x0, t, -x0, np.full((1, 1), -20.0), S)
    assert term.bits[0] == pytest.approx(-np.log2(1e-12))
    assert term.d_mean == 0 and term.d_log_sigma2 == 0


@pytest.mark.parametrize(
    "derivative, gate", [(complex_step, 1e-12), (partial(stencil, h=1e-4), 1e-9)]
)
def test_slopes_of_the_bound(derivative, gate, rng):
    x0, x_t, t, mean, log_var = parts(rng)
    term = bound(x0, x_t, t, mean, log_var, S)

    def f(z):
        change = z.reshape(2, *mean.shape)
        return bound(x0, x_t, t, mean + change[0], log_var + change[1], S).bits.sum()

    grad = np.concatenate([term.d_mean.ravel(), term.d_log_sigma2.ravel()])
    for v in np.eye(grad.size):
        numerical = derivative(f, np.zeros(grad.size), v)
        assert abs(grad @ v - numerical) <= gate * np.abs(grad).max()


def answered(predicts, rng):
    """A batch, its weights, a good answer to it, and that answer with v as a model's weights."""
    x0, eps = parts(rng)[0], rng.standard_normal((4, 3, 2, 1))
    t, weight = np.array([1, 2, 50, 100]), np.array([1.0, 0.5, 2.0, 0.1])
    said = target(x0, t, eps, S, predicts) + 0.05 * rng.standard_normal(x0.shape)
    theta = np.concatenate([said, rng.uniform(-1, 1, x0.shape)], axis=-1).ravel()
    return x0, t, eps, weight, said, theta


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_gradient_of_the_whole_bound(predicts, rng):
    x0, t, eps, weight, _, theta = answered(predicts, rng)
    model, grad = Answers((4, 3, 2, 2)), np.zeros(theta.size)
    vlb_loss(model, x0, t, eps, S, Tape(theta, grad), None, weight, predicts)

    def f(z):
        return (weight * vlb_loss(model, x0, t, eps, S, Tape(z), None, None, predicts)).sum()

    for v in rng.choice([-1.0, 1.0], (16, theta.size)):
        assert slope_gap(f, theta, grad, v) <= 1e-10


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_gradient_of_the_hybrid_loss_with_the_mean_held_fixed(predicts, rng):
    x0, t, eps, weight, said, theta = answered(predicts, rng)
    grad = np.zeros(theta.size)
    loss = hybrid_loss(
        Answers((4, 3, 2, 2)), x0, t, eps, S, Tape(theta, grad), None, weight, predicts
    )
    x_t = q_sample(x0, t, eps, S)
    held = posterior_mean(x0_and_eps(said, x_t, t, S, predicts)[0], x_t, t, S)

    def losses(z):
        answer = z.reshape(4, 3, 2, 2)
        error = answer[..., :1] - target(x0, t, eps, S, predicts)
        log_var = log_variance("learned", answer[..., 1:], t, S)
        bits = bound(x0, x_t, t, held, log_var, S).bits
        return (error**2).mean(axis=(1, 2, 3)) + 0.001 * S.T * bits

    assert np.allclose(loss, losses(theta))
    for v in rng.choice([-1.0, 1.0], (16, theta.size)):
        assert slope_gap(lambda z: (weight * losses(z)).sum(), theta, grad, v) <= 1e-10
    moved = theta.reshape(x0.shape[:-1] + (2,)) + np.array([1e-3, 0])  # the bound does see the mean
    assert not np.allclose(vlb_of(moved, x0, t, eps, predicts), vlb_of(theta, x0, t, eps, predicts))


def vlb_of(theta, x0, t, eps, predicts):
    return vlb_loss(Answers((4, 3, 2, 2)), x0, t, eps, S, Tape(theta), predicts=predicts)


@pytest.mark.parametrize(
    "derivative, gate", [(complex_step, 1e-10), (partial(stencil, h=1e-5), 1e-6)]
)
def test_gradient_of_the_bound_through_a_unet(derivative, gate, rng):
    config = UNetConfig(
        image_size=4, base=4, multipliers=(1, 2), attention_at=(), groups=2, outputs=2
    )
    unet = UNet(config)
    theta = unet.layout.init(rng, float) + 0.1 * rng.standard_normal(unet.layout.size)
    x0 = to_model_range(rng.integers(0, 256, (3, 4, 4, 1))).astype(float)
    t, eps, grad = np.array([1, 30, 90]), rng.standard_normal(x0.shape), np.zeros_like(theta)
    vlb_loss(unet, x0, t, eps, S, Tape(theta, grad))
    f = lambda z: vlb_loss(unet, x0, t, eps, S, Tape(z)).mean()  # noqa: E731
    for v in rng.choice([-1.0, 1.0], (8, theta.size)):
        assert slope_gap(f, theta, grad, v, derivative) <= gate


def test_learning_variances_needs_a_network_that_has_them(rng):
    x0 = np.zeros((2, 3, 3, 1))
    for loss in (vlb_loss, hybrid_loss):
        with pytest.raises(ValueError, match="1 channels for images of 1.*set outputs=2"):
            loss(Answers(x0.shape), x0, np.array([1, 2]), x0, S, Tape(np.zeros(x0.size)))


def test_the_prior_costs_what_the_last_step_leaves_of_the_image():
    s = Schedule.linear()
    x0 = to_model_range(np.arange(256, dtype=np.uint8)).reshape(1, -1).astype(float)
    a = s.alpha_bar[-1]
    nats = [kl_by_integration(np.sqrt(a) * x, 1 - a, 0.0, 1.0) for x in x0[0, ::51]]
    wanted = np.mean(nats) / math.log(2)
    assert prior_bits(x0[:, ::51], s)[0] == pytest.approx(wanted, rel=1e-6)
    assert 1e-6 < prior_bits(x0, s)[0] < 2e-5  # about 1e-5 in the paper


def true_posterior(mean, std, s, learned):
    """The exact model of x_{t-1} given x_t for data N(mean, std²): its eps_hat, and v."""

    def predict(x_t, t):
        a = s.alpha_bar[t[0]]
        spread = a * std**2 + 1 - a
        eps_hat = np.sqrt(1 - a) * (x_t - np.sqrt(a) * mean) / spread
        if not learned:
            return eps_hat
        left = std**2 * (1 - a) / spread  # the variance of x0, given x_t
        log_var = np.log(s.posterior_variance[t[0]] + s.posterior_x0_coef[t[0]] ** 2 * left)
        low, high = s.log_posterior_variance[t[0]], s.log_beta[t[0]]
        v = 2 * (log_var - low) / (high - low) - 1
        return np.concatenate([eps_hat, np.full_like(x_t, v)], axis=-1)

    return predict


def gaussian_bits(x0, mean, std):
    """-log2 of what N(mean, std²) has in the bins of these numbers, on average."""
    nats = (x0 - mean) ** 2 / (2 * std**2) + np.log(2 * np.pi * std**2) / 2
    return nats.mean() / math.log(2) - math.log2(2 / 255)


@pytest.mark.parametrize("steps", [20, 50])
def test_the_bound_of_the_true_posterior_is_the_entropy(steps, rng):
    """Bytes from N(0.1, 0.15²), whose density is known: with the exact Gaussian of every step
    nothing is lost on the way, however many they are; with a fixed variance something is."""
    std, s = 0.15, Schedule.linear().respaced(steps)
    near = np.clip(np.round((rng.normal(0.1, std, (2000, 50)) + 1) * 127.5), 0, 255)
    x0 = to_model_range(near.astype(np.uint8))
    x0, step_of = x0.astype(float), {time: i for i, time in enumerate(s.times)}

    def result(variance):
        exact = true_posterior(0.1, std, s, variance == "learned")
        predict = lambda x, t: exact(x, np.array([step_of[t[0]]]))  # noqa: E731
        return bits_per_dimension(list(bound_terms(predict, x0, s, rng, variance)), x0, s)

    learned, wanted = result("learned"), gaussian_bits(x0, 0.1, std)
    assert learned.bits == pytest.approx(wanted, abs=0.01)  # four deviations of the noise
    assert result("small").bits > wanted + 0.1 and result("large").bits > wanted + 0.1
    assert learned.bits == pytest.approx(learned.rate + learned.distortion)
    assert len(learned.rates) == len(learned.errors) == steps
    assert learned.rates[0] == prior_bits(x0, s).mean() and learned.rates[-1] == learned.rate
    assert learned.errors[0] == pytest.approx(std * 127.5, rel=0.02)  # x_T knows nothing
    assert (np.diff(learned.rates) >= -1e-9).all()


def test_the_image_that_is_seen_is_clipped_before_its_bits_are_counted(rng):
    x0, s = to_model_range(rng.integers(0, 256, (3, 4))), Schedule.linear(50)

    def far(factor):
        def predict(x_t, t):  # x0_hat = ±factor
            a = np.sqrt(s.alpha_bar[t[0]])
            return (x_t - a * factor * np.sign(x0)) / np.sqrt(1 - a * a)

        return [step.bits for step in bound_terms(predict, x0, s, np.random.default_rng(1))]

    assert np.allclose(far(5.0), far(1.0), rtol=1e-4)


@pytest.mark.parametrize("T", [1000, 50, 2])
def test_all_times_come_and_those_in_the_middle_more_often(T, rng):
    """Half of them a bell around 0.65 T, the other half even; none outside of 1 .. T."""
    n = 40_000
    even, middle = (draw(rng, n, T) for draw in (uniform_times, middle_times))
    assert all(set(t) <= set(range(1, T + 1)) and {1, T} <= set(t) for t in (even, middle))
    assert even.mean() / T == pytest.approx((1 + 1 / T) / 2, abs=0.01)
    if T > 2:
        share = [
            ((0.65 - s < t / T) & (t / T <= 0.65 + s)).mean()
            for t in (even, middle)
            for s in (0.12, 0.24)
        ]
        assert share == pytest.approx([0.24, 0.48, 0.12 + 0.683 / 2, 0.24 + 0.954 / 2], abs=0.015)


def test_times_are_even_until_each_has_ten_losses(rng):
    history = LossSecondMomentResampler(4)
    t, weight = history.draw(rng, 40_000)
    assert set(t) == {1, 2, 3, 4} and (weight == 1).all()
    assert np.bincount(t)[1:] / 40_000 == pytest.approx(np.full(4, 0.25), abs=0.02)
    history.update(np.repeat([1, 2, 3], 10), np.ones(30))
    history.update(np.full(9, 4), np.ones(9))
    assert (history.probabilities() == 0.25).all()
    history.update([4], [9.0])
    size = np.array([1, 1, 1, np.sqrt((9 + 81) / 10)])
    assert np.allclose(history.probabilities(), 0.999 * size / size.sum() + 0.001 / 4)


def test_only_the_last_ten_losses_count():
    history = LossSecondMomentResampler(1)
    history.update(np.ones(25, int), np.arange(25.0))
    assert history.losses.tolist() == [list(range(15, 25))]


def test_importance_sampling_changes_the_variance_of_the_mean_and_not_the_mean(rng):
    losses = np.array([100.0, 1.0, 2.0, 5.0])
    history = LossSecondMomentResampler(4)
    history.update(np.repeat([1, 2, 3, 4], 10), np.repeat(losses, 10))
    t, weight = history.draw(rng, 20_000)
    estimate = weight * losses[t - 1]
    assert estimate.mean() == pytest.approx(losses.mean(), rel=0.01)
    assert estimate.std() < 0.1 * losses.std()
