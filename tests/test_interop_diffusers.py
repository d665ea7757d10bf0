"""The diffusers library itself reads what we write, writes what we read, and answers the same."""

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from test_interop import OLD, WEIGHTS, assert_same_answers, distance

from tinyddpm import (
    Schedule,
    Sinusoid,
    Tape,
    UNetConfig,
    load_diffusers,
    load_scheduler,
    read_safetensors,
    save_diffusers,
    write_safetensors,
)

diffusers = pytest.importorskip("diffusers")
torch = pytest.importorskip("torch")
numpy_files = pytest.importorskip("safetensors.numpy")
reference = pytest.importorskip("published.make_reference")

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
            attention_at=(8,), heads=4, groups=8, dropout=0.1, outputs=2,
        ),
        0.2,
    ),
    "paper": ({**PAPER, "dropout": 0.1}, UNetConfig.ddpm_cifar10(), 0.1),
}  # fmt: skip


class ExactTime(torch.nn.Module):
    """Sines and cosines as we make them, of angles in float64.

    Theirs are in float32, off by up to 6e-5 at t = 999. The output hardly feels it, but for the
    gradients of a few weights that is more than all other rounding together.
    """

    def __init__(self, dim):
        super().__init__()
        self.sinusoid = Sinusoid(dim)

    def forward(self, t):
        return torch.tensor(self.sinusoid.forward(t.numpy() + 1, Tape(np.zeros(0))))


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
    save_diffusers(tmp_path, unet, theta)
    again, report = diffusers.UNet2DModel.from_pretrained(
        tmp_path, output_loading_info=True, low_cpu_mem_usage=False
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
    model = deepcopy(model)
    model.time_proj = ExactTime(unet.config.base)
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


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_train_timesteps": 250, "beta_start": 4e-4, "beta_end": 0.08},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 50},
    ],
)
@pytest.mark.parametrize("scheduler", ["DDPMScheduler", "DDIMScheduler"])
def test_the_noise_of_their_schedulers_is_that_of_ours(scheduler, settings, tmp_path):
    theirs = getattr(diffusers, scheduler)(**settings)
    theirs.save_pretrained(tmp_path)
    process = load_scheduler(tmp_path)
    ours = getattr(Schedule, process["schedule"])(process["T"])
    assert process["T"] == len(theirs.betas)
    assert np.allclose(ours.beta[1:], theirs.betas.numpy(), rtol=2e-6, atol=0)
