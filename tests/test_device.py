"""The same lines on a GPU: everything that runs on NumPy, on CuPy and on a stand-in for it.

With CuPy and a GPU each test runs there, too; elsewhere that is skipped, and the stand-in, which is
stricter than CuPy, says whether host and device are kept apart. See `standin.py`.
"""

import json
import os
import sys
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import standin
from conftest import random_theta
from test_gradients import CASES, TINY_UNET, Bound
from test_inception import STORED, question, random_weights

from tinyddpm import (
    Adam,
    Dataset,
    Inception,
    Layout,
    Muon,
    Run,
    SamplingConfig,
    Schedule,
    Tape,
    TrainConfig,
    UNet,
    array_module,
    bits_per_dimension,
    bound_terms,
    clip_by_norm,
    clipped,
    ddim_inversion,
    device_name,
    final_images,
    guided,
    hybrid_loss,
    inpaint,
    load_trained,
    module_for,
    predictor,
    sample,
    sampler,
    sdedit,
    simple_loss,
    slerp,
    to_host,
    train,
    update_ema,
    vlb_loss,
)
from tinyddpm.evaluation import inception
from tinyddpm.nn.gradcheck import adjoint_gap, jacobian_gap, slope_gap, stencil
from tinyddpm.nn.tape import zeros
from tinyddpm.nn.watch import watched
from tinyddpm.pictures import gallery
from tinyddpm.training.denoiser import Denoiser
from tinyddpm.training.loop import advance
from tinyddpm.workers import Workers


@pytest.fixture(params=["stand-in", "CuPy"])
def xp(request, monkeypatch):
    """CuPy, or what stands in for it."""
    if request.param == "stand-in":
        standin.install(monkeypatch)
        return standin.cupy
    try:
        return module_for("cuda")
    except ValueError as error:
        pytest.skip(str(error))


def no_waiting(xp):
    return standin.no_waiting() if xp is standin.cupy else nullcontext()


class Replayed:
    """A random generator whose numbers are the same on all devices: drawn by NumPy."""

    def __init__(self, xp, seed=0):
        self.xp, self.rng = xp, np.random.default_rng(seed)

    def random(self, size, dtype=np.float64):
        return self.xp.asarray(self.rng.random(size, dtype))

    def standard_normal(self, size, dtype=np.float64):
        return self.xp.asarray(self.rng.standard_normal(size, dtype))


def close(device, host, gate):
    """Whether numbers from the device are those of the host, up to a share of the largest."""
    device = to_host(device)
    assert device.dtype == host.dtype and device.shape == host.shape
    return np.abs(device - host).max(initial=0) <= gate * max(1, np.abs(host).max(initial=0))


GATES = [(np.float64, 1e-12, 1e-10), (np.float32, 1e-4, 1e-4)]  # for a layer, for the U-Net


def on(xp, layer):
    """A test's layer, its labels and times on the device."""
    return Bound(layer.layer, *map(xp.asarray, layer.fixed), inputs=layer.inputs)


@pytest.mark.parametrize("dtype, gate, _", GATES)
@pytest.mark.parametrize("case", CASES)
def test_every_layer_gives_the_numbers_of_numpy(case, dtype, gate, _, xp, rng):
    make, shapes = CASES[case]
    layer = make(layout := Layout())
    theta = random_theta(layout, rng, dtype)
    inputs = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    results = []
    for where in (np, xp):
        grad = where.zeros(layout.size, dtype)
        tape = Tape(where.asarray(theta), grad, Replayed(where))
        there = on(where, layer) if isinstance(layer, Bound) else layer
        with no_waiting(where):
            y = there.forward(*map(where.asarray, inputs), tape)
            d = there.backward(where.ones(y.shape, dtype), tape)
        results.append([y, grad, *(d if isinstance(d, tuple) else (d,))])
    assert all(close(b, a, gate) for a, b in zip(*results))


@pytest.mark.parametrize("case", CASES)
def test_full_jacobian_of_every_layer(case, xp, rng):
    make, shapes = CASES[case]
    layer = make(layout := Layout())
    layer = on(xp, layer) if isinstance(layer, Bound) else layer
    inputs = [xp.asarray(rng.standard_normal(shape)) for shape in shapes]
    theta = xp.asarray(random_theta(layout, rng))
    assert jacobian_gap(layer.forward, layer.backward, theta, *inputs) <= 1e-12


