"""Speed paths give the numbers of the plain layers, and can be turned off."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import random_theta

from tinyddpm import Conv3x3, Tape
from tinyddpm.fast import winograd
from tinyddpm.gradcheck import jacobian_gap

MAPS = {  # each with its transpose
    "to tiles": (winograd.to_tiles, lambda y, x: winograd.to_tiles_transposed(y, x.shape)),
    "from products": (
        lambda M: winograd.from_products(M, (2, 7, 9)),
        lambda y, M: winograd.from_products_transposed(y),
    ),
}


@pytest.mark.parametrize(
    "name, shape", [("to tiles", (2, 7, 9, 3)), ("from products", (36, 12, 3))]
)
def test_the_maps_back_are_the_transposes(name, shape, rng):
    forward, backward = MAPS[name]
    x = rng.standard_normal(shape)
    image = forward(x)
    y = rng.standard_normal(image.shape)
    assert np.vdot(image, y) == pytest.approx(np.vdot(x, backward(y, x)), rel=1e-12)


def run(conv, theta, x, dy):
    grad = np.zeros_like(theta)
    tape = Tape(theta, grad)
    y = conv.forward(x, tape)
    return y, conv.backward(dy, tape), grad


@pytest.mark.parametrize("dtype, gate", [(np.float64, 1e-10), (np.float32, 2e-5)])
@pytest.mark.parametrize(
    "shape, d", [((3, 28, 28, 32), 32), ((2, 17, 30, 24), 70), ((9, 14, 14, 64), 64)]
)
def test_winograd_is_the_plain_convolution(layout, rng, monkeypatch, shape, d, dtype, gate):
    conv = Conv3x3(layout, "c", shape[-1], d)
    theta = layout.init(rng, dtype)
    x, dy = (
        rng.standard_normal(shape).astype(dtype),
        rng.standard_normal((*shape[:3], d)).astype(dtype),
    )
    x.flags.writeable = dy.flags.writeable = theta.flags.writeable = False
    assert winograd.suits(x, conv.W.of(theta), 1)
    fast = run(conv, theta, x, dy)
    monkeypatch.setattr(winograd, "ON", False)
    for one, other in zip(fast, run(conv, theta, x, dy)):
        assert one.dtype == dtype
        assert np.abs(one - other).max() <= gate * np.abs(other).max()


@pytest.mark.parametrize("part", [1, 1 << 30])
def test_winograd_by_the_gradient_check(layout, rng, monkeypatch, part):
    """On any shape, in parts of one image and in one."""
    monkeypatch.setattr(winograd, "suits", lambda image, W, stride: True)
    monkeypatch.setattr(winograd, "PART", part)
    conv = Conv3x3(layout, "c", 2, 3)
    x = rng.standard_normal((2, 5, 3, 2))
    assert jacobian_gap(conv.forward, conv.backward, random_theta(layout, rng), x) <= 1e-12


@pytest.mark.parametrize(
    "shape, d, stride, wanted",
    [
        ((1, 28, 28, 32), 32, 1, True), ((1, 28, 28, 32), 32, 2, False),
        ((1, 28, 28, 16), 16, 1, False), ((1, 7, 7, 512), 512, 1, False),
        ((1, 28, 28, 1), 32, 1, False), ((1, 14, 14, 64), 64, 1, True),
    ],
)  # fmt: skip
def test_winograd_is_taken_where_it_pays(shape, d, stride, wanted):
    assert winograd.suits(np.zeros(shape), np.zeros((3, 3, shape[-1], d)), stride) == wanted


@pytest.mark.parametrize("value, wanted", [("0", "False"), ("1", "True")])
def test_one_switch_turns_all_speed_paths_off(value, wanted):
    command = [sys.executable, "-c", "from tinyddpm import fast; print(fast.ON)"]
    environment = {**os.environ, "TINYDDPM_FAST": value}
    assert subprocess.check_output(command, env=environment, text=True).strip() == wanted
