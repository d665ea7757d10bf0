"""Does the stand-in for CuPy catch what would go wrong on a GPU? Mistakes are planted to see."""

import inspect
import textwrap

import numpy as np
import pytest
import standin
from test_device import CONFIG, UNET, colours

from tinyddpm import Run, clip_by_norm
from tinyddpm.diffusion.schedule import per_image
from tinyddpm.nn.activation import SiLU
from tinyddpm.nn.attention import Attention
from tinyddpm.nn.conv import Conv3x3
from tinyddpm.nn.embedding import Embedding
from tinyddpm.nn.norm import GroupNorm
from tinyddpm.nn.optim import Adam
from tinyddpm.training.denoiser import Denoiser
from tinyddpm.training.loop import _micro_batches, advance
from tinyddpm.workers import Workers

xp = standin.cupy


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    standin.install(monkeypatch)
    monkeypatch.setattr(standin, "_waiting_is_forbidden", False)


def train_a_step(folder):
    run = Run(UNET, CONFIG, colours(), folder)
    with Workers(Denoiser(run.unet, run.schedule, CONFIG), run.theta) as workers:
        with standin.no_waiting():
            advance(run, workers)


def plant(monkeypatch, function, right, wrong):
    """Put `wrong` in the place of `right` in a function of tinyddpm, for one test."""
    function = inspect.unwrap(function)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(right) == 1, f"{right} is not once in {function.__name__}"
    names = {}
    exec(source.replace(right, wrong), function.__globals__, names)
    planted = inspect.unwrap(names[function.__name__])
    monkeypatch.setattr(function, "__code__", planted.__code__)


NUMPY = "__import__('numpy')"
MISTAKES = {  # what is wrong: where, what stands there, what stood there by mistake, what is said
    "a function of NumPy": (
        SiLU.forward, "array_module(x).tanh", f"{NUMPY}.tanh", "a ufunc of NumPy does not take"),
    "where of NumPy": (
        Denoiser.gradient, "xp.where(dropped", f"{NUMPY}.where(dropped", "function of NumPy"),
    "an operand of NumPy": (
        Embedding.backward, "array_module(dy).arange", f"{NUMPY}.arange", "ufunc of NumPy"),
    "a loss made a number": (
        advance, "config.clip), (weight * losses).sum()",
        "config.clip), float((weight * losses).sum())",
        "__float__ waits for the GPU"),
    "a question about a number": (
        clip_by_norm, "norm = (grad @ grad) ** 0.5", "norm = (grad @ grad) ** 0.5; norm > 1 or 0",
        "__bool__ waits for the GPU"),
    "a mask as an index": (
        GroupNorm.forward, "x_hat = centred", "centred[centred > 0]; x_hat = centred", "a mask"),
    "float64 from a table": (
        per_image, ".astype(like.real.dtype, copy=False)", "", "float64 creeps in"),
    "float64 from a number of NumPy": (
        Attention.forward, "q.shape[-1] ** -0.5", f"{NUMPY}.sqrt(1 / q.shape[-1])",
        "float64 creeps in"),
    "noise in float64": (
        Denoiser.gradient, "(x0.shape, theta.dtype)", "(x0.shape)", "float64 creeps in"),
    "a method that CuPy's generator lacks": (
        Denoiser.gradient, "rng.standard_normal(x0.shape, theta.dtype)",
        "rng.normal(size=x0.shape)", "no attribute 'normal'"),
    "a reduction that CuPy lacks": (
        Attention.forward, "score.real.max(axis=-1, keepdims=True)",
        "array_module(q).maximum.reduce(score, axis=-1)", "only add and multiply can"),
    "where= in a ufunc": (
        SiLU.forward, "tanh(x / 2)", "tanh(x / 2, where=x > 0)", "unexpected keyword"),
    "a function that CuPy lacks": (
        Conv3x3.forward, "rows = patch_rows(x",
        "array_module(x).lib.stride_tricks; rows = patch_rows(x",
        "no cupy.lib"),
    "data that stayed on the host": (
        _micro_batches, "run.images[i]", "run.dataset.images[i]", "only integers|NumPy|__index__"),
    "an update on the host": (
        Adam.update, "self.v[chunk], grad[chunk]",
        "self.v[chunk], grad.get()[chunk]", "copy waits for the GPU"),
}  # fmt: skip


def test_a_step_without_mistakes_passes(tmp_path):
    train_a_step(tmp_path)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistakes_are_caught(mistake, tmp_path, monkeypatch):
    function, right, wrong, said = MISTAKES[mistake]
    plant(monkeypatch, function, right, wrong)
    errors = (TypeError, AttributeError, NotImplementedError, standin.WaitsForTheGPU)
    with pytest.raises(errors, match=said):
        train_a_step(tmp_path)


REFUSED = {
    "NumPy's operand": lambda x: x + np.ones(3, np.float32),
    "NumPy's operand in front": lambda x: np.ones(3, np.float32) + x,
    "a list": lambda x: x + [1, 2, 3],
    "np.asarray": np.asarray,
    "np.concatenate": lambda x: np.concatenate([x, x]),
    "concatenate of both": lambda x: xp.concatenate([x, np.ones(3)]),
    "NumPy's values in a place": lambda x: x.__setitem__(0, np.ones(())[None]),
    "NumPy's index": lambda x: x[np.array([0])],
    "a list as an index": lambda x: x[[0, 1]],
    "float64 in place": lambda x: x.__iadd__(xp.ones(3)),
    "a fraction in place of integers": lambda x: xp.arange(3).__iadd__(0.5),
    "int64 times float32": lambda x: x * xp.arange(3),
    "keywords of NumPy's sum": lambda x: x.sum(initial=3),
    "an unknown name": lambda x: xp.sliding_window_view(x, 2),
    "the cube of complex numbers": lambda x: (x + 1j) ** 3,
    "a NumPy array among arguments": lambda x: x.clip(np.zeros(3), 1),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_stand_in_refuses(what):
    with pytest.raises((TypeError, AttributeError)):
        REFUSED[what](xp.ones(3, np.float32))


WAITS = [float, bool, int, str, xp.ndarray.get, xp.ndarray.item, xp.ndarray.tolist]


@pytest.mark.parametrize("read", WAITS)
def test_reading_back_is_refused_only_where_nobody_may_wait(read):
    x = xp.ones(1, np.float32).sum()
    read(x)
    with standin.no_waiting(), pytest.raises(standin.WaitsForTheGPU):
        read(x)
    read(x)


def test_results_stay_on_the_device_and_0_dimensional():
    x = xp.asarray(np.arange(6.0, dtype=np.float32).reshape(2, 3))
    for result in (x.sum(), x.mean(), x.max(), x[0, 1], x[0] @ x[1], xp.exp(x).min()):
        assert isinstance(result, xp.ndarray) and result.shape == ()
        assert result.dtype == np.float32
    x += 1
    x[0] *= 2.0
    assert x.get().tolist() == [[2, 4, 6], [4, 5, 6]]
    assert ((2 - x) / 2)[1].tolist() == [-1, -1.5, -2]