def test_a_transpose_is_recognised(xp, rng):
    make, shapes = CASES["upsample"]
    layer, x = make(Layout()), xp.asarray(rng.standard_normal(shapes[0]))
    assert adjoint_gap(layer.forward, layer.backward, xp.zeros(0), x) <= 1e-12


LOSSES = {"simple": (simple_loss, 1), "hybrid": (hybrid_loss, 2), "vlb": (vlb_loss, 2)}


def problem(name, where, dtype, predicts="v"):
    """A U-Net's loss as a function of theta and grad, and its weights."""
    loss, outputs = LOSSES[name]
    unet, rng = UNet(replace(TINY_UNET, outputs=outputs)), np.random.default_rng(1)
    theta = where.asarray(random_theta(unet.layout, rng, dtype))
    x0 = where.asarray(np.round(rng.uniform(-127, 127, (3, 4, 4, 2))).astype(dtype) / 127.5)
    eps = where.asarray(rng.standard_normal(x0.shape).astype(dtype))
    t, label = where.asarray(np.array([1, 20, 50])), where.asarray(np.array([0, 3, 2]))

    def f(theta, grad=None):
        tape = Tape(theta, grad, Replayed(where))
        weight = where.ones(3, dtype) / 3
        return loss(unet, x0, t, eps, Schedule.linear(50), tape, label, weight, predicts)

    return f, theta


@pytest.mark.parametrize("dtype, _, gate", GATES)
@pytest.mark.parametrize("name", LOSSES)
def test_the_unet_and_every_loss_give_the_numbers_of_numpy(name, dtype, _, gate, xp):
    results = []
    for where in (np, xp):
        f, theta = problem(name, where, dtype)
        grad = where.zeros(theta.size, dtype)
        with no_waiting(where):
            loss = f(theta, grad)
        results.append((loss, grad))
    assert all(close(b, a, gate) for a, b in zip(*results))


@pytest.mark.parametrize("name", ["simple", "vlb"])  # of hybrid, the mean is held fixed
def test_the_gradient_of_a_loss_is_its_slope(name, xp):
    f, theta = problem(name, xp, np.float64)
    f(theta, grad := xp.zeros(theta.size))
    for seed in range(3):
        v = xp.asarray(np.random.default_rng(seed).choice([-1.0, 1.0], theta.size))
        assert slope_gap(lambda z: f(z).mean(), theta, grad, v) <= 1e-10
    by_stencil = slope_gap(lambda z: f(z).mean(), theta, grad, v, lambda *a: stencil(*a, h=1e-4))
    assert by_stencil <= 1e-9


@pytest.mark.parametrize("kind", [Adam, Muon])
def test_the_optimiser_gives_the_numbers_of_numpy(kind, xp, rng):
    layout = Layout()
    layout.add("b", (20,), zeros)
    matrices = [[layout.add("W", (5, 6), zeros)]] if kind is Muon else []
    results, start = [], rng.standard_normal(50).astype(np.float32)
    gradients = rng.standard_normal((3, 50)).astype(np.float32)
    for where in (np, xp):
        theta, ema = where.asarray(start.copy()), where.asarray(start.copy())
        adam, lengths = kind(theta, *matrices), []
        with no_waiting(where):
            for step, gradient in enumerate(gradients, 1):
                lengths.append(clip_by_norm(gradient := where.asarray(gradient.copy()), 5.0))
                adam.update(theta, gradient, 0.1)
                update_ema(ema, theta, step, 0.99)
        results.append([theta, ema, adam.m, adam.v, where.stack(lengths)])
    assert all(close(b, a, 1e-5) for a, b in zip(*results))


SAMPLERS = [
    ("dpm", "small", 0.0),
    ("sde-dpm", "small", 0.0),
    ("ddim", "small", 0.0),
    ("ddim", "small", 0.5),
]
SAMPLERS += [("ancestral", variance, 0.0) for variance in ("large", "small", "learned")]


def test_inception_gives_the_numbers_of_numpy(xp, monkeypatch):
    monkeypatch.setattr(inception, "SIDE", 75)
    shapes = json.loads(STORED.read_text(encoding="utf-8"))["shapes"]
    net, images = Inception(random_weights(shapes)), question((2, 20, 30, 1))
    with no_waiting(xp):
        answers = net(xp.asarray(images), chunk=1)
    for there, here in zip(answers, net(images)):
        assert close(there, here, 1e-4)


