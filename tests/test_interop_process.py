"""The process of a published network is read from its scheduler's file, or refused by name."""

import json
import shutil
import warnings

import numpy as np
import pytest
from test_interop import LINEAR, PUBLISHED, WEIGHTS

from tinyddpm import (
    Process,
    Schedule,
    load_diffusers,
    load_process,
    load_published,
    save_diffusers,
)

pytestmark = pytest.mark.filterwarnings("ignore:x_T still holds")


@pytest.fixture
def folder(tmp_path):
    """The published network as the unet/ of a pipeline without a scheduler."""
    (tmp_path / "unet").mkdir()
    for name in ("config.json", WEIGHTS):
        shutil.copy(PUBLISHED / name, tmp_path / "unet")
    return tmp_path


def write_scheduler(folder, **values):
    folder.mkdir(exist_ok=True)
    (folder / "scheduler_config.json").write_text(json.dumps(values))


def assert_same_process(one, other):
    assert one[1:] == other[1:]
    assert np.allclose(one.schedule.beta, other.schedule.beta, rtol=1e-12, atol=0)


def test_without_a_scheduler_nobody_guesses(folder):
    sentence = "unet has no scheduler_config.json, .* say it .--schedule, --predicts, --T"
    for load in (load_process, load_published):
        for path in (folder, folder / "unet", folder / "unet" / WEIGHTS):
            with pytest.raises(FileNotFoundError, match=sentence):
                load(path)
    process = Process(Schedule.cosine(50), "v")
    trained = load_published(folder, process)
    assert trained.schedule is process.schedule and trained.config.predicts == "v"
    assert trained.variance == "small"  # a network that learned none


def test_the_scheduler_is_found_where_diffusers_takes_it_from(folder):
    network = folder / "unet"
    write_scheduler(folder, prediction_type="sample")  # a pipeline of few files
    for path in (folder, network, network / WEIGHTS):
        assert load_process(path).predicts == "x0"
    write_scheduler(folder / "scheduler", prediction_type="v_prediction")  # this one counts
    for path in (folder, network, network / WEIGHTS):
        assert load_process(path).predicts == "v"
    network.rename(folder / "unet_ema")
    assert load_process(folder / "unet_ema").predicts == "v"
    (folder / "unet_ema").rename(folder / "alone")  # beside it may lie anything
    with pytest.raises(FileNotFoundError, match="alone has no scheduler_config.json"):
        load_process(folder / "alone")


def test_that_a_network_draws_latents_is_said(folder):
    write_scheduler(folder, clip_sample=False)
    for name in ("vae", "vqvae"):
        (folder / name).mkdir()
        for path in (folder, folder / "unet", folder / "unet" / WEIGHTS):
            with pytest.warns(UserWarning, match="draws latents, of which another network makes"):
                load_published(path)
        (folder / name).rmdir()
    (folder / "vae").mkdir()
    (folder / "unet").rename(folder / "ddpm")  # that folder is of another model
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_published(folder / "ddpm", Process(Schedule.linear()))


LINE = np.linspace(1e-4, 0.02, 1000)
ROOTS = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
SIGMOID = 1e-4 + 0.0199 / (1 + np.exp(-np.linspace(-6, 6, 7)))
PROCESSES = {
    "defaults": ({}, LINE),
    "as google/ddpm-cifar10-32": (
        {"_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "clip_sample": True,
         "timestep_values": None, "trained_betas": None, "variance_type": "fixed_large"}, LINE,
    ),
    "cosine": ({"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 60},
               Schedule.cosine(60).beta[1:]),
    "not scaled": ({"num_train_timesteps": 500}, np.linspace(1e-4, 0.02, 500)),
    "ours of 500 steps": (
        {"num_train_timesteps": 500, "beta_start": 2e-4, "beta_end": 0.04},
        Schedule.linear(500).beta[1:],
    ),
    "scaled linear": (
        {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}, ROOTS,
    ),
    "sigmoid": ({"beta_schedule": "sigmoid", "num_train_timesteps": 7}, SIGMOID),
    "trained": ({"trained_betas": [0.1, 0.3, 0.2], "num_train_timesteps": 3}, [0.1, 0.3, 0.2]),
    "another sampler": ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 2,
                         "use_karras_sigmas": True, "thresholding": True,
                         "lambda_min_clipped": -np.inf}, LINE),  # -Infinity, as they write it
}  # fmt: skip


