"""Fast layers give the numbers of the plain ones, which one switch chooses instead."""

import inspect
import os
import platform
import re
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import standin
from conftest import random_theta, read_only

from tinyddpm import Layout, Tape, UNet, UNetConfig
from tinyddpm.nn import attention, blocks, broadcast, conv, fast, layers, linear, norm, pairs, unet
from tinyddpm.nn.fast import arithmetic, kernels, maps, memory, tiles, winograd
from tinyddpm.nn.fast import attention as fast_attention
from tinyddpm.nn.fast import norm as fast_norm
from tinyddpm.nn.gradcheck import jacobian_gap


class Plain:
    """The plain layers, by the names that the fast ones have in `fast`."""

    AddToPixels, Attention, Conv3x3 = broadcast.AddToPixels, attention.Attention, conv.Conv3x3
    GroupNorm, Linear = norm.GroupNorm, linear.Linear
    NormSiLU, UpsampleConv = pairs.NormSiLU, pairs.UpsampleConv


CASES = {  # what makes a layer of a kit, and its inputs' shapes: large enough for the fast path
    "conv": (lambda k, y: k.Conv3x3(y, "c", 32, 32), [(3, 28, 28, 32)]),
    "conv, sides that 4 does not divide": (
        lambda k, y: k.Conv3x3(y, "c", 34, 70),
        [(2, 17, 30, 34)],
    ),
    "conv to one channel": (lambda k, y: k.Conv3x3(y, "c", 32, 1), [(2, 28, 28, 32)]),
    "conv, large images": (lambda k, y: k.Conv3x3(y, "c", 16, 12), [(1, 75, 41, 16)]),
    "conv, small images": (lambda k, y: k.Conv3x3(y, "c", 64, 64), [(9, 7, 7, 64)]),
    "up-sampling and conv": (
        lambda k, y: k.UpsampleConv(k.Conv3x3(y, "u", 24, 24)),
        [(5, 9, 6, 24)],
    ),
    "group norm": (lambda k, y: k.GroupNorm(y, "n", 32, 8), [(5, 28, 28, 32)]),
    "group norm, one group, odd sides": (
        lambda k, y: k.GroupNorm(y, "n", 33, 1),
        [(3, 11, 13, 33)],
    ),
    "group norm, one image": (lambda k, y: k.GroupNorm(y, "n", 32, 8), [(1, 28, 28, 32)]),
    "conv, wide": (lambda k, y: k.Conv3x3(y, "c", 160, 24), [(4, 12, 12, 160)]),
    "group norm and silu": (
        lambda k, y: k.NormSiLU(k.GroupNorm(y, "n", 64, 64)),
        [(7, 14, 14, 64)],
    ),
    "attention": (lambda k, y: k.Attention("a", 64, 1), [(3, 196, 64)] * 3),
    "attention, 4 heads": (lambda k, y: k.Attention("a", 32, 4), [(2, 131, 32)] * 3),
    "linear": (lambda k, y: k.Linear(y, "l", 40, 50), [(3, 20, 22, 40)]),
    "vector to pixels": (lambda k, y: k.AddToPixels(), [(3, 20, 22, 40), (3, 40)]),
}


def both(case):
    """A case's fast layer, its plain one, and the layout of their weights."""
    make, layouts = CASES[case][0], (Layout(), Layout())
    return make(fast, layouts[0]), make(Plain, layouts[1]), layouts[0]


def run(layer, theta, inputs, d_out):
    """Output, gradients of the inputs, gradient of the weights."""
    grad = np.zeros_like(theta)
    tape = Tape(theta, grad)
    y = layer.forward(*inputs, tape)
    d_inputs = layer.backward(d_out, tape)
    return [y, *(d_inputs if isinstance(d_inputs, tuple) else (d_inputs,)), grad]


SIZES = [*((m, m) for m in tiles.POINTS), (4, 7), (7, 5)]  # of Winograd's tiles, down and across


