"""Every hand-written derivative against two independent numerical ones."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import random_theta, read_only

from tinyddpm import Layout, Schedule, Tape, UNet, UNetConfig, simple_loss
from tinyddpm.nn.blocks import AttentionBlock, ResBlock, Stage
from tinyddpm.nn.condition import Condition
from tinyddpm.nn.gradcheck import adjoint_gap, complex_step, jacobian_gap, slope_gap, stencil
from tinyddpm.nn.layers import (
    AddToPixels,
    Attention,
    Concat,
    Conv3x3,
    Dropout,
    Embedding,
    GroupNorm,
    Identity,
    Linear,
    NormSiLU,
    SiLU,
    Upsample,
    UpsampleConv,
)

TINY_UNET = UNetConfig(
    image_size=4, image_channels=2, base=4, multipliers=(1, 2), blocks=1, attention_at=(2,),
    heads=2, groups=2, dropout=0.2, classes=3,
)  # fmt: skip


class Bound:
    """A layer whose arguments that are no variables (labels, times, ...) are fixed."""

    def __init__(self, layer, *fixed, inputs=1):
        self.layer, self.fixed, self.inputs = layer, fixed, inputs

    def forward(self, *arguments):
        *inputs, tape = arguments
        return self.layer.forward(*inputs, *self.fixed, tape)

    def backward(self, dy, tape):
        gradients = self.layer.backward(dy, tape)
        return gradients if self.inputs else ()


# Each case: what makes the layer, and the shapes of its inputs. Odd sizes, H != W, batch 1,
# one group, as many groups as channels, one head, as many heads as channels are all among them.
CASES = {
    "linear, 2 axes": (lambda y: Linear(y, "l", 3, 4), [(2, 3)]),
    "linear, 4 axes": (lambda y: Linear(y, "l", 2, 3), [(1, 3, 2, 2)]),
    "linear, one to two": (lambda y: Linear(y, "l", 1, 2), [(3, 1)]),
    "silu": (lambda y: SiLU(), [(2, 3, 5)]),
    "identity": (lambda y: Identity(), [(2, 3)]),
    "norm and silu": (lambda y: NormSiLU(GroupNorm(y, "n", 4, 2)), [(2, 3, 2, 4)]),
    "group norm, 2 groups": (lambda y: GroupNorm(y, "n", 6, 2), [(2, 3, 2, 6)]),
    "group norm, 1 group": (lambda y: GroupNorm(y, "n", 3, 1), [(1, 2, 3, 3)]),
    "group norm, all groups": (lambda y: GroupNorm(y, "n", 4, 4), [(2, 3, 3, 4)]),
    "conv, odd sides": (lambda y: Conv3x3(y, "c", 2, 3), [(2, 5, 3, 2)]),
    "conv, one pixel": (lambda y: Conv3x3(y, "c", 2, 1), [(1, 1, 1, 2)]),
    "conv, one row": (lambda y: Conv3x3(y, "c", 1, 2), [(1, 1, 4, 1)]),
    "conv, stride 2": (lambda y: Conv3x3(y, "c", 2, 3, stride=2), [(2, 4, 6, 2)]),
    "conv, stride 2, zeros before": (
        lambda y: Conv3x3(y, "c", 2, 3, stride=2, before=1),
        [(2, 4, 6, 2)],
    ),
    "conv, stride 2 to one pixel": (lambda y: Conv3x3(y, "c", 1, 2, stride=2), [(1, 2, 2, 1)]),
    "attention, 1 head": (lambda y: Attention("a", 3, 1), [(2, 4, 3)] * 3),
    "attention, all heads": (lambda y: Attention("a", 4, 4), [(1, 3, 4)] * 3),
    "attention, one pixel": (lambda y: Attention("a", 2, 1), [(2, 1, 2)] * 3),
    "upsample": (lambda y: Upsample(), [(2, 3, 2, 2)]),
    "vector to pixels": (lambda y: AddToPixels(), [(2, 3, 1, 4), (2, 4)]),
    "concat": (lambda y: Concat(), [(2, 3, 1, 2), (2, 3, 1, 3)]),
    "dropout": (lambda y: Dropout(0.4), [(2, 3, 3, 2)]),
    "dropout of nothing": (lambda y: Dropout(0.0), [(2, 3)]),
    "embedding": (lambda y: Bound(Embedding(y, "e", 3, 2), np.array([3, 0, 0, 2]), inputs=0), []),
    "condition": (
        lambda y: Bound(Condition(y, "c", 4, 3, 2), np.array([1, 999]), np.array([0, 2]), inputs=0),
        [],
    ),
    "residual block": (lambda y: ResBlock(y, "r", 4, 6, 3, 2), [(2, 3, 2, 4), (2, 3)]),
    "residual block, same channels": (
        lambda y: ResBlock(y, "r", 2, 2, 3, 1, dropout=0.3),
        [(1, 2, 3, 2), (1, 3)],
    ),
    "attention block": (lambda y: AttentionBlock(y, "a", 4, 2, heads=2), [(2, 3, 2, 4)]),
    "stage": (lambda y: Stage(y, "s", 2, 4, 3, TINY_UNET, True), [(1, 2, 3, 2), (1, 3)]),
    "up": (lambda y: UpsampleConv(Conv3x3(y, "u", 2, 2)), [(1, 3, 2, 2)]),
}


@pytest.mark.parametrize("derivative, gate", [(complex_step, 1e-12), (stencil, 1e-9)])
@pytest.mark.parametrize("case", CASES)
def test_full_jacobian_of_every_layer(case, derivative, gate, rng):
    make, shapes = CASES[case]
    layer = make(layout := Layout())
    inputs = [read_only(rng.standard_normal(shape)) for shape in shapes]
    theta = random_theta(layout, rng)
    gap = jacobian_gap(layer.forward, layer.backward, theta, *inputs, derivative=derivative)
    assert gap <= gate


IN_PLACE = {  # what returns an array that may be written to: small for the plain path, then large
    "conv": (lambda y, c: Conv3x3(y, "c", c, c), []),
    "conv, stride 2": (lambda y, c: Conv3x3(y, "c", c, c, stride=2), []),
    "linear": (lambda y, c: Linear(y, "l", c, c), []),
    "group norm": (lambda y, c: GroupNorm(y, "n", c, 2), []),
    "norm and silu": (lambda y, c: NormSiLU(GroupNorm(y, "n", c, 2)), []),
    "up and conv": (lambda y, c: UpsampleConv(Conv3x3(y, "u", c, c)), []),
    "residual block": (lambda y, c: ResBlock(y, "r", c, c, 3, 2), [3]),
    "attention block": (lambda y, c: AttentionBlock(y, "a", c, 2), []),
}


@pytest.mark.parametrize("side, c", [(2, 2), (12, 16)])
@pytest.mark.parametrize("case", IN_PLACE)
def test_nobody_holds_what_a_layer_returns(case, side, c, rng):
    """Its output and its input's gradient may be written to: sums of blocks are."""
    make, more = IN_PLACE[case]
    layer = make(layout := Layout(), c)
    theta = random_theta(layout, rng)
    inputs = [read_only(rng.standard_normal((4, side, side, c)))]
    inputs += [read_only(rng.standard_normal((4, size))) for size in more]
    results = []
    for spoil in (False, True):
        tape = Tape(theta, np.zeros_like(theta))
        y = layer.forward(*inputs, tape)
        dy = read_only(np.ones(y.shape))
        if spoil:
            y[...] = np.nan
        dx = layer.backward(dy, tape)
        dx = dx if isinstance(dx, tuple) else (dx,)
        assert not any(np.shares_memory(d, dy) or not d.flags.writeable for d in dx)
        results.append([*dx, tape.grad])
    assert all(map(np.array_equal, *results))


