"""Kernels for a GPU give the numbers of the plain layers; skipped without CuPy and a GPU."""

from dataclasses import replace

import numpy as np
import pytest
import test_fast
from conftest import random_theta
from test_device import Replayed
from test_gradients import TINY_UNET

from tinyddpm import Layout, Tape, UNet, UNetConfig, array_module, module_for, to_host
from tinyddpm.nn import activation, blocks, concat, condition, dropout, embedding, fast, optim, unet
from tinyddpm.nn.fast import gpu_conv


@pytest.fixture
def cupy():
    try:
        return module_for("cuda")
    except ValueError as error:
        pytest.skip(str(error))


class Plain(test_fast.Plain):
    """Those that are fast on a GPU alone, too."""

    SiLU, Dropout = activation.SiLU, dropout.Dropout
    Concat, Sinusoid = concat.Concat, embedding.Sinusoid


CASES = test_fast.CASES | {
    "silu": (lambda k, y: k.SiLU(), [(3, 4, 50)]),
    "dropout": (lambda k, y: k.Dropout(0.3), [(2, 3, 5, 70)]),
    "conv, odd sides": (lambda k, y: k.Conv3x3(y, "c", 2, 3), [(2, 5, 3, 2)]),
    "conv, one pixel": (lambda k, y: k.Conv3x3(y, "c", 2, 1), [(1, 1, 1, 2)]),
    "conv, more channels than a warp": (lambda k, y: k.Conv3x3(y, "c", 70, 5), [(1, 3, 4, 70)]),
    "conv, fewer channels behind it": (lambda k, y: k.Conv3x3(y, "c", 9, 8), [(3, 20, 20, 9)]),
    "conv, stride 2": (lambda k, y: k.Conv3x3(y, "c", 40, 3, stride=2), [(3, 4, 6, 40)]),
    "conv, stride 2, zeros before": (
        lambda k, y: k.Conv3x3(y, "c", 40, 3, 2, before=1), [(3, 4, 6, 40)],
    ),
    "conv, stride 2 to one pixel": (lambda k, y: k.Conv3x3(y, "c", 1, 2, 2), [(1, 2, 2, 1)]),
    "group norm, groups of 12": (lambda k, y: k.GroupNorm(y, "n", 24, 2), [(2, 3, 5, 24)]),
    "group norm, large groups": (lambda k, y: k.GroupNorm(y, "n", 300, 1), [(1, 2, 2, 300)]),
    "group norm, few numbers a group": (lambda k, y: k.GroupNorm(y, "n", 4, 4), [(2, 3, 3, 4)]),
    "norm and silu, one group": (
        lambda k, y: k.NormSiLU(k.GroupNorm(y, "n", 256, 1)), [(2, 3, 3, 256)],
    ),
    "concat": (lambda k, y: k.Concat(), [(2, 3, 5, 70), (2, 3, 5, 1)]),
    "attention, one pixel": (lambda k, y: k.Attention("a", 2, 1), [(2, 1, 2)] * 3),
    "linear, one to two": (lambda k, y: k.Linear(y, "l", 1, 2), [(3, 1)]),
}  # fmt: skip


def run(layer, theta, d_out, *inputs):
    """What a layer gives back, and a gradient that was not empty before it added its own."""
    grad = array_module(theta).ones_like(theta)
    tape = Tape(theta, grad, Replayed(array_module(theta)))
    out = layer.forward(*inputs, tape)
    d = layer.backward(d_out, tape)
    assert len(tape) == 0
    return [to_host(a) for a in (out, grad, *(d if isinstance(d, tuple) else (d,)))]


def close(device, host, dtype, gate):
    """Whether arrays have the numbers of float64 on the host, up to a share of the largest."""
    for a, b in zip(device, host, strict=True):
        assert a.dtype == dtype and a.shape == b.shape
        assert np.abs(a - b).max(initial=0) <= gate * max(1, np.abs(b).max(initial=0))
    return True


@pytest.mark.parametrize("dtype, gate", [(np.float64, 1e-12), (np.float32, 2e-6)])
@pytest.mark.parametrize("case", CASES)
def test_kernels_are_the_plain_layers(case, dtype, gate, cupy, rng, monkeypatch):
    monkeypatch.setattr(gpu_conv, "ROOM", 1 << 17)  # images are cut in several parts
    make, shapes = CASES[case]
    layer, plain = make(fast, layout := Layout()), make(Plain, Layout())
    theta = random_theta(layout, rng, dtype)
    inputs = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    shape = plain.forward(*inputs, Tape(theta)).shape
    d_out = rng.standard_normal(shape).astype(dtype)
    exact = run(plain, *(a.astype(float) for a in (theta, d_out, *inputs)))
    assert close(run(layer, *map(cupy.asarray, (theta, d_out, *inputs))), exact, dtype, gate)