def run_fast(layer, plain_layer, *arguments):
    """`run` where the plain way is closed: rounding alone need not show which one was taken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(plain_layer), "forward", None)
        patch.setattr(type(plain_layer), "backward", None)
        return run(layer, *arguments)


@pytest.mark.parametrize("dtype, gate", [(np.float64, 1e-10), (np.float32, 2e-5)])
@pytest.mark.parametrize("case", CASES)
def test_fast_layers_are_the_plain_layers(case, rng, dtype, gate):
    shapes = CASES[case][1]
    layer, plain_layer, layout = both(case)
    theta = random_theta(layout, rng, dtype)
    inputs = [read_only(1 + rng.standard_normal(shape).astype(dtype)) for shape in shapes]
    out = layer.forward(*inputs, Tape(theta))
    d_out = read_only(rng.standard_normal(out.shape).astype(dtype))
    by_fast = run_fast(layer, plain_layer, theta, inputs, d_out)
    plain = run(plain_layer, theta, inputs, d_out)
    if "conv" in case and dtype is np.float32:
        gate = 5 * tiles.error(tiles.best_m(*out.shape[:3]))
    for one, other in zip([out, *by_fast], [plain[0], *plain]):  # without and with a way back
        assert one.dtype == dtype
        assert one.shape == other.shape
        if other.size:
            assert np.abs(one - other).max() <= gate * np.abs(other).max()


@pytest.mark.parametrize("size", [0.999, 1.001])
def test_attention_at_the_limit_of_far(size, rng):
    """As exact as the plain one for gradients so small that float32 could lose them."""
    q, k, v, dy = rng.standard_normal((4, 2, 160, 16)).astype(np.float32)
    q *= size * fast_attention.FAR / np.abs(q @ k.mT / 4).max()
    theta, dy = np.zeros(0, np.float32), dy * np.float32(1e-13)
    plain_layer = Plain.Attention("a", 16, 1)
    by_fast = run_fast(fast.Attention("a", 16, 1), plain_layer, theta, [q, k, v], dy)
    plain = run(plain_layer, theta, [q, k, v], dy)
    for one, other in zip(by_fast, plain):
        if other.size:
            assert np.abs(one - other).max() <= 2e-5 * np.abs(other).max()


@pytest.mark.parametrize("shift, spread", [(-30, 40), (30, 40), (-30, 4)])
def test_attention_with_scores_far_from_zero(shift, spread, rng):
    """Hundreds above and below, or all of them below: e to that power is no float32."""
    q, k, v = rng.standard_normal((3, 2, 160, 16)).astype(np.float32)
    q[..., 0], k[:, :, 0] = shift, 50 + spread * rng.standard_normal((2, 160))
    theta, dy = np.zeros(0, np.float32), rng.standard_normal((2, 160, 16)).astype(np.float32)
    assert np.abs(q @ k.mT / 4).max() > 400
    plain_layer = Plain.Attention("a", 16, 1)
    by_fast = run_fast(fast.Attention("a", 16, 1), plain_layer, theta, [q, k, v], dy)
    plain = run(plain_layer, theta, [q, k, v], dy)
    for one, other in zip(by_fast, plain):
        assert np.isfinite(one).all()
        assert one == pytest.approx(other, abs=1e-4)


SMALL = {  # the same paths on images so small that the whole Jacobian can be checked
    "conv": (winograd, "pays", lambda y: fast.Conv3x3(y, "c", 2, 3), [(2, 5, 3, 2)]),
    "up-sampling and conv": (
        winograd, "pays",
        lambda y: fast.UpsampleConv(fast.Conv3x3(y, "u", 2, 2)), [(2, 3, 2, 2)],
    ),
    "group norm": (fast_norm, "_pays", lambda y: fast.GroupNorm(y, "n", 4, 2), [(3, 2, 3, 4)]),
    "group norm and silu": (
        fast_norm, "_pays",
        lambda y: fast.NormSiLU(fast.GroupNorm(y, "n", 4, 2)), [(3, 2, 2, 4)],
    ),
    "attention": (fast_attention, "_pays", lambda y: fast.Attention("a", 4, 2), [(2, 6, 4)] * 3),
}  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 1 << 30])
@pytest.mark.parametrize("case", SMALL)
def test_fast_layers_by_the_gradient_check(case, layout, rng, monkeypatch, chunk):
    """In chunks of one image and in one."""
    module, pays, make, shapes = SMALL[case]
    monkeypatch.setattr(module, pays, lambda *what, **how: True)
    monkeypatch.setattr(module, "CHUNK", chunk, raising=False)
    layer = make(layout)
    inputs = [read_only(rng.standard_normal(shape)) for shape in shapes]
    theta = random_theta(layout, rng)
    assert jacobian_gap(layer.forward, layer.backward, theta, *inputs) <= 1e-12


@pytest.fixture
def small_blocks(monkeypatch):
    """Every image is cut into several blocks, of which not all that are alike go together."""
    monkeypatch.setattr(maps, "SIDE", 8)
    monkeypatch.setattr(maps, "TILES", 4)
    maps.maps.cache_clear()
    yield
    maps.maps.cache_clear()


@pytest.fixture(params=SIZES)
def m(request, monkeypatch):
    """The size of tiles, whatever would make the least work."""
    monkeypatch.setattr(maps, "best_m", lambda n, h, w, exact: request.param)
    return request.param


def test_rounding_is_what_is_said_of_each_size_of_tiles(m, rng):
    layer = fast.Conv3x3(layout := Layout(), "c", 64, 64)
    theta = random_theta(layout, rng, np.float32)
    x = rng.standard_normal((8, 40, 40, 64), np.float32)
    y = layer.forward(x, Tape(theta))
    exact = Plain.Conv3x3(Layout(), "c", 64, 64).forward(x.astype(float), Tape(theta.astype(float)))
    error = np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2))
    assert 0.7 < error / tiles.error(m) < 1.2


def test_answers_alone_are_more_exact(rng):
    """What is drawn with published weights is what others draw, also where networks are deep."""
    layer = fast.Conv3x3(layout := Layout(), "c", 64, 64)
    theta = random_theta(layout, rng, np.float32)
    x = rng.standard_normal((8, 32, 32, 64), np.float32)
    exact = Plain.Conv3x3(Layout(), "c", 64, 64).forward(x.astype(float), Tape(theta.astype(float)))
    errors = [
        np.abs(layer.forward(x, Tape(theta, grad)) - exact).max() / np.abs(exact).max()
        for grad in (None, np.zeros_like(theta))
    ]
    assert errors[0] < 7e-6 and errors[1] > 2 * errors[0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("copies", [1, 2])
def test_winograd_with_every_size_of_tiles(m, copies, layout, rng, dtype, h=18, w=22):
    layer, plain_layer = fast.Conv3x3(layout, "c", 64, 48), Plain.Conv3x3(Layout(), "c", 64, 48)
    if copies == 2:
        layer, plain_layer = fast.UpsampleConv(layer), Plain.UpsampleConv(plain_layer)
    theta = random_theta(layout, rng, dtype)
    x = rng.standard_normal((2, h // copies, w // copies, 64)).astype(dtype)
    dy = rng.standard_normal(layer.forward(x, Tape(theta)).shape).astype(dtype)
    _, blocks = maps.maps(m, h, w, copies, np.dtype(dtype))
    assert all(block.B.k == block.A.k == (m[0] + 2, m[1] + 2) for block in blocks)
    assert all(block.B.tiles == block.A.tiles for block in blocks)
    assert sum(block.tiles for block in blocks) == -(-h // m[0]) * -(-w // m[1])
    by_tiles = run_fast(layer, plain_layer, theta, [x], dy)
    plain = run(plain_layer, theta, [x], dy)
    gate = 5 * tiles.error(m) if dtype is np.float32 else 1e-10
    for one, other in zip(by_tiles, plain):
        assert np.abs(one - other).max() <= gate * np.abs(other).max()


def test_points_that_are_made_again_are_those_that_were_kept(layout, rng, monkeypatch):
    layer = fast.Conv3x3(layout, "c", 16, 24)
    theta, x = random_theta(layout, rng), rng.standard_normal((5, 9, 9, 16))
    dy, ways = rng.standard_normal((5, 9, 9, 24)), []
    for channels in (99, 16):
        monkeypatch.setattr(winograd, "WIDE", channels)
        ways.append(run(layer, theta, [x], dy))
    assert all(np.array_equal(one, other) for one, other in zip(*ways))
    layer.forward(x, tape := Tape(theta, np.zeros_like(theta)))
    kept_x, _, chunks = tape.pop(layer)
    assert kept_x is x and [V for _, _, V in chunks] == [None] * len(chunks)


@pytest.mark.parametrize("copies", [1, 2])
def test_winograd_in_blocks(m, copies, small_blocks, rng):
    """Each output is in one block; what two of them see gets the gradients of both."""
    _, blocks = maps.maps(m, 40, 46, copies, np.dtype(float))
    seen = np.zeros((1, 40, 46, 1), int)
    for block in blocks:
        maps.at(seen, *block.y)[...] += 1
        assert max(places.size for places in block.y) <= maps.SIDE
    assert len(blocks) > 5 and (seen == 1).all()
    for i, size in enumerate(m):
        together = {block.y[i].count for block in blocks}
        assert (together > {1}) == (size % 2 == 0 or copies == 1)
    test_winograd_with_every_size_of_tiles(m, copies, Layout(), rng, np.float64, 40, 46)


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("m", SIZES)
def test_the_maps_back_are_the_transposes(m, copies, rng):
    G, [(_, _, A, B)] = maps.maps(m, 10, 14, copies, np.dtype(float))
    W = rng.standard_normal((3, 3, 4, 5))
    U = maps.kernel_to_points(G, W)
    dU = rng.standard_normal(U.shape)
    back = maps.kernel_from_points(G, dU)
    assert np.vdot(U, dU) == pytest.approx(np.vdot(W, back), rel=1e-12)
    for one, shape in (B, (3, 10 // copies, 14 // copies, 2)), (A, (3, 10, 14, 2)):
        images, d_images = rng.standard_normal(shape), np.full(shape, np.nan)
        points = one.to_points(images, np.empty)
        d_points = rng.standard_normal(points.shape)
        one.from_points(d_points, d_images)
        assert np.vdot(points, d_points) == pytest.approx(np.vdot(images, d_images), rel=1e-12)


@pytest.mark.parametrize(
    "shape, stride, copies, wanted",
    [
        ((1, 28, 28, 32), 1, 1, True), ((1, 28, 28, 32), 2, 1, False),
        ((1, 24, 24, 8), 1, 1, True), ((1, 28, 28, 3), 1, 1, False),
        ((3, 7, 7, 64), 1, 1, False), ((3, 7, 7, 64), 1, 2, True),
        ((1, 64, 64, 32), 1, 1, True), ((1, 256, 256, 32), 1, 2, True),
        ((4, 64, 64, 8), 1, 1, True), ((4, 64, 64, 7), 1, 1, False),
        ((4, 8, 8, 8), 1, 1, True), ((3, 8, 8, 8), 1, 1, False),
    ],
)  # fmt: skip
def test_winograd_is_taken_where_it_pays_and_both_ways(shape, stride, copies, wanted):
    (n, h, w, c), d = shape, 32
    W = np.zeros((3, 3, c, d))
    assert winograd.pays(np.zeros(shape), W, stride, copies) == wanted
    y = np.zeros((n, h * copies // stride, w * copies // stride, d))
    assert winograd.pays(y, W, stride) == wanted


def test_work_is_cut_into_parts_as_large_as_they_may_be():
    assert arithmetic._rows_at_once(640, 64, 64) == 160  # 1,000,000 / 64 / 64 is 244
    assert arithmetic._rows_at_once(1009, 64, 64) == 1009  # a prime
    assert arithmetic._rows_in_a_run(784, 64) == 28  # 2048 / 64 is 32
    assert arithmetic._rows_in_a_run(7, 5000) == 1
    assert [tiles.best_m(8, side, side) for side in (96, 28, 8)] == [(8, 8), (7, 7), (4, 4)]
    assert tiles.best_m(100, 28, 28, exact=True) == (4, 7)
    for n, room, sizes in ((5, 10, [1] * 5), (7, 30, [2, 2, 3]), (3, 9, [1] * 3), (4, 99, [4])):
        cuts = memory.chunks(n, 10, room)
        assert [cut.stop - cut.start for cut in cuts] == sizes
        assert np.array_equal(np.concatenate([np.arange(n)[cut] for cut in cuts]), np.arange(n))


@pytest.mark.parametrize(
    "shape, columns", [((640, 64), 64), ((2, 3, 194, 70), 80), ((9, 3), 4), ((1009, 40), 50)]
)
def test_a_product_in_parts_is_the_product(shape, columns, rng):
    """Rows in 4 and 2 parts and in one, because there are few or because 1009 is prime."""
    a, b = rng.standard_normal(shape), rng.standard_normal((columns, shape[-1])).T
    plus, out = rng.standard_normal(columns), np.empty((*shape[:-1], columns))
    assert arithmetic.product(a, b, plus) == pytest.approx(a @ b + plus, abs=1e-12)
    assert arithmetic.product(a, b, out=out) is out
    assert out == pytest.approx(a @ b, abs=1e-12)


@pytest.mark.parametrize("shape", [(3, 4, 3, 5), (1, 7, 1, 3000), (2, 1, 1, 1)])
@pytest.mark.parametrize("dtypes", ["dd", "ff", "fd", "dD"])
def test_vectors_added_to_rows(shape, dtypes, rng):
    """Also to images that are not in one piece; the images stay as they are."""
    low, high = dtypes
    vector = rng.standard_normal((shape[0], shape[3])).astype(high)
    for room in (0, 2):
        wide = rng.standard_normal((*shape[:3], shape[3] + room)).astype(low)
        a = read_only(wide[..., : shape[3]])
        wanted = a + vector[:, None, None]
        y = arithmetic.add_to_rows(a, vector)
        assert y.dtype == wanted.dtype and np.array_equal(y, wanted)


def test_arrays_begin_at_a_cache_line_and_scratch_is_used_again():
    for shape in [(3,), (5, 7), (0, 2)]:
        array = memory.empty(shape, np.float32)
        assert array.shape == shape and array.ctypes.data % 64 == 0 and array.flags.writeable
    first = memory.scratch("test", (4, 5), np.float64)
    first[...] = 7
    assert np.array_equal(memory.scratch("test", (2, 3), np.float64), np.full((2, 3), 7.0))
    others = []
    thread = threading.Thread(target=lambda: others.append(memory.scratch("test", (4, 5), float)))
    thread.start()
    thread.join()
    assert not np.shares_memory(first, others[0])


FAULTS = """
    import resource
    import numpy as np
    import tinyddpm
    for _ in range(100):
        np.ones(1_000_000)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep memory by themselves")