@pytest.mark.parametrize("name", ["W", "b", "x"])
def test_a_gradient_that_is_wrong_by_a_millionth_is_rejected(name, rng):
    class Wrong(Conv3x3):
        def backward(self, dy, tape):
            dx = super().backward(dy, tape)
            gradient = dx if name == "x" else getattr(self, name).of(tape.grad)
            gradient *= 1 + 1e-6
            return dx

    layer = Wrong(layout := Layout(), "c", 2, 3)
    x, theta = rng.standard_normal((2, 3, 4, 2)), random_theta(layout, rng)
    assert jacobian_gap(layer.forward, layer.backward, theta, x) > 1e-7
    assert jacobian_gap(layer.forward, layer.backward, theta, x, derivative=stencil) > 1e-7


def test_a_gradient_that_overwrites_instead_of_adding_is_rejected(rng):
    class Wrong(Linear):
        def backward(self, dy, tape):
            self.W.of(tape.grad)[...] = 0
            return super().backward(dy, tape)

    class Twice:
        def __init__(self, layer):
            self.layer = layer

        def forward(self, x, tape):
            return self.layer.forward(self.layer.forward(x, tape), tape)

        def backward(self, dy, tape):
            return self.layer.backward(self.layer.backward(dy, tape), tape)

    x = rng.standard_normal((2, 3))
    for layer_class, right in ((Linear, True), (Wrong, False)):
        twice = Twice(layer_class(layout := Layout(), "l", 3, 3))
        gap = jacobian_gap(twice.forward, twice.backward, random_theta(layout, rng), x)
        assert (gap <= 1e-12) == right


