"""The U-Net of the paper: its size, its first loss, and the configs that it refuses."""

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import random_theta

from tinyddpm import (
    Adam,
    Layout,
    Schedule,
    Sinusoid,
    Tape,
    UNet,
    UNetConfig,
    q_sample,
    simple_loss,
)
from tinyddpm.nn.blocks import AttentionBlock, ResBlock
from tinyddpm.nn.layers import Conv3x3, GroupNorm


def test_the_papers_network_has_35746307_parameters_in_328_arrays():
    layout = UNet(UNetConfig.ddpm_cifar10()).layout
    assert layout.size == 35_746_307
    assert len(layout.params) == len({p.name for p in layout.params}) == 328
    sizes = {}
    for param in layout.params:
        room = re.split(r"[.]", param.name)[0]
        sizes[room] = sizes.get(room, 0) + int(np.prod(param.shape))
    assert sizes == {  # as in the published checkpoint, block by block
        "condition": 328_704, "conv_in": 3_584, "middle": 2_888_704, "norm_out": 256,
        "conv_out": 3_459,
        "down0": 870_272, "down1": 3_480_320, "down2": 3_215_104, "down3": 2_625_024,
        "up3": 6_692_608, "up2": 6_692_608, "up1": 7_155_712, "up0": 1_789_952,
    }  # fmt: skip


@pytest.mark.parametrize("before", [0, 1])
def test_padding_of_stride_2_is_at_the_bottom_and_the_right_or_all_around(before, layout, rng):
    conv = Conv3x3(layout, "c", 1, 1, stride=2, before=before)
    x, theta = rng.standard_normal((1, 4, 4, 1)), np.zeros(layout.size)
    conv.W.of(theta)[...] = rng.standard_normal((3, 3, 1, 1))
    y = conv.forward(x, Tape(theta))[0, :, :, 0]
    W, padded = conv.W.of(theta)[:, :, 0, 0], np.pad(x[0, :, :, 0], (before, 1))
    for i in range(2):
        for j in range(2):
            assert np.isclose(y[i, j], (padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * W).sum())


def test_convolution_equals_the_naive_loops(layout, rng):
    conv = Conv3x3(layout, "c", 2, 3)
    theta = rng.standard_normal(layout.size)
    W, b = conv.W.of(theta), conv.b.of(theta)
    x = rng.standard_normal((2, 3, 5, 2))
    y = conv.forward(x, Tape(theta))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for i in range(3):
        for j in range(5):
            wanted = np.einsum("nabc,abcd->nd", padded[:, i : i + 3, j : j + 3], W) + b
            assert np.allclose(y[:, i, j], wanted)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"groups": 3}, "16 channels cannot be split into 3 groups"),
        ({"heads": 5}, "and 5 heads"),
        ({"head_channels": 24}, "32 channels cannot be split into 8 groups and heads of 24"),
        ({"head_channels": 8, "heads": 2}, "2 heads of 8 channels: set either"),
        ({"attention_up_at": (8,)}, r"attention at 8 pixels, but levels have \[28, 14, 7\]"),
        ({"attention_up_at": (0, 7)}, "attention at 0 pixels"),
        ({"downsample_padding": 2}, "downsample_padding of 2: use 0 or 1"),
        ({"freq_shift": -1}, "freq_shift of -1: use 0 or 1"),
        ({"tiny": 0.0}, "tiny of 0.0: use a number above 0"),
        ({"joined": -1}, "joined of -1: use 0 or more"),
        ({"image_size": 30}, "halve 30 pixels 2 times, but 15 is odd"),
        ({"attention_at": (8,)}, r"attention at 8 pixels, but levels have \[28, 14, 7\]"),
        ({"multipliers": ()}, r"multipliers of \(\): give one for each level"),
        ({"base": 0}, "base of 0: use an even number from 4 on"),
        ({"base": 2, "multipliers": (1,), "attention_at": (28,), "groups": 1}, "base of 2"),
        ({"base": 12, "multipliers": (2, 4), "attention_at": ()}, "12 channels cannot be split"),
        ({"classes": -1}, "classes of -1: use 0 or more"),
        ({"groups": 0}, "groups of 0: use 1 or more"),
        ({"heads": -1}, "heads of -1: use 1 or more"),
        ({"dropout": 1.0}, "dropout of 1.0: use a share from 0 to below 1"),
        ({"outputs": 3}, "outputs of 3: use 1, or 2 to learn variances"),
    ],
)
def test_a_config_that_cannot_work_is_refused_with_a_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(UNetConfig(base=16), **change)


def test_images_and_labels_that_do_not_fit_are_refused(rng):
    unet = UNet(UNetConfig(image_size=8, base=8, multipliers=(1, 2), attention_at=()))
    tape = Tape(unet.layout.init(rng))
    with pytest.raises(ValueError, match=r"\(2, 8, 8, 3\): this U-Net wants \(N, 8, 8, 1\)"):
        unet.forward(np.zeros((2, 8, 8, 3), np.float32), np.array([1, 2]), tape)
    with pytest.raises(ValueError, match=r"t of shape \(1,\) for 2 images"):
        unet.forward(np.zeros((2, 8, 8, 1), np.float32), np.array([1]), tape)
    with pytest.raises(ValueError, match="labels for a U-Net without classes"):
        unet.forward(np.zeros((1, 8, 8, 1), np.float32), np.array([1]), tape, np.array([0]))


def test_layers_refuse_what_they_cannot_split(layout):
    with pytest.raises(ValueError, match="odd: 5×6 pixels cannot be halved"):
        Conv3x3(layout, "odd", 1, 1, stride=2).forward(np.zeros((1, 5, 6, 1)), Tape(np.zeros(10)))