@pytest.mark.filterwarnings("ignore:variance 'large' leaves noise")
@pytest.mark.parametrize("sampler, variance, eta", SAMPLERS)
def test_every_sampler_gives_the_numbers_of_numpy(sampler, variance, eta, xp, rng):
    unet, schedule = UNet(replace(TINY_UNET, outputs=2)), Schedule.linear(50)
    theta = random_theta(unet.layout, rng, np.float32)
    noise, label = rng.standard_normal((2, 4, 4, 2)).astype(np.float32), np.array([0, 2])
    config, results = SamplingConfig(sampler, 5, 0.5, variance, eta), []
    for where in (np, xp):
        there = where.asarray(theta)
        model = lambda x, t, label: unet.forward(x, t, Tape(there), label)  # noqa: E731, B023
        predict = guided(model, label, null=3, weight=0.5)
        with no_waiting(where):
            steps = sample(config, predict, schedule, where.asarray(noise), Replayed(where))
            results.append(final_images(steps))
    assert close(results[1], results[0], 1e-4)


@pytest.mark.parametrize("name", ["dpm", "ancestral"])
def test_altering_a_picture_gives_the_numbers_of_numpy(name, xp, rng):
    unet, schedule = UNet(TINY_UNET), Schedule.linear(50)
    theta = random_theta(unet.layout, rng, np.float32)
    noise, x0 = rng.standard_normal((2, 2, 4, 4, 2)).astype(np.float32)
    config, mask, results = SamplingConfig(name, 4), np.eye(4)[..., None], []
    few = config.respaced(schedule)
    for where in (np, xp):
        predict = predictor(unet, where.asarray(theta), schedule)
        image, eps, rng = where.asarray(x0), where.asarray(noise), Replayed(where)
        walk = sampler(config, predict, rng)
        with no_waiting(where):
            filled = final_images(inpaint(walk, few, eps, image, mask, rng, 2))
            results.append((filled, final_images(sdedit(walk, few, image, eps, 0.5))))
    for here, there in zip(*results):
        assert close(there, here, 1e-4)


def test_a_dynamic_threshold_is_the_one_of_numpy(xp, rng):
    if "CPU" in device_name(xp):
        pytest.skip("CuPy on a CPU cannot sort: it does that by machine code for a GPU")
    x0_hat = 2 * rng.standard_normal((3, 4, 4, 2)).astype(np.float32)
    with no_waiting(xp):
        there = clipped(xp.asarray(x0_hat), share=0.9)
    assert close(there, clipped(x0_hat, share=0.9), 1e-6)


def test_the_way_back_to_noise_and_between_two_gives_the_numbers_of_numpy(xp, rng):
    unet, schedule = UNet(TINY_UNET), Schedule.linear(50).respaced(5)
    theta = random_theta(unet.layout, rng, np.float32)
    x0, results = rng.uniform(-1, 1, (2, 4, 4, 2)).astype(np.float32), []
    for where in (np, xp):
        predict = predictor(unet, where.asarray(theta), schedule)
        noise = final_images(ddim_inversion(predict, schedule, where.asarray(x0)))
        results.append(slerp(noise[0], noise[1], 0.3))
    assert close(results[1], results[0], 1e-4)


def test_bits_per_dimension_are_those_of_numpy(xp, rng):
    unet, schedule = UNet(replace(TINY_UNET, outputs=2)), Schedule.linear(50).respaced(5)
    theta = random_theta(unet.layout, rng, np.float32)
    x0, results = np.round(rng.uniform(-127, 127, (2, 4, 4, 2))).astype(np.float32) / 127.5, []
    for where in (np, xp):
        predict, images = predictor(unet, where.asarray(theta), schedule), where.asarray(x0)
        terms = bound_terms(predict, images, schedule, Replayed(where), "learned")
        results.append(bits_per_dimension(terms, images, schedule))
    assert results[1].bits == pytest.approx(results[0].bits, rel=1e-4)
    assert np.allclose(results[1].errors, results[0].errors, rtol=1e-4)


def test_a_number_that_is_not_finite_is_traced_to_its_layer(xp, rng):
    unet = UNet(TINY_UNET)
    theta = random_theta(unet.layout, rng, np.float32)
    x, t = rng.standard_normal((2, 4, 4, 2)).astype(np.float32), np.array([1, 50])

    def there_and_back(theta):
        tape = Tape(xp.asarray(theta), xp.zeros(theta.size, np.float32))
        with watched():
            unet.backward(unet.forward(xp.asarray(x), t, tape), tape)

    there_and_back(theta)
    for param in unet.layout.params[::7]:
        broken = theta.copy()
        param.of(broken)[...] = np.inf
        with pytest.raises(FloatingPointError, match=f"in {param.name}, which comes into the forw"):
            there_and_back(broken)