class Spoiled(Linear):
    """A Linear whose backward is changed as `how` says."""

    how = None

    def backward(self, dy, tape):
        start = self.W.of(tape.grad).copy()
        dx = super().backward(dy, tape)
        if self.how == "assigns":
            self.W.of(tape.grad)[...] -= start
        if self.how == "db is nearly right":
            self.b.of(tape.grad)[...] += 1e-9 * self.b.of(tape.grad)
        if self.how == "adds to dy":
            dy += 1
        return dx.ravel() if self.how == "flat" else (dx, dx) if self.how == "twice" else dx


def spoiled_gap(how, rng, scale=1.0):
    layer = Spoiled(layout := Layout(), "l", 3, 4)
    layer.how = how
    x = scale * rng.standard_normal((2, 3))
    return jacobian_gap(layer.forward, layer.backward, random_theta(layout, rng), x)


def test_the_check_sees_an_assignment_where_a_gradient_adds(rng):
    assert spoiled_gap("assigns", rng) > 1e-5 and spoiled_gap(None, rng) < 1e-12


def test_the_check_judges_each_gradient_by_its_own_size(rng):
    """db is wrong by a part in 1e9: beside a dW that is 300 times larger it is seen as well."""
    assert spoiled_gap("db is nearly right", rng, scale=300) > 5e-10


@pytest.mark.parametrize(
    "how, words",
    [("adds to dy", "read-only"), ("flat", r"shapes \[\(6,\)\].*\(2, 3\)"), ("twice", "shapes")],
)
def test_the_check_refuses_what_backward_may_not_do(how, words, rng):
    with pytest.raises(ValueError, match=words):
        spoiled_gap(how, rng)


LINEAR_MAPS = {
    "linear": (lambda y: Linear(y, "l", 5, 7), [(3, 5)]),
    "conv": (lambda y: Conv3x3(y, "c", 3, 4), [(2, 7, 5, 3)]),
    "conv, stride 2": (lambda y: Conv3x3(y, "c", 3, 4, stride=2), [(2, 6, 8, 3)]),
    "conv, stride 2, zeros before": (
        lambda y: Conv3x3(y, "c", 3, 4, stride=2, before=1),
        [(2, 6, 8, 3)],
    ),
    "upsample": (lambda y: Upsample(), [(2, 3, 5, 2)]),
    "vector to pixels": (lambda y: AddToPixels(), [(2, 3, 1, 4), (2, 4)]),
    "concat": (lambda y: Concat(), [(2, 3, 5, 2), (2, 3, 5, 1)]),
    "dropout of nothing": (lambda y: Dropout(0.5), [(2, 3, 5, 2)]),
}