def test_freed_memory_is_used_again():
    def page_faults(fast):
        command = [sys.executable, "-c", textwrap.dedent(FAULTS)]
        environment = {**os.environ, "TINYDDPM_FAST": fast, "MALLOC_TRIM_THRESHOLD_": "0"}
        return int(subprocess.check_output(command, env=environment))

    assert page_faults("1") < page_faults("0") - 10_000


def test_a_whole_network_by_fast_layers(rng, monkeypatch):
    """Every path at once: what one leaves in scratch, no other may need."""
    config = UNetConfig(image_size=16, base=32, multipliers=(1, 2), attention_at=(8,))
    x, t = read_only(rng.standard_normal((9, 16, 16, 1))), rng.integers(1, 1001, 9)
    results = []
    for kit in (fast, Plain):
        for module in (blocks, unet):
            for name in layers.__all__:
                if hasattr(kit, name) and hasattr(module, name):
                    monkeypatch.setattr(module, name, getattr(kit, name))
        network = UNet(config)
        assert type(network.conv_in) is kit.Conv3x3
        theta = random_theta(network.layout, np.random.default_rng(1))
        tape = Tape(theta, np.zeros_like(theta))
        y = network.forward(x, t, tape)
        results.append((y, network.backward(y, tape), tape.grad))
    for one, other in zip(*results):
        assert np.abs(one - other).max() <= 1e-10 * np.abs(other).max()