# The loop.

CONFIG = TrainConfig(
    steps=9, batch=4, micro_batch=2, lr=3e-3, warmup=2, T=50, every=4, ema_decay=0.9, flips=0.5,
    device="cuda",
)  # fmt: skip


@pytest.fixture(autouse=True)
def few_sampling_steps(monkeypatch):
    monkeypatch.setattr(gallery, "SAMPLING", SamplingConfig(steps=3, guidance=0.5))


def colours():
    """Pictures want one channel or three."""
    rng = np.random.default_rng(0)
    return Dataset("noise", rng.integers(0, 256, (12, 4, 4, 3), np.uint8), np.arange(12) % 3)


UNET = replace(TINY_UNET, image_channels=3)


def start(folder, **changes):
    return Run.start(UNET, replace(CONFIG, **changes), colours(), folder)


def resume(folder, **changes):
    return Run.resume(folder, lambda name: colours(), **changes)


@pytest.mark.parametrize("loss, predicts", [("simple", "eps"), ("simple", "v"), ("hybrid", "x0")])
def test_a_step_of_training_reads_nothing_back(loss, predicts, xp, tmp_path):
    config = replace(CONFIG, loss=loss, predicts=predicts)
    unet = replace(UNET, outputs=1 if loss == "simple" else 2)
    run = Run(unet, config, colours(), tmp_path)
    before = to_host(run.theta).copy()
    denoiser = Denoiser(run.unet, run.schedule.to(xp), config)
    with Workers(denoiser, run.theta) as workers, no_waiting(xp):
        for _ in range(2):
            advance(run, workers)
    assert len(run.log.fetch()) == 2 and np.isfinite(run.log.losses).all()
    assert not np.array_equal(to_host(run.theta), before)
    state = run.theta, run.ema, run.optimizer.m, run.optimizer.v, run.images, run.labels
    assert all(array_module(array) is xp for array in state)
    assert run.images.dtype == np.uint8


@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_learns_draws_and_is_the_one_of_the_cpu(loss, xp, tmp_path):
    """The stand-in draws what NumPy draws; what CuPy draws is other noise."""
    unet, runs = replace(UNET, outputs=LOSSES[loss][1]), []
    for device in ("cpu", "cuda"):
        config = replace(CONFIG, loss=loss, device=device)
        runs.append(Run.start(unet, config, colours(), tmp_path / device))
        train(runs[-1])
    assert (tmp_path / "cuda/samples/noise-final.png").exists()
    if xp is standin.cupy:
        assert close(runs[1].theta, runs[0].theta, 1e-4)
        assert np.allclose(runs[1].log.losses, runs[0].log.losses, rtol=1e-3)


@pytest.fixture
def sent(monkeypatch):
    """The stand-in's arrays that came from the host since this list was cleared."""
    standin.install(monkeypatch)
    sent, asarray = [], standin.cupy.asarray

    def counting(x, dtype=None):
        if not isinstance(x, standin.ndarray):
            sent.append(x)
        return asarray(x, dtype)

    monkeypatch.setattr(standin.cupy, "asarray", counting)
    return sent


@pytest.mark.parametrize(
    "loss, times", [*((loss, "uniform") for loss in LOSSES), ("simple", "middle")]
)
def test_a_step_sends_little_to_the_gpu(loss, times, sent, tmp_path):
    """Which images are in the batch; with importance sampling the times and their weights, too."""
    unet, config = replace(UNET, outputs=LOSSES[loss][1]), replace(CONFIG, loss=loss, times=times)
    run = Run(unet, config, colours(), tmp_path)
    denoiser = Denoiser(run.unet, run.schedule.to(run.xp), run.config)
    sent.clear()
    with Workers(denoiser, run.theta) as workers:
        advance(run, workers)
    assert len(sent) == (3 if loss == "vlb" else 1)
    assert all(len(array) == CONFIG.batch for array in sent)


@pytest.mark.parametrize("sampler, variance, eta", SAMPLERS)
@pytest.mark.filterwarnings("ignore:variance 'large' leaves noise")
def test_a_sampling_step_sends_times_and_no_tables(sampler, variance, eta, sent, rng):
    unet, schedule = UNet(replace(TINY_UNET, outputs=2)), Schedule.linear(50)
    theta = standin.cupy.asarray(random_theta(unet.layout, rng, np.float32))
    predict = lambda x_t, t: unet.forward(x_t, t, Tape(theta))  # noqa: E731
    x_T = standin.cupy.zeros((2, 4, 4, 2), dtype=np.float32)
    sent.clear()
    config = SamplingConfig(sampler, 5, 0.0, variance, eta)
    list(sample(config, predict, schedule, x_T, Replayed(standin.cupy)))
    noises = [x for x in sent if x.dtype == np.float32]
    assert len(sent) - len(noises) <= 5 and len(noises) <= 4
    assert all(len(x) == 2 for x in sent)


