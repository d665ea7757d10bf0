"""The laws that every layer keeps."""

import numpy as np
import pytest
from conftest import random_theta, read_only
from test_gradients import CASES, TINY_UNET

from tinyddpm import Layout, Tape, UNet
from tinyddpm.nn.layers import Conv3x3, Dropout, GroupNorm, Linear


@pytest.fixture(params=CASES)
def case(request, rng):
    make, shapes = CASES[request.param]
    layer = make(layout := Layout())
    theta = random_theta(layout, rng)
    return layer, theta, [read_only(rng.standard_normal(shape)) for shape in shapes]


def gradients(layer, theta, inputs, dy_rng, rng=None):
    """Forward and backward once; returns y, the flat gradient and the inputs' gradients."""
    grad = np.zeros_like(theta)
    tape = Tape(theta, grad, rng)
    y = layer.forward(*inputs, tape)
    dy = read_only(dy_rng.standard_normal(y.shape).astype(y.dtype))
    d_inputs = layer.backward(dy, tape)
    assert len(tape) == 0
    return y, grad, d_inputs if isinstance(d_inputs, tuple) else (d_inputs,)


def test_backward_empties_the_tape_and_nothing_writes_to_weights_or_inputs(case, rng):
    layer, theta, inputs = case  # all of them read-only
    y, _, d_inputs = gradients(layer, theta, inputs, rng)
    assert [d.shape for d in d_inputs] == [x.shape for x in inputs]  # rule 1


def test_a_tape_without_gradient_remembers_nothing_and_gives_the_same(case, rng):
    layer, theta, inputs = case
    y, _, _ = gradients(layer, theta, inputs, rng)
    tape = Tape(theta)
    assert np.array_equal(layer.forward(*inputs, tape), y)
    assert len(tape) == 0


def test_the_same_input_gives_the_same_bits(case):
    layer, theta, inputs = case
    one = gradients(layer, theta, inputs, np.random.default_rng(0), np.random.default_rng(1))
    two = gradients(layer, theta, inputs, np.random.default_rng(0), np.random.default_rng(1))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])


def test_parameter_gradients_add_up_over_trips(case):
    layer, theta, inputs = case
    _, once, _ = gradients(layer, theta, inputs, np.random.default_rng(0))
    grad = np.zeros_like(theta)
    for _ in range(2):
        tape = Tape(theta, grad)
        y = layer.forward(*inputs, tape)
        layer.backward(np.random.default_rng(0).standard_normal(y.shape), tape)
    assert np.allclose(grad, 2 * once, rtol=1e-13)


def test_float32_in_float32_out(case, rng):
    layer, theta, inputs = case
    theta32 = theta.astype(np.float32)
    y, grad, d_inputs = gradients(layer, theta32, [x.astype(np.float32) for x in inputs], rng)
    assert {a.dtype for a in (y, grad, *d_inputs)} == {np.dtype(np.float32)}


def test_arrays_in_any_memory_order_give_the_same(case, rng):
    layer, theta, inputs = case
    y, grad, d_inputs = gradients(layer, theta, inputs, np.random.default_rng(0))
    odd = [np.asfortranarray(x[::-1])[::-1] for x in inputs]
    y2, grad2, d_inputs2 = gradients(layer, theta, odd, np.random.default_rng(0))
    for a, b in zip((y, grad, *d_inputs), (y2, grad2, *d_inputs2)):
        assert np.allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.fixture
def unet_problem(rng):
    unet = UNet(TINY_UNET)
    theta = random_theta(unet.layout, rng)
    x = rng.standard_normal((4, 4, 4, 2))
    return unet, theta, x, np.array([1, 10, 500, 1000]), np.array([0, 1, 2, 3])


