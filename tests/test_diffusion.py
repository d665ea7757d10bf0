"""The forward process and what the network's answers mean, against what is known in closed form."""

import numpy as np
import pytest

from tinyddpm import (
    Adam,
    Schedule,
    Tape,
    UNet,
    UNetConfig,
    log_variance,
    posterior_mean,
    q_sample,
    simple_loss,
    target,
    x0_and_eps,
)


def test_q_sample_has_the_moments_of_equation_4(rng):
    s, n = Schedule.linear(), 200_000
    for t in (1, 377, 1000):
        x_t = q_sample(np.full(n, 0.7), np.full(n, t), rng.standard_normal(n), s)
        assert x_t.mean() == pytest.approx(np.sqrt(s.alpha_bar[t]) * 0.7, abs=5 / np.sqrt(n))
        assert x_t.var() == pytest.approx(1 - s.alpha_bar[t], rel=0.02)


def test_one_jump_equals_many_steps():
    """t single steps x_t = √α_t x_{t-1} + √β_t z have the variance of one jump."""
    s = Schedule.linear(50)
    mean, variance = 1.0, 0.0
    for t in range(1, 51):
        mean, variance = np.sqrt(s.alpha[t]) * mean, s.alpha[t] * variance + s.beta[t]
        assert mean == pytest.approx(np.sqrt(s.alpha_bar[t]), rel=1e-12)
        assert variance == pytest.approx(1 - s.alpha_bar[t], rel=1e-12)


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_image_and_noise_are_found_again_in_every_kind_of_answer(predicts, rng):
    s = Schedule.linear()
    x0, eps = rng.uniform(-1, 1, (2, 5, 4, 3, 1))
    t = np.array([1, 10, 377, 900, 1000])
    x_t = q_sample(x0, t, eps, s)
    answer = target(x0, t, eps, s, predicts)
    found = x0_and_eps(answer, x_t, t, s, predicts)
    assert np.allclose(found, (x0, eps), atol=1e-10)
    assert np.allclose(target(found[0], t, found[1], s, predicts), answer, atol=1e-10)


def test_v_is_x_t_turned_by_90_degrees(rng):
    """With x_t = cos(φ) x0 + sin(φ) eps, v is the derivative of x_t by φ."""
    s, (x0, eps) = Schedule.cosine(100), rng.standard_normal((2, 1, 5))
    t = np.array([40])
    phi = np.arccos(np.sqrt(s.alpha_bar[40]))
    slope = (np.cos(phi + 1e-30j) * x0 + np.sin(phi + 1e-30j) * eps).imag / 1e-30
    assert np.allclose(target(x0, t, eps, s, "v"), slope)


def test_the_posterior_mean_is_exact_at_the_last_step(rng):
    s, (x0, x_t) = Schedule.linear(100), rng.standard_normal((2, 3, 4))
    assert np.allclose(posterior_mean(x0, x_t, np.full(3, 1), s), x0)


def test_log_variances_at_every_time(rng):
    s, t = Schedule.linear(), np.array([1, 2, 500, 1000])
    empty = np.zeros((4, 2, 0))
    small, large = (log_variance(name, empty, t, s) for name in ("small", "large"))
    assert small.shape == large.shape == (4, 1, 1)
    wanted = [s.posterior_variance[i] for i in (2, 2, 500, 1000)]
    assert np.allclose(np.exp(small[:, 0, 0]), wanted)
    wanted[1:] = s.beta[[2, 500, 1000]]
    assert np.allclose(np.exp(large[:, 0, 0]), wanted)
    for v, ends in ((-1, s.log_posterior_variance), (1, s.log_beta)):
        learned = log_variance("learned", np.full((4, 2, 3), float(v)), t, s)
        assert learned.shape == (4, 2, 3) and np.allclose(learned[:, 1, 2], ends[t])
    middle = log_variance("learned", np.zeros((4, 1)), t, s)[:, 0]
    assert np.allclose(middle, (s.log_posterior_variance + s.log_beta)[t] / 2)


def test_an_unknown_or_missing_variance_is_refused():
    s, t = Schedule.linear(), np.array([3])
    with pytest.raises(ValueError, match="'medium': choose from large, small, learned"):
        log_variance("medium", np.zeros((1, 2)), t, s)
    with pytest.raises(ValueError, match="has learned no variances"):
        log_variance("learned", np.zeros((1, 2, 0)), t, s)


def test_what_cannot_be_predicted_is_refused(rng):
    s, x, t = Schedule.linear(), rng.standard_normal((1, 2)), np.array([3])
    for use in (lambda: target(x, t, x, s, "mean"), lambda: x0_and_eps(x, x, t, s, "mean")):
        with pytest.raises(ValueError, match="predicts 'mean': choose from eps, x0, v"):
            use()
    with pytest.raises(ValueError, match=r"answer of shape \(1, 4\) for images \(1, 2\)"):
        simple_loss(Answers((1, 4)), x, t, x, s, Tape(np.zeros(4)))


class Answers:
    """A model whose answer is its weights."""

    def __init__(self, shape):
        self.shape = shape

    def forward(self, x_t, t, tape, label=None):
        return tape.theta.reshape(self.shape)

    def backward(self, d_out, tape):
        tape.grad += d_out.ravel()


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_simple_loss_is_each_images_mean_error_and_weights_its_gradient(predicts, rng):
    s, (x0, eps, answer) = Schedule.linear(), rng.standard_normal((3, 2, 3, 4))
    t, weight = np.array([5, 800]), np.array([0.25, 3.0])
    grad = np.zeros(answer.size)
    tape = Tape(answer.ravel(), grad)
    loss = simple_loss(Answers(x0.shape), x0, t, eps, s, tape, None, weight, predicts)
    error = answer - target(x0, t, eps, s, predicts)
    assert np.allclose(loss, (error**2).mean(axis=(1, 2)))
    assert np.allclose(grad.reshape(x0.shape), error / 6 * weight[:, None, None])
    grad[:] = 0
    simple_loss(Answers(x0.shape), x0, t, eps, s, tape, None, None, predicts)
    assert np.allclose(grad.reshape(x0.shape), error / 6 / 2)  # the mean over the batch


@pytest.mark.parametrize("predicts", ["x0", "v"])
def test_a_network_can_learn_to_answer_with_the_image_or_with_v(predicts, rng):
    unet = UNet(UNetConfig(image_size=4, base=8, multipliers=(1,), attention_at=()))
    theta, s = unet.layout.init(rng), Schedule.cosine()
    adam, x0 = Adam(theta), np.ones((16, 4, 4, 1), np.float32)
    x0[:8] = -1
    losses = []
    for _ in range(200):
        t, eps = rng.integers(1, 1001, 16), rng.standard_normal(x0.shape, np.float32)
        tape = Tape(theta, np.zeros_like(theta))
        loss = simple_loss(unet, x0, t, eps, s, tape, predicts=predicts)
        adam.update(theta, tape.grad, 5e-3)
        losses.append(loss.mean())
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:5])