@pytest.mark.parametrize("dtype, gate", [(np.float64, 1e-12), (np.float32, 2e-6)])
@pytest.mark.parametrize("dim, shift", [(4, 1), (6, 0), (130, 1), (130, 0)])
def test_the_sinusoid_by_a_kernel(dim, shift, dtype, gate, cupy):
    t = np.array([1, 2, 500, 1000])
    exact = Plain.Sinusoid(dim, shift).forward(t, Tape(np.zeros(1)))
    for times in (t, cupy.asarray(t)):
        y = fast.Sinusoid(dim, shift).forward(times, Tape(cupy.zeros(1, dtype)))
        assert close([to_host(y)], [exact], dtype, gate)


@pytest.mark.parametrize("dtype, gate", [(np.float64, 1e-10), (np.float32, 2e-5)])
def test_a_whole_network_by_kernels(dtype, gate, cupy, rng, monkeypatch):
    config = UNetConfig(
        8, 3, base=16, multipliers=(1, 2), attention_at=(4,), dropout=0.2, classes=3,
        head_channels=8, downsample_padding=1, freq_shift=0, tiny=1e-3,
    )  # fmt: skip
    x, d_out = rng.standard_normal((2, 3, 8, 8, 3)).astype(dtype)
    t, label, results = np.array([1, 500, 1000]), np.array([0, 3, 2]), []
    by_kernels = UNet(config)
    for module in (blocks, condition, unet):
        for name in set(vars(Plain)) & set(vars(module)) - {"__module__", "__doc__"}:
            monkeypatch.setattr(module, name, getattr(Plain, name))
    theta = random_theta(by_kernels.layout, rng, dtype)
    for net, xp, kind in ((by_kernels, cupy, dtype), (UNet(config), np, float)):
        where, there = xp.asarray, xp.asarray(theta.astype(kind))
        tape = Tape(there, grad := xp.ones_like(there), Replayed(xp))
        out = net.forward(where(x.astype(kind)), where(t), tape, where(label))
        dx = net.backward(where(d_out.astype(kind)), tape)
        results.append([to_host(a) for a in (out, grad, dx)])
    assert close(*results, dtype, gate)


@pytest.mark.parametrize("dtypes", ["ffdf", "fdfd", "dfff", "dfdf", "fffd", "dffd"])
def test_images_and_weights_of_two_precisions(dtypes, cupy, rng):
    """Kernels go by the weights, both ways; a gradient of another kind is left to plain layers."""
    unet, t = UNet(replace(TINY_UNET, dropout=0.2)), np.array([1, 20])
    theta, numbers = random_theta(unet.layout, rng), rng.standard_normal((2, 2, 4, 4, 2))
    results = []
    for xp, kinds in ((cupy, dtypes), (np, "dddd")):
        x, d_out = (xp.asarray(a.astype(kind)) for a, kind in zip(numbers, kinds[::2]))
        grad = xp.ones(theta.size, kinds[3])
        tape = Tape(xp.asarray(theta.astype(kinds[1])), grad, Replayed(xp))
        y = unet.forward(x, t, tape)
        results.append([to_host(a).astype(float) for a in (y, unet.backward(d_out, tape), grad)])
    assert close(*results, float, 2e-5)


@pytest.mark.parametrize("dtype, gate", [(np.float64, 1e-14), (np.float32, 2e-6)])
def test_adam_and_the_average_by_kernels(dtype, gate, cupy, rng):
    theta, *gradients = rng.standard_normal((4, 1000)).astype(dtype)
    results = []
    for kit, xp, kind in ((fast, cupy, dtype), (optim, np, float)):
        weights = xp.asarray(theta.astype(kind))
        adam, ema = kit.Adam(weights), weights.copy()
        for step, gradient in enumerate(gradients, 1):
            adam.update(weights, xp.asarray(gradient.astype(kind)), 0.01)
            kit.update_ema(ema, weights, step, 0.5)
        results.append([to_host(a) for a in (weights, ema, adam.m, adam.v)])
    assert close(*results, dtype, gate)