def test_layers_for_a_gpu_know_every_setting():
    """No kernel runs without a GPU: what a plain layer reads is looked for in the other's text."""
    for layer in (kind for kind in vars(fast).values() if isinstance(kind, type)):
        plain, own = layer.__mro__[-2], inspect.getsource(sys.modules[layer.__module__])
        methods = {name: inspect.getsource(f) for name, f in vars(plain).items() if callable(f)}
        methods.pop("__init__", None)
        own += "".join(methods[name] for name in methods.keys() - vars(layer).keys())
        for setting in inspect.signature(plain).parameters.keys() - {"name"}:
            pattern = rf"\.{setting}\b"
            read = any(re.search("self" + pattern, method) for method in methods.values())
            assert not read or re.search(pattern, own), f"{layer}: {setting}"


def test_layers_for_a_gpu_go_back_the_way_that_they_went(monkeypatch):
    monkeypatch.setattr(kernels, "in_one_piece", lambda a, dtype: a.astype(dtype, copy=False))

    class Plain:
        forward = backward = lambda self, *arguments: "plain"

    @kernels.by_kernels
    class Fast(Plain):
        def forward(self, a, b, tape):
            return a.dtype.char + b.dtype.char

        def backward(self, dy, tape):
            return dy.dtype.char

    f, d, D = (standin.ndarray(np.zeros(2, letter)) for letter in "fdD")
    for theta, grad, wanted in ((f, f, "f"), (d, d, "d"), (d, None, "d")):
        for a, b in ((f, f), (f, d), (d, f), (d, d)):
            tape = Tape(theta, grad)
            assert Fast().forward(a, b, tape) == 2 * wanted and Fast().backward(b, tape) == wanted
    for a, theta, grad in ((np.ones(2), f, f), (D, f, f), (f, D, D), (f, f, d), (f, d, f)):
        tape = Tape(theta, grad)
        assert Fast().forward(a, f, tape) == Fast().backward(a, tape) == "plain"