@pytest.mark.parametrize("values, beta", PROCESSES.values(), ids=PROCESSES)
def test_processes_of_any_betas_are_understood_and_written_again(values, beta, tmp_path):
    write_scheduler(tmp_path / "a", **values)
    shutil.copy(PUBLISHED / "config.json", tmp_path / "a")
    process = load_process(tmp_path / "a")
    assert np.allclose(process.schedule.beta[1:], beta, rtol=1e-12, atol=0)
    unet, theta = load_diffusers(PUBLISHED)
    save_diffusers(tmp_path / "b", unet, theta, process)
    again = load_process(tmp_path / "b")
    assert_same_process(again, process._replace(variance=process.variance or "small"))
    written = json.loads((tmp_path / "b/scheduler/scheduler_config.json").read_text())
    assert written["clip_sample"] is True and written["_class_name"] == "DDPMScheduler"
    assert (written["trained_betas"] is None) == (len(beta) not in (3, 7))


def test_there_are_at_most_a_hundred_thousand_steps(tmp_path):
    shutil.copy(PUBLISHED / "config.json", tmp_path)
    write_scheduler(tmp_path, num_train_timesteps=100_000)
    assert load_process(tmp_path).schedule.T == 100_000
    write_scheduler(tmp_path, num_train_timesteps=100_001)
    with pytest.raises(ValueError, match="num_train_timesteps is 100001, but .* up to 100,000"):
        load_process(tmp_path)