def arrays(run):
    names = {"theta": run.theta, "ema": run.ema, "m": run.optimizer.m, "v": run.optimizer.v}
    return {name: to_host(array) for name, array in names.items()}


def test_a_resumed_run_equals_the_uninterrupted_one(xp, tmp_path):
    whole = start(tmp_path / "whole")
    train(whole)
    train(start(tmp_path / "parts", steps=4))
    train(parts := resume(tmp_path / "parts", steps=9))
    for name, array in arrays(whole).items():
        assert np.array_equal(arrays(parts)[name], array), name
    assert whole.log.rows == parts.log.rows


@pytest.mark.parametrize("first, then", [("cuda", "cpu"), ("cpu", "cuda")])
def test_checkpoints_move_between_devices(first, then, xp, tmp_path):
    train(run := start(tmp_path / "run", steps=4, device=first))
    moved = resume(tmp_path / "run", steps=9, device=then)
    for name, array in arrays(run).items():
        assert np.array_equal(arrays(moved)[name], array), name
    train(moved)
    assert moved.step == 9 and np.isfinite(moved.log.losses).all()


def test_a_trained_model_draws_the_same_images_on_both_devices(xp, tmp_path):
    train(start(tmp_path / "run", steps=2))
    noise = np.random.default_rng(0).standard_normal((5, 4, 4, 3), np.float32)
    images = []
    for device in ("cpu", "cuda"):
        trained = load_trained(tmp_path / "run").to(device)
        with trained.predictor(count=2 if device == "cuda" else 1) as eps_model:
            predict = guided(eps_model, np.array([0, 1, 2, 0, 1]), null=3, weight=1.0)
            x = trained.xp.asarray(noise)
            images.append(
                final_images(sample(SamplingConfig("dpm", 4), predict, trained.schedule, x, None))
            )
    assert close(images[1], images[0], 1e-4)


# Which device.


def test_tests_of_a_gpu_can_see_one(xp, request):
    """The others cannot, so that they are the same everywhere; see `on_the_cpu`."""
    assert sys.modules.get("cupy") is xp
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == request.config.cuda_visible_devices


def test_tests_that_want_no_gpu_see_none():
    assert sys.modules["cupy"] is None and os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_auto_takes_a_gpu_if_there_is_one_and_says_so(monkeypatch):
    standin.install(monkeypatch)
    assert module_for("auto") is module_for("cuda") is standin.cupy
    assert module_for("cpu") is np
    assert device_name(standin.cupy) == "the GPU (a stand-in)" and device_name(np) == "the CPU"


def test_a_gpu_without_cublas_is_no_gpu(monkeypatch):
    """CuPy asks for cuBLAS when it multiplies matrices, and for vectors does without it."""

    def product(a, b):
        if a.ndim == 2:
            raise RuntimeError("libcublas is not there")
        return a.sum()

    standin.install(monkeypatch)
    monkeypatch.setattr(standin.ndarray, "__matmul__", product)
    with pytest.raises(ValueError, match="libcublas is not there.*type pip install"):
        module_for("cuda")


def test_without_a_gpu_auto_takes_the_cpu_and_cuda_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # an import of it fails
    assert module_for("auto") is np
    with pytest.raises(ValueError, match="CuPy is not there: type pip install -e '.\\[cuda13"):
        module_for("cuda")

    def no_driver(*arguments):
        raise RuntimeError("\ncudaErrorInsufficientDriver: it is old\nlibcublas is in no folder\n")

    standin.install(monkeypatch)
    monkeypatch.setattr(standin.cupy, "ones", no_driver)
    with pytest.raises(ValueError, match="InsufficientDriver.*'.\\[cuda13]'.*the device 'cpu'$"):
        module_for("cuda")  # "." is no end of a line
    with pytest.warns(UserWarning, match="InsufficientDriver.*Computing on the CPU"):
        assert module_for("auto") is np
    for refuse in (module_for, lambda name: TrainConfig(device=name)):
        with pytest.raises(ValueError, match="'gpu': choose from auto, cpu, cuda"):
            refuse("gpu")
