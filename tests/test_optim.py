"""The optimiser against numbers worked out by hand."""

import numpy as np
import pytest

from tinyddpm import Adam, Layout, Muon, UNet, UNetConfig, clip_by_norm, learning_rate, update_ema
from tinyddpm.nn.optim import orthogonalized
from tinyddpm.nn.tape import zeros


def test_adam_takes_three_hand_computed_steps():
    """Gradients 1, 1, -2 with decays 0.9 and 0.999; m, v and their corrections by hand."""
    theta = np.array([1.0])
    adam = Adam(theta)
    m, v, wanted = 0.0, 0.0, 1.0
    corrections = [(0.1, 0.001), (0.19, 0.001999), (0.271, 0.002997001)]
    for gradient, (c1, c2) in zip((1.0, 1.0, -2.0), corrections):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        wanted -= 0.01 * (m / c1) / (np.sqrt(v / c2) + 1e-8)
        adam.update(theta, np.array([gradient]), 0.01)
        assert theta[0] == pytest.approx(wanted, rel=1e-13)
    assert adam.step == 3
    v_hat = 0.005997001 / 0.002997001
    assert theta[0] == pytest.approx(0.98 + 0.01 * (0.029 / 0.271) / np.sqrt(v_hat))


def test_adam_counts_a_step_of_a_long_vector_once():
    """Vectors of more than 32,768 numbers are updated in parts, all of which take the same step."""
    theta, one = np.ones(70_000), np.ones(1)
    long, short = Adam(theta), Adam(one)
    for gradient in (1.0, 0.1, -2.0):
        long.update(theta, np.full(70_000, gradient), 0.01)
        short.update(one, np.full(1, gradient), 0.01)
    assert long.step == short.step == 3 and (theta == one).all()


def test_adams_first_step_is_lr_whatever_the_gradient():
    theta = np.zeros(3)
    Adam(theta).update(theta, np.array([1e-3, -1.0, 1e3]), 0.01)
    assert np.allclose(theta, [-0.01, 0.01, -0.01], rtol=1e-4)


def test_adam_counts_one_step_for_a_vector_of_any_length():
    """Long vectors are worked off in parts; each part takes the step that a short vector takes."""
    gradients = np.random.default_rng(0).standard_normal((3, 70_000))
    theta, alone = np.zeros(70_000), np.zeros(3)
    adam, small = Adam(theta), Adam(alone)
    for gradient in gradients:
        adam.update(theta, gradient, 0.01)
        small.update(alone, gradient[[0, 40_000, -1]], 0.01)
    assert adam.step == 3
    assert np.array_equal(theta[[0, 40_000, -1]], alone)


def test_adam_finds_the_bottom_of_a_valley():
    theta = np.array([3.0, -2.0])
    adam = Adam(theta)
    for step in range(2000):
        adam.update(theta, np.array([100.0, 1.0]) * theta, learning_rate(step, 2000, 0.05, 10, 0.0))
    assert np.abs(theta).max() < 1e-3


def test_clipping_shortens_long_gradients_and_leaves_the_rest():
    long, short, none = np.array([3.0, 4.0]), np.array([0.3, 0.4]), np.zeros(2)
    assert clip_by_norm(long, 1.0) == 5 and np.allclose(long, [0.6, 0.8])
    assert clip_by_norm(short, 1.0) == 0.5 and short.tolist() == [0.3, 0.4]
    assert clip_by_norm(none, 1.0) == 0 and none.tolist() == [0, 0]


def test_learning_rate_rises_stays_or_falls():
    rates = [learning_rate(step, 100, 2.0, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * k for k in range(1, 11)]) and set(rates[10:]) == {2.0}
    falling = [learning_rate(step, 100, 2.0, 10, 0.1) for step in range(100)]
    assert falling[10] == 2 and falling[55] == pytest.approx(1.1) and falling[99] < 0.21
    assert (np.diff(falling[10:]) < 0).all()


def test_ema_forgets_its_start_and_then_moves_slowly():
    first = np.array([11.0])
    update_ema(first, np.zeros(1), 1, 0.9999)
    assert first[0] == pytest.approx(2)  # 2/11 of it after the first step
    ema = np.array([100.0])
    for step in range(1, 200):
        update_ema(ema, np.array([1.0]), step, 0.9999)
    assert ema[0] == pytest.approx(1, abs=1e-3)
    late = np.array([0.0])
    update_ema(late, np.array([1.0]), 10**7, 0.9999)
    assert late[0] == pytest.approx(1e-4)


def polynomial(s):
    """What five steps of Newton-Schulz make of a singular value s."""
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6), (1, 7)])
def test_a_matrix_is_made_orthogonal_by_its_singular_values_alone(shape, rng):
    matrix = rng.standard_normal(shape)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    wanted = left * polynomial(values / np.sqrt(np.sum(values**2))) @ right
    assert np.abs(orthogonalized(matrix) - wanted).max() <= 1e-6  # 1e-7 is added to a length


def test_what_is_above_a_hundredth_is_stretched_about_alike():
    values = polynomial(np.linspace(0.01, 1, 100_001))
    assert 0.68 < values.min() < 0.69 and 1.13 < values.max() < 1.14
    assert not orthogonalized(np.zeros((3, 4))).any()


def test_muon_turns_matrices_and_leaves_the_rest_to_adam(rng):
    """Two steps by an independent way: singular values for the matrices, Adam for what is not."""
    layout = Layout()
    bias, kernel, gain, wide, last = (
        layout.add(name, shape, zeros)
        for name, shape in zip("bkgwl", [(4,), (3, 3, 2, 4), (5,), (2, 6), (3, 3)])
    )
    theta = rng.standard_normal(layout.size)
    gradients = rng.standard_normal((2, layout.size))
    muon, adam = Muon(theta, [kernel, wide]), Adam(theta)
    start, plain = theta.copy(), theta.copy()
    for gradient in gradients:
        muon.update(theta, gradient, 0.01)
        adam.update(plain, gradient, 0.01)
    assert muon.step == 2
    for param in (bias, gain, last):
        assert np.array_equal(param.of(theta), param.of(plain))
        assert np.array_equal(param.of(muon.m), param.of(adam.m))
    for param, longest in ((kernel, 18), (wide, 6)):
        wanted, average = param.of(start).reshape(-1, param.shape[-1]), 0.0
        for gradient in gradients:
            G = param.of(gradient).reshape(wanted.shape)
            average = 0.95 * average + 0.05 * G
            left, values, right = np.linalg.svd(0.95 * average + 0.05 * G, full_matrices=False)
            turned = left * polynomial(values / np.sqrt(np.sum(values**2))) @ right
            wanted = wanted - 0.4 * 0.01 * np.sqrt(longest) * turned
        assert np.abs(param.of(theta).reshape(wanted.shape) - wanted).max() <= 1e-8
        assert not param.of(muon.v).any()


def test_muon_is_for_the_matrices_of_hidden_layers():
    unet = UNet(UNetConfig(image_size=8, base=8, multipliers=(1, 2), attention_at=(4,), classes=3))
    names = {param.name for param in unet.matrices}
    others = {p.name for p in unet.layout.params if len(p.shape) > 1} - names
    assert others == {"conv_in.W", "conv_out.W", "condition.label.table"}
    assert all(len(param.shape) in (2, 4) for param in unet.matrices)