@pytest.mark.parametrize("case", LINEAR_MAPS)
def test_backward_of_a_linear_map_is_its_transpose(case, rng):
    make, shapes = LINEAR_MAPS[case]
    layer = make(layout := Layout())
    theta = random_theta(layout, rng).copy()
    for param in layout.params:
        if param.name.endswith(".b"):
            param.of(theta)[...] = 0  # without its bias the map is linear
    inputs = [rng.standard_normal(shape) for shape in shapes]
    assert adjoint_gap(layer.forward, layer.backward, theta, *inputs) <= 1e-12


def test_the_mix_of_values_in_attention_is_linear_and_transposed(rng):
    layer = Attention("a", 6, 2)
    q, k, v = rng.standard_normal((3, 2, 5, 6))
    forward = lambda v, tape: layer.forward(q, k, v, tape)  # noqa: E731
    backward = lambda dy, tape: layer.backward(dy, tape)[2]  # noqa: E731
    assert adjoint_gap(forward, backward, np.zeros(0), v) <= 1e-12


@pytest.fixture(scope="module")
def problem():
    """The loss of a whole U-Net as a function of theta, and its gradient by hand."""
    rng = np.random.default_rng(7)
    unet, schedule = UNet(TINY_UNET), Schedule.linear()
    theta = random_theta(unet.layout, rng)
    x0, eps = rng.standard_normal((2, 3, 4, 4, 2))
    t, label = np.array([1, 400, 1000]), np.array([0, 3, 2])

    def loss(z, grad=None, seed=1):
        tape = Tape(z, grad, seed and np.random.default_rng(seed))
        return simple_loss(unet, x0, t, eps, schedule, tape, label).mean()

    grad = np.zeros_like(theta)
    loss(theta, grad)
    return unet, loss, theta, grad


@pytest.mark.parametrize(
    "derivative, gate", [(complex_step, 1e-10), (partial(stencil, h=1e-4), 1e-9)]
)
def test_unet_with_loss_along_random_signs(problem, derivative, gate):
    unet, loss, theta, grad = problem
    rng = np.random.default_rng(8)
    for _ in range(32):
        v = rng.choice([-1.0, 1.0], theta.size)
        assert slope_gap(loss, theta, grad, v, derivative) <= gate


def test_unet_with_loss_along_each_parameter_alone(problem):
    unet, loss, theta, grad = problem
    rng = np.random.default_rng(9)
    for param in unet.layout.params:
        for _ in range(3):
            v = np.zeros_like(theta)
            param.of(v)[...] = rng.choice([-1.0, 1.0], param.shape)
            assert slope_gap(loss, theta, grad, v) <= 1e-10, param


def test_no_parameter_of_the_unet_is_left_without_a_gradient(problem):
    unet, loss, theta, _ = problem
    grad = np.zeros_like(theta)
    loss(theta, grad, seed=None)  # nothing dropped
    for param in unet.layout.params:
        if param.name.endswith("label.table"):
            rows = np.abs(param.of(grad)).max(axis=1)
            assert np.flatnonzero(rows).tolist() == [0, 2, 3]  # 3 is the null label
        elif not _invisible(param.name):
            assert np.abs(param.of(grad)).min() > 0, param


def _invisible(name):
    """The key's bias shifts all scores of a row alike, which softmax does not see."""
    return name.endswith(".k.b")


def test_gradient_of_the_image_that_the_unet_returns(rng):
    config = replace(TINY_UNET, classes=0, dropout=0.0)
    unet = UNet(config)
    theta, t = random_theta(unet.layout, rng), np.array([3, 900])
    x, dy = rng.standard_normal((2, 2, 4, 4, 2))
    tape = Tape(theta, np.zeros_like(theta))
    unet.forward(x, t, tape)
    dx = unet.backward(dy, tape).ravel()

    def f(z):
        return np.sum(unet.forward(z.reshape(x.shape), t, Tape(theta)) * dy)

    for _ in range(8):
        v = rng.choice([-1.0, 1.0], x.size)
        assert slope_gap(f, x.ravel(), dx, v) <= 1e-10