def test_of_zero_terminal_snr_nearly_nothing_is_left(tmp_path):
    write_scheduler(tmp_path, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    shutil.copy(PUBLISHED / "config.json", tmp_path)
    root, before = load_process(tmp_path).schedule.alpha_bar ** 0.5, np.cumprod(1 - LINE) ** 0.5
    assert 0 < root[-1] < 2e-5 and root[-2] > root[-1]
    assert np.isclose(root[1], before[0])  # the first stays, and all others are shifted and scaled
    wanted = (before - before[-1]) * before[0] / (before[0] - before[-1])
    assert np.allclose(root[1:-1], wanted[:-1], rtol=1e-9)
    assert np.isclose(root[-1], wanted[-2] / 4, rtol=1e-6, atol=0)


def test_a_run_survives_the_round_trip_with_its_process(tmp_path):
    unet, theta = load_diffusers(PUBLISHED)
    for process in (
        Process(Schedule.cosine(60), "v", "small"),
        Process(Schedule.linear(), "x0", "large"),
        Process(Schedule.linear(100), "eps", "learned"),
    ):
        save_diffusers(tmp_path, unet, theta, process)
        trained = load_published(tmp_path)
        assert_same_process(load_process(tmp_path), process)
        assert trained.config.predicts == process.predicts and trained.variance == process.variance
        assert np.array_equal(trained.theta, theta)
    with pytest.raises(ValueError, match="a schedule of 10 steps out of more"):
        save_diffusers(tmp_path, unet, theta, Process(Schedule.linear().respaced(10)))


@pytest.mark.parametrize(
    "values, variance",
    [
        ({}, None),
        ({"variance_type": "fixed_large"}, "large"),
        ({"variance_type": "fixed_large_log"}, "large"),
        ({"variance_type": "fixed_small_log"}, "small"),
        ({"variance_type": "learned_range"}, "learned"),
    ],
)
def test_the_scheduler_decides_the_variance_of_published_weights(folder, values, variance):
    write_scheduler(folder, **values)
    assert load_process(folder).variance == variance
    assert load_published(folder).variance == (variance or "small")


@pytest.mark.parametrize(
    "key, values",
    [
        ("_class_name", {"_class_name": "FlowMatchEulerDiscreteScheduler"}),
        ("_class_name", {"_class_name": "LCMScheduler"}),
        ("beta_schedule", {"beta_schedule": "exponential"}),
        ("beta_schedule", {"beta_schedule": ["linear"]}),
        ("prediction_type", {"prediction_type": "flow"}),
        ("trained_betas", {"trained_betas": [0.1, 0.2]}),
        ("trained_betas", {"trained_betas": [0.1, 1.0], "num_train_timesteps": 2}),
        ("prediction_type", {"prediction_type": "epsilon", "rescale_betas_zero_snr": True}),
        ("num_train_timesteps", {"num_train_timesteps": 10**12}),
        ("num_train_timesteps", {"num_train_timesteps": "1000"}),
        ("beta_start", {"beta_start": -0.1}),
        ("beta_end", {"beta_end": None}),
        ("beta_end", {"beta_end": 10**400}),
        ("beta_end", {"beta_end": float("nan")}),
        ("clip_sample_range", {"clip_sample_range": "1"}),
        ("clip_sample_range", {"clip_sample_range": -1}),
        ("sample_max_value", {"thresholding": True, "sample_max_value": 1.5}),
        ("predict_epsilon", {"predict_epsilon": False}),
        ("use_flow_sigmas", {"use_flow_sigmas": True}),
        ("timestep_type", {"timestep_type": "continuous"}),
        ("variance_type", {"variance_type": "learned"}),
    ],
)
def test_processes_that_are_not_ours_are_refused_by_name(folder, key, values):
    write_scheduler(folder, **values)
    with pytest.raises(ValueError, match=f"scheduler_config.json: {key} is .*, but tinyddpm needs"):
        load_process(folder)


@pytest.mark.parametrize(
    "values, clip",
    [
        ({}, 1),
        ({"clip_sample": False}, np.inf),
        ({"clip_sample": None}, np.inf),
        ({"clip_sample_range": 3}, 3),
        ({"clip_sample": False, "thresholding": True}, 1),  # to sample_max_value, which is 1
        ({"_class_name": "DDIMScheduler"}, 1),
        ({"_class_name": "PNDMScheduler", "clip_sample": True, "thresholding": True}, np.inf),
        ({"_class_name": "UniPCMultistepScheduler", "clip_sample": True}, np.inf),
        ({"_class_name": "UniPCMultistepScheduler", "thresholding": True}, 1),
    ],
)
def test_clipping_is_what_the_scheduler_s_class_makes_of_its_keys(folder, values, clip):
    write_scheduler(folder, **values)
    process = load_process(folder)
    assert process.clip == clip
    unet, theta = load_diffusers(folder)
    save_diffusers(folder / "ours", unet, theta, process)
    assert load_process(folder / "ours").clip == clip
    assert load_published(folder).clip == clip


def test_unknown_keys_of_a_scheduler_are_refused_like_those_of_a_network(folder):
    write_scheduler(folder, _comment="nothing", once_upon_a_time=None)
    assert_same_process(load_process(folder), Process(Schedule(LINE)))
    write_scheduler(folder, new_in_diffusers=1)
    with pytest.raises(ValueError, match="new_in_diffusers is 1, but tinyddpm knows no such key"):
        load_process(folder)


def test_a_schedule_that_cannot_be_is_refused_with_the_file(folder):
    write_scheduler(folder, num_train_timesteps=1, beta_schedule="squaredcos_cap_v2")
    with pytest.raises(ValueError, match="scheduler_config.json: a cosine schedule of 1 steps"):
        load_process(folder)


def test_the_whole_pipeline_is_written(tmp_path):
    unet, theta = load_diffusers(PUBLISHED)
    save_diffusers(tmp_path, unet, theta, LINEAR)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index == {
        "_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }  # fmt: skip
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert written == [
        "model_index.json", "scheduler/scheduler_config.json", "unet/config.json",
        f"unet/{WEIGHTS}",
    ]  # fmt: skip