def test_heads_of_one_size_are_as_many_as_fit_where_attention_is():
    config = UNetConfig(
        base=8, multipliers=(1, 2, 3), attention_at=(14,), attention_up_at=(), head_channels=8
    )
    assert config.attended == {16, 24} and [config.heads_of(c) for c in (16, 24)] == [2, 3]
    params = {param.name for param in UNet(config).layout.params}
    assert "down1.0.attention.q.W" in params and "up1.0.attention.q.W" not in params
    assert replace(config, attention_up_at=(28,)).attended == {8, 16, 24}
    assert replace(config, attention_up_at=(0,)).up_attention == (14,)
    replace(config, head_channels=16, multipliers=(1, 2, 4))  # 8 channels have no attention


def test_frequencies_end_at_one_in_10000_or_above():
    for shift, last in ((1, 1e-4), (0, 10000**-0.75)):
        y = Sinusoid(8, shift).forward(np.array([1 + 1]), Tape(np.zeros(0)))
        assert np.isclose(y[0, 3], np.sin(last)) and np.isclose(y[0, 0], np.sin(1))


def test_channels_that_are_joined_are_seen_and_not_answered(rng):
    unet = UNet(
        UNetConfig(image_size=4, base=4, multipliers=(1,), attention_at=(), groups=2, joined=2)
    )
    theta = rng.standard_normal(unet.layout.size)
    x = rng.standard_normal((2, 4, 4, 3))
    answer = unet.forward(x, [1, 2], Tape(theta))
    assert answer.shape == (2, 4, 4, 1)
    assert not np.allclose(answer, unet.forward(x * [1, 1, 2], [1, 2], Tape(theta)))
    with pytest.raises(ValueError, match=r"this U-Net wants \(N, 4, 4, 3\)"):
        unet.forward(x[..., :1], [1, 2], Tape(theta))


SMALL = UNetConfig(image_size=8, base=8, multipliers=(1, 2), attention_at=(4,), groups=4, classes=4)


def test_the_first_loss_is_about_one(rng):
    unet, schedule = UNet(SMALL), Schedule.linear()
    theta = unet.layout.init(rng)
    x0, eps = rng.standard_normal((2, 64, 8, 8, 1), np.float32)
    t, label = rng.integers(1, 1001, 64), rng.integers(0, 5, 64)
    loss = simple_loss(unet, x0, t, eps, schedule, Tape(theta), label)
    assert abs(loss.mean() - 1) < 0.05


def test_signals_keep_their_size_through_a_layer_of_new_weights(layout, rng):
    conv = Conv3x3(layout, "c", 32, 32)
    y = conv.forward(rng.standard_normal((4, 16, 16, 32)), Tape(layout.init(rng, np.float64)))
    assert 0.8 < y[:, 1:-1, 1:-1].std() < 1.2


def test_new_weights_are_of_the_size_that_glorot_and_bengio_found(rng):
    """And a block's last layer, and the network's, begins as nearly zero."""
    layout = UNet(replace(SMALL, base=16)).layout
    theta = layout.init(rng, np.float64)
    for param in layout.params:
        values, kind = param.of(theta), param.name.split(".")[-1]
        if kind == "W":
            *kernel, n_in, n_out = param.shape
            last = re.search(r"(conv2|[.]out|conv_out)[.]W$", param.name)
            a = np.sqrt(6 * (1e-10 if last else 1) / (np.prod(kernel) * (n_in + n_out)))
            assert 0.97 * a < abs(values).max() <= a, param.name
            assert abs(values.mean()) < 0.2 * a and 0.5 * a < values.std() < 0.65 * a
        elif kind == "table":
            assert abs(values.mean()) < 0.2 and 0.8 < values.std() < 1.2
        else:
            assert (values == (kind == "gain")).all(), param.name


def test_nothing_is_divided_by_less_than_the_papers_number(rng):
    """1e-6, unless told otherwise: it counts where an image is nearly the same everywhere."""
    x, emb = 1e-3 * rng.standard_normal((1, 4, 4, 4)), np.zeros((1, 3))
    for make, *inputs in (
        (partial(GroupNorm, name="n", channels=4, groups=2), x),
        (partial(ResBlock, name="r", c_in=4, c_out=4, n_emb=3, groups=2), x, emb),
        (partial(AttentionBlock, name="a", channels=4, groups=2), x),
    ):
        answers = []
        for tiny in ({}, {"tiny": 1e-6}, {"tiny": 2e-6}):
            layer = make(layout := Layout(), **tiny)
            theta = random_theta(layout, np.random.default_rng(0))
            answers.append(layer.forward(*inputs, Tape(theta)))
        assert np.array_equal(answers[0], answers[1])
        assert not np.allclose(answers[0], answers[2], rtol=1e-3)


def test_one_batch_can_be_overfitted(rng):
    unet, schedule = UNet(SMALL), Schedule.linear()
    theta = unet.layout.init(rng)
    adam = Adam(theta)
    x0, eps = np.sign(rng.standard_normal((2, 4, 8, 8, 1), np.float32))
    t, label = np.array([150, 300, 500, 800]), np.arange(4)
    for _ in range(250):
        grad = np.zeros_like(theta)
        loss = simple_loss(unet, x0, t, eps, schedule, Tape(theta, grad), label)
        adam.update(theta, grad, 4e-3)
    assert loss.mean() < 0.01
    assert q_sample(x0, t, eps, schedule).dtype == np.float32