def test_gradient_of_a_batch_is_the_sum_over_its_parts(unet_problem, rng):
    unet, theta, x, t, label = unet_problem
    dy = rng.standard_normal(x.shape)
    whole, parts = np.zeros_like(theta), np.zeros_like(theta)
    for grad, cuts in ((whole, [slice(0, 4)]), (parts, [slice(0, 1), slice(1, 4)])):
        for cut in cuts:
            tape = Tape(theta, grad)
            unet.forward(x[cut], t[cut], tape, label[cut])
            unet.backward(dy[cut], tape)
    assert np.allclose(whole, parts, rtol=1e-10, atol=1e-12)


def test_permuting_the_batch_permutes_the_output(unet_problem):
    unet, theta, x, t, label = unet_problem
    order = np.array([2, 0, 3, 1])
    y = unet.forward(x, t, Tape(theta), label)
    permuted = unet.forward(x[order], t[order], Tape(theta), label[order])
    assert np.allclose(y[order], permuted, rtol=1e-12, atol=1e-12)


def test_time_and_label_matter(unet_problem):
    unet, theta, x, t, label = unet_problem
    y = unet.forward(x, t, Tape(theta), label)
    assert np.abs(unet.forward(x, t + 1, Tape(theta), label) - y).max() > 1e-6
    assert np.abs(unet.forward(x, t, Tape(theta), (label + 1) % 4) - y).max() > 1e-3
    null = np.full(4, TINY_UNET.classes)
    unlabelled = unet.forward(x, t, Tape(theta))
    assert np.array_equal(unlabelled, unet.forward(x, t, Tape(theta), null))


def test_float32_backward_of_the_unet_is_close_to_float64(unet_problem, rng):
    unet, theta, x, t, label = unet_problem
    dy = rng.standard_normal(x.shape)
    found = []
    for dtype in (np.float32, np.float64):
        tape = Tape(theta.astype(dtype), np.zeros(theta.size, dtype))
        eps_hat = unet.forward(x.astype(dtype), t, tape, label)
        dx = unet.backward(dy.astype(dtype), tape)
        assert eps_hat.dtype == dx.dtype == dtype
        found.append(tape.grad.astype(float))
    assert np.linalg.norm(found[0] - found[1]) <= 1e-4 * np.linalg.norm(found[1])


def test_pop_by_the_wrong_owner_names_both(layout):
    linear, norm = Linear(layout, "first", 2, 2), GroupNorm(layout, "second", 2, 1)
    tape = Tape(np.zeros(layout.size), np.zeros(layout.size))
    tape.push(linear, None)
    with pytest.raises(RuntimeError, match=r"GroupNorm \(second.gain\) asks.* Linear \(first.W\)"):
        tape.pop(norm)


def test_backward_without_forward_or_without_gradient_says_so(layout, rng):
    layer = Linear(layout, "l", 2, 2)
    theta = random_theta(layout, rng)
    with pytest.raises(RuntimeError, match="run forward first"):
        layer.backward(np.ones((1, 2)), Tape(theta, np.zeros_like(theta)))
    with pytest.raises(RuntimeError, match=r"backward needs Tape\(theta, grad\)"):
        layer.backward(np.ones((1, 2)), Tape(theta))


def test_two_parameters_of_one_name_are_refused(layout):
    Linear(layout, "l", 2, 2)
    with pytest.raises(ValueError, match="l.W"):
        Linear(layout, "l", 2, 2)


def test_layout_addresses_are_views_without_gaps(layout):
    Linear(layout, "a", 2, 3)
    Conv3x3(layout, "b", 1, 2)
    assert [p.name for p in layout.params] == ["a.W", "a.b", "b.W", "b.b"]
    assert [p.span.start for p in layout.params] == [0, 6, 9, 27] and layout.size == 29
    vector = np.zeros(layout.size)
    layout.params[1].of(vector)[...] = 1
    assert vector.sum() == 3 and vector[6:9].all()


def test_dropout_drops_its_share_and_keeps_the_mean(rng):
    y = Dropout(0.2).forward(np.ones((300, 400)), Tape(np.zeros(0), rng=rng))
    assert set(np.unique(y)) == {0, 1.25}
    assert abs(y.mean() - 1) < 0.01
