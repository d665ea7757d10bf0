"""The diffusers library itself reads what we write, writes what we read, and answers the same."""

import importlib
import json
import shutil
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from published.configurations import CONFIGURATIONS, question_of
from test_interop import LINEAR, OLD, WEIGHTS, assert_same_answers, distance

from tinyddpm import (
    Tape,
    UNetConfig,
    ancestral,
    clipped,
    ddim,
    final_images,
    load_diffusers,
    load_process,
    predictor,
    read_safetensors,
    save_diffusers,
    write_safetensors,
)
from tinyddpm.interop.process import SCHEDULERS

diffusers = pytest.importorskip("diffusers")
torch = pytest.importorskip("torch")
numpy_files = pytest.importorskip("safetensors.numpy")
reference = pytest.importorskip("published.make_reference")

pytestmark = pytest.mark.filterwarnings("ignore")
FILE = "scheduler_config.json"
LIKE_OURS = {
    "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6,
}  # fmt: skip
PAPER = {  # google/ddpm-cifar10-32, key by key
    **LIKE_OURS, "act_fn": "silu", "attention_head_dim": None, "center_input_sample": False,
    "block_out_channels": [128, 256, 256, 256], "in_channels": 3, "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "mid_block_scale_factor": 1, "norm_num_groups": 32, "out_channels": 3, "sample_size": 32,
    "time_embedding_type": "positional",
}  # fmt: skip
HEADS = {
    **LIKE_OURS, "sample_size": 16, "in_channels": 3, "out_channels": 6, "layers_per_block": 2,
    "block_out_channels": [16, 32, 32], "norm_num_groups": 8, "attention_head_dim": 8,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"], "dropout": 0.1,
}  # fmt: skip
NETWORKS = {  # in diffusers' words and ours; a deviation that lets attention see differences
    "tiny": (
        reference.TINY,
        UNetConfig(
            image_size=8, image_channels=2, base=4, multipliers=(1, 1, 2), blocks=1,
            attention_at=(4,), groups=2,
        ),
        0.3,
    ),
    "heads": (
        HEADS,
        UNetConfig(
            image_size=16, image_channels=3, base=16, multipliers=(1, 2, 2), blocks=2,
            attention_at=(8,), head_channels=8, groups=8, dropout=0.1, outputs=2,
        ),
        0.2,
    ),
    "paper": ({**PAPER, "dropout": 0.1}, UNetConfig.ddpm_cifar10(), 0.1),
}  # fmt: skip


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, tmp_path_factory):
    """A network of diffusers, and what we read of the file that it wrote: model, unet, theta."""
    settings, config, deviation = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    model = reference.random_model(settings, deviation)
    model.save_pretrained(folder)
    unet, theta = load_diffusers(folder)
    assert unet.config == config
    return model, unet, theta


def assert_same_output(model, unet, theta):
    x, t, _ = reference.random_question(unet.config.image_shape)
    with torch.no_grad():
        wanted = reference.output(model, torch.tensor(x), torch.tensor(t)).numpy()
    assert distance(unet.forward(x, t + 1, Tape(theta)), wanted) < 1e-5


def test_written_by_diffusers_and_read_by_us_it_answers_the_same(network):
    assert_same_output(*network)


def test_written_by_us_and_read_by_diffusers_it_answers_the_same(network, tmp_path):
    model, unet, theta = network
    save_diffusers(tmp_path, unet, theta, LINEAR)
    again, report = diffusers.UNet2DModel.from_pretrained(
        tmp_path / "unet", output_loading_info=True, low_cpu_mem_usage=False
    )
    assert not any(report.values()), report
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert_same_output(again, unet, theta)


@pytest.mark.parametrize(
    "dtype, near, near_weights", [(np.float32, 1e-5, 4e-5), (np.float64, 1e-7, 1e-7)]
)
def test_the_gradients_of_the_image_and_of_every_weight_are_the_same(
    network, dtype, near, near_weights, tmp_path
):
    model, unet, theta = network
    if dtype == np.float64 and theta.size > 1_000_000:
        pytest.skip("the small ones will do: it would take long")
    x, t, d_out = reference.random_question(unet.config.image_shape, unet.config.outputs)
    question = x.astype(dtype), t, d_out.astype(dtype)
    answers = reference.answers(model, *question)
    assert_same_answers(unet, theta, question, answers, near, tmp_path, near_weights)


def test_the_published_file_with_old_names_is_read(tmp_path):
    """As google/ddpm-cifar10-32 was published: few keys, old names of attention."""
    model = reference.random_model(PAPER, 0.1)
    arrays = {}
    for name, weight in model.state_dict().items():
        for new, old in OLD.items():
            name = name.replace(f".{new}.", f".{old}.")
        arrays[name] = weight.numpy()
    numpy_files.save_file(arrays, tmp_path / WEIGHTS)
    config = {"_class_name": "UNet2DModel", "_diffusers_version": "0.0.4", **PAPER}
    (tmp_path / "config.json").write_text(json.dumps(config))
    unet, theta = load_diffusers(tmp_path)
    assert unet.config == replace(UNetConfig.ddpm_cifar10(), dropout=0.0)
    assert_same_output(model, unet, theta)