@pytest.mark.parametrize("value, wanted", [("0", "tinyddpm.nn.conv"), ("1", "tinyddpm.nn.fast")])
def test_one_switch_chooses_the_plain_layers(value, wanted):
    code = (
        "import sys, tinyddpm as t; print(t.Conv3x3.__module__, 'tinyddpm.nn.fast' in sys.modules)"
    )
    environment = {**os.environ, "TINYDDPM_FAST": value}
    out = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert out.startswith(wanted) and out.split()[1] == str(value == "1")


@pytest.mark.parametrize("dtypes", ["fd", "df", "dD"])
@pytest.mark.parametrize("case", ["conv", "group norm and silu"])
def test_images_and_weights_of_two_precisions(case, dtypes, rng):
    """The higher one counts, as in the plain layers."""
    ((_, *shape),) = CASES[case][1]
    (layer, _, layout), high = both(case), max(dtypes, key="fdD".index)
    theta = random_theta(layout, rng, dtypes[1])
    x = rng.standard_normal((2, *shape)).astype(dtypes[0])
    tape = Tape(theta, np.zeros_like(theta))
    y = layer.forward(x, tape)
    assert y.dtype == layer.backward(y, tape).dtype == high
    exact = layer.forward(x.astype(high), Tape(theta.astype(high)))
    assert np.abs(y - exact).max() <= 1e-12 * np.abs(exact).max()