def test_safetensors_files_are_the_same_byte_by_byte(tmp_path, rng):
    arrays = {
        "half": rng.standard_normal(3).astype(np.float16),
        "ä": rng.standard_normal((2, 0, 3)),
        "b.weight": rng.standard_normal((4, 5)).astype(np.float32),
        "a.weight": rng.standard_normal(()).astype(np.float32)[...],
    }
    numpy_files.save_file(arrays, tmp_path / "theirs", {"format": "np"})
    write_safetensors(tmp_path / "ours", arrays, {"format": "np"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    theirs, ours = numpy_files.load_file(tmp_path / "ours"), read_safetensors(tmp_path / "theirs")
    for name, array in arrays.items():
        assert np.array_equal(theirs[name], array) and np.array_equal(ours[0][name], array)


PROCESSES = {
    "linear": {},
    "cosine, v": {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
    "not scaled, x0": {"num_train_timesteps": 250, "prediction_type": "sample"},
    "scaled linear": {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195},
    "trained": {"trained_betas": np.geomspace(1e-4, 0.3, 100).tolist(), "num_train_timesteps": 100},
    "large variance": {"variance_type": "fixed_large"},
    "sigmoid": {"beta_schedule": "sigmoid"},
    "zero terminal SNR": {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    "no clipping": {"clip_sample": False},
    "a range": {"clip_sample_range": 0.3, "prediction_type": "sample"},
    "thresholding": {"thresholding": True},
    "trailing": {"timestep_spacing": "trailing"},
    "linspace": {"timestep_spacing": "linspace"},
}
TIMES = {"leading": "leading", "trailing": "trailing", "linspace": "even"}  # theirs, and ours
ONES = np.random.RandomState(0).standard_normal((11, 2, 4, 4, 3))  # noise of the start and of steps


def answer(x, t):
    """A network that knows how an image with few contrasts answers; NumPy or torch arrays."""
    return 0.3 * x - 0.1 * x[..., ::-1] if isinstance(x, np.ndarray) else 0.3 * x - 0.1 * x.flip(-1)


class Network:
    """The same as a model of ours."""

    def forward(self, x, t, tape, label=None):
        return answer(x, t)


class Noise:
    """A generator whose every drawing is known."""

    def __init__(self, drawings):
        self.drawings = iter(drawings)

    def standard_normal(self, shape, dtype):
        return next(self.drawings)


def in_float64(scheduler):
    """A scheduler with its betas, as read from its file, in float64."""
    process = load_process(scheduler)
    theirs = getattr(diffusers, json.loads((scheduler / FILE).read_text())["_class_name"])
    theirs = theirs.from_pretrained(scheduler)
    beta = torch.tensor(process.schedule.beta[1:])
    if theirs.config["rescale_betas_zero_snr"]:  # they do it in float32: off by 6e-8
        rescaled = importlib.import_module("diffusers.schedulers.scheduling_ddim")
        line = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
        beta = rescaled.rescale_zero_terminal_snr(line)
        assert np.allclose(process.schedule.beta[1:-1], beta[:-1], rtol=1e-9, atol=0)
    assert np.allclose(beta, theirs.betas.numpy(), rtol=3e-6, atol=1e-6 * (beta[-1] == 1))
    theirs.betas = beta
    theirs.alphas, theirs.one = 1 - theirs.betas, torch.tensor(1.0, dtype=torch.float64)
    theirs.alphas_cumprod = torch.cumprod(theirs.alphas, 0)
    theirs.final_alpha_cumprod = theirs.one
    return theirs, process


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
def test_trajectories_of_their_schedulers_are_those_of_ours(kind, name, tmp_path, monkeypatch):
    """Ancestral with the same noise, or DDIM, which has to look at the clipped x0, as ours does."""
    if kind == "DDIMScheduler" and name in ("large variance", "sigmoid"):
        pytest.skip("it has no such setting")
    if kind == "DDIMScheduler" and name == "linspace":
        pytest.skip("it goes T // 10 back from each time, which is not its next time")
    getattr(diffusers, kind)(**PROCESSES[name], steps_offset=0).save_pretrained(tmp_path)
    shutil.copy(reference.__file__.replace("make_reference.py", "config.json"), tmp_path)
    theirs, process = in_float64(tmp_path)
    schedule = process.schedule.respaced(10, TIMES[theirs.config["timestep_spacing"]])
    clip = partial(clipped, limit=process.clip)
    predict = predictor(Network(), np.zeros(1), process.schedule, process.predicts)
    theirs.set_timesteps(10)
    assert theirs.timesteps.tolist() == (schedule.times[:0:-1] - 1).tolist()
    noise, module = iter(ONES[1:]), sys.modules[type(theirs).__module__]
    monkeypatch.setattr(module, "randn_tensor", lambda *a, **k: torch.tensor(next(noise)))
    x = torch.tensor(ONES[0])
    for t in theirs.timesteps:
        more = {"use_clipped_model_output": True} if kind == "DDIMScheduler" else {}
        x = theirs.step(answer(x, t), t, x, **more).prev_sample
    if kind == "DDIMScheduler":
        steps = ddim(predict, schedule, ONES[0], clip=clip)
    else:
        variance = process.variance or "small"
        steps = ancestral(predict, schedule, ONES[0], Noise(ONES[1:]), variance, clip)
    assert distance(final_images(steps), x.numpy()) < 1e-9


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_the_file_of_every_scheduler_that_is_read_has_its_betas(kind, tmp_path):
    if kind == "LMSDiscreteScheduler":
        pytest.importorskip("scipy")
    theirs = getattr(diffusers, kind)(beta_schedule="scaled_linear", beta_end=0.012)
    theirs.save_pretrained(tmp_path)
    shutil.copy(reference.__file__.replace("make_reference.py", "config.json"), tmp_path)
    process = load_process(tmp_path)
    assert np.allclose(process.schedule.beta[1:], theirs.betas.numpy(), rtol=3e-6, atol=0)
    assert process[1:3] == ("eps", {"DDPMScheduler": "small"}.get(kind))
    assert process.clip == (1 if kind in ("DDPMScheduler", "DDIMScheduler") else np.inf)


@pytest.mark.parametrize("settings", PROCESSES.values(), ids=PROCESSES)
def test_a_pipeline_of_ours_is_loaded_by_theirs(settings, tmp_path):
    diffusers.DDPMScheduler(**settings).save_pretrained(tmp_path / "scheduler")
    model = reference.random_model(reference.TINY, 0.3)
    model.save_pretrained(tmp_path / "unet")
    process = load_process(tmp_path)
    save_diffusers(tmp_path / "ours", *load_diffusers(tmp_path), process)
    pipeline = diffusers.DDPMPipeline.from_pretrained(tmp_path / "ours")
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, pipeline.unet.state_dict()[name]), name
    betas = pipeline.scheduler.betas.numpy()
    assert np.allclose(betas, process.schedule.beta[1:], rtol=3e-6, atol=0)
    wanted = diffusers.DDPMScheduler(**settings).config
    for key in ("prediction_type", "variance_type", "clip_sample_range", "num_train_timesteps"):
        assert pipeline.scheduler.config[key] == wanted[key]
    assert pipeline.scheduler.config["clip_sample"] == wanted["clip_sample"]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_networks_that_people_have_answer_the_same(name, tmp_path):
    settings = CONFIGURATIONS[name]
    model = reference.configured_model(settings)
    model.save_pretrained(tmp_path, safe_serialization=name != "grey")  # that one as .bin
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {key: value for key, value in settings.items() if key != "image_size"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    unet, theta = load_diffusers(tmp_path, settings.get("image_size"))
    x, t, label, d_out = question_of(settings)
    y, dx, _ = reference.answers(model, x, t, d_out, label)
    theta64 = theta.astype(np.float64)
    tape = Tape(theta64, np.zeros_like(theta64))
    assert distance(unet.forward(x, t + 1, tape, label), y) < 1e-9
    assert distance(unet.backward(d_out, tape), dx) < 1e-9
    x, label = x.astype(np.float32), label if label is None else torch.tensor(label)
    with torch.no_grad():
        y = reference.output(model, torch.tensor(x), torch.tensor(t), label).numpy()
    label = label if label is None else label.numpy()
    assert distance(unet.forward(x, t + 1, Tape(theta), label), y) < 2e-5


@pytest.mark.parametrize(
    "how",
    [
        {"safe_serialization": False},
        {"variant": "fp16"},
        {"variant": "non_ema", "safe_serialization": False},
        {"max_shard_size": "20KB"},
        {"max_shard_size": "20KB", "variant": "fp16"},
        {"max_shard_size": "20KB", "safe_serialization": False},
        "average",
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_every_kind_of_file_that_they_write_is_read(how, dtype, tmp_path):
    model = reference.random_model(reference.TINY, 0.3).to(dtype)
    if how == "average":
        average = importlib.import_module("diffusers.training_utils").EMAModel(
            model.parameters(), model_cls=diffusers.UNet2DModel, model_config=model.config
        )
        average.save_pretrained(tmp_path)
        assert "optimization_step" in json.loads((tmp_path / "config.json").read_text())
    else:
        model.save_pretrained(tmp_path, **how)
    _, theta = load_diffusers(tmp_path)
    model.float().save_pretrained(tmp_path / "plain")
    assert np.array_equal(theta, load_diffusers(tmp_path / "plain")[1])
