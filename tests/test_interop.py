"""Published networks give the same answers and the same gradients here, or are refused by name.

tests/published holds a tiny one that the diffusers library wrote, and its answers; how it was made
is said by make_reference.py beside it. test_interop_diffusers.py asks the library itself.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tinyddpm import (
    Schedule,
    Tape,
    TrainConfig,
    UNet,
    UNetConfig,
    load_diffusers,
    load_published,
    load_scheduler,
    load_variance,
    read_safetensors,
    save_diffusers,
    write_safetensors,
)

PUBLISHED = Path(__file__).parent / "published"
WEIGHTS = "diffusion_pytorch_model.safetensors"
TINY = UNetConfig(
    image_size=8, image_channels=2, base=4, multipliers=(1, 1, 2), blocks=1, attention_at=(4,),
    groups=2,
)  # fmt: skip
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def assert_same_answers(unet, theta, question, answers, near, folder, near_weights=None):
    """Output and gradients of ours are as near as that to what diffusers answered.

    question   x, t from 0, and the gradient of the output; x decides the precision
    answers    the output, and the gradients of x and of every weight by its name in diffusers
    near       largest distance of two arrays, as a share of their length; `near_weights`, if it is
               given, is that of the gradients of weights. The tiniest of these, below 0.001 of the
               whole, are as exact as larger ones, so of these 0.001 counts. Attention does not
               see the biases of its keys: their gradients are only noise
    """
    (x, t, d_out), (output, dx, grads) = question, answers
    theta, grad = theta.astype(x.dtype), np.zeros(theta.shape, x.dtype)
    tape = Tape(theta, grad)
    assert distance(unet.forward(x, t + 1, tape), output) < near
    assert distance(unet.backward(d_out, tape), dx) < near
    save_diffusers(folder, unet, grad.astype(np.float32))  # for the names, and the order of axes
    ours, _ = read_safetensors(folder / WEIGHTS)
    assert ours.keys() == grads.keys() and len(ours) == len(unet.layout.params)
    least = 1e-3 * np.linalg.norm(grad) if x.dtype == np.float32 else 0
    for name, wanted in grads.items():
        if name.endswith("to_k.bias"):
            assert np.abs([ours[name], wanted]).max() < 1e-6 * np.abs(grad).max(), name
        else:
            assert distance(ours[name], wanted, least) < (near_weights or near), name


def distance(ours, wanted, least=0):
    """How far they are apart, as a share of the length of what is wanted."""
    return np.linalg.norm(ours - wanted) / max(np.linalg.norm(wanted), least)


@pytest.fixture
def folder(tmp_path):
    """A copy of the published network, to be changed."""
    (tmp_path / "unet").mkdir()
    for name in ("config.json", WEIGHTS):
        shutil.copy(PUBLISHED / name, tmp_path / "unet")
    return tmp_path / "unet"


def change_config(folder, remove=(), **changes):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: config[key] for key in config if key not in remove}))


def change_weights(folder, change):
    """Write the weights anew, as `change(arrays)` makes them."""
    arrays, metadata = read_safetensors(folder / WEIGHTS)
    write_safetensors(folder / WEIGHTS, change(arrays), metadata)


@pytest.mark.parametrize("dtype, near", [(np.float32, 1e-5), (np.float64, 1e-6)])
def test_a_published_network_gives_its_answers_and_gradients(dtype, near, tmp_path):
    unet, theta = load_diffusers(PUBLISHED)
    assert unet.config == TINY and theta.dtype == np.float32
    stored = np.load(PUBLISHED / "answers.npz")
    question = stored["x"].astype(dtype), stored["t"], stored["d_out"].astype(dtype)
    grads, _ = read_safetensors(PUBLISHED / "gradients.safetensors")
    answers = stored["output"], stored["dx"], grads
    assert_same_answers(unet, theta, question, answers, near, tmp_path)


def test_a_folder_a_pipeline_and_a_file_are_the_same_network(folder):
    _, theta = load_diffusers(folder)
    for path in (folder.parent, str(folder.parent), folder / WEIGHTS):
        unet, again = load_diffusers(path)
        assert unet.config == TINY and np.array_equal(theta, again)
    (folder / WEIGHTS).rename(folder / "other.safetensors")
    assert np.array_equal(load_diffusers(folder / "other.safetensors")[1], theta)


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        UNetConfig(image_size=4, base=4, multipliers=(1,), attention_at=(), groups=1, dropout=0.3),
        UNetConfig(
            image_size=8, base=8, multipliers=(1, 2, 2), blocks=2, attention_at=(4,), heads=4,
        ),
        UNetConfig(
            image_size=8, image_channels=3, base=4, multipliers=(1, 3), attention_at=(8, 4),
            groups=4, outputs=2,
        ),
    ],
)  # fmt: skip
def test_what_is_saved_is_loaded_and_gives_the_same_bytes(config, rng, tmp_path):
    unet = UNet(config)
    theta = rng.standard_normal(unet.layout.size).astype(np.float32)
    save_diffusers(tmp_path / "new", unet, theta)
    loaded, again = load_diffusers(tmp_path / "new")
    assert loaded.config == config and np.array_equal(theta, again)
    save_diffusers(tmp_path / "twice", loaded, again)
    for name in ("config.json", WEIGHTS):
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_what_diffusers_wrote_is_written_again_alike(tmp_path):
    unet, theta = load_diffusers(PUBLISHED)
    save_diffusers(tmp_path, unet, theta)
    assert (tmp_path / WEIGHTS).read_bytes() == (PUBLISHED / WEIGHTS).read_bytes()
    theirs = json.loads((PUBLISHED / "config.json").read_text())
    del theirs["_diffusers_version"]
    assert json.loads((tmp_path / "config.json").read_text()) == theirs


def test_old_names_and_1x1_kernels_are_understood(folder):
    def change(arrays):
        older = {}
        for name, array in arrays.items():
            if "attentions" in name and array.ndim == 2:
                array = array[:, :, None, None]
            for new, old in OLD.items():
                name = name.replace(f".{new}.", f".{old}.")
            older[name] = array
        assert not any(".to_" in name for name in older)
        return older

    _, theta = load_diffusers(folder)
    change_weights(folder, change)
    assert np.array_equal(load_diffusers(folder)[1], theta)


NORM = "mid_block.attentions.0.group_norm.weight"
DAMAGE = {
    "one is missing": (
        lambda arrays: {name: array for name, array in arrays.items() if name != NORM},
        f"{NORM} is missing, and 0 more",
    ),
    "one too many": (
        lambda arrays: {**arrays, "conv_in.scale": np.zeros(1, np.float32)},
        "conv_in.scale has no place",
    ),
    "an old and a new name": (
        lambda arrays: {
            **arrays,
            "mid_block.attentions.0.query.bias": arrays["mid_block.attentions.0.to_q.bias"],
        },
        "mid_block.attentions.0.to_q.bias comes twice",
    ),
    "a shape": (
        lambda arrays: {**arrays, "conv_in.weight": np.zeros((8, 2, 3, 3), np.float32)},
        r"conv_in.weight of float32 \(8, 2, 3, 3\) cannot be conv_in.W, .* \(3, 3, 2, 4\)",
    ),
    "a 1x1 kernel for a 3x3 one": (
        lambda arrays: {**arrays, "conv_in.weight": np.zeros((4, 2, 1, 1), np.float32)},
        "conv_in.weight of float32",
    ),
    "three axes": (
        lambda arrays: {**arrays, "conv_in.bias": np.zeros((4, 1, 1), np.float32)},
        r"conv_in.bias of float32 \(4, 1, 1\) cannot be conv_in.b",
    ),
    "a precision": (
        lambda arrays: {**arrays, NORM: arrays[NORM].astype(np.float16)},
        rf"{NORM} of float16 \(8,\) cannot be middle.0.attention.norm.gain",
    ),
    "not a number": (
        lambda arrays: {**arrays, NORM: arrays[NORM] * np.float32("nan")},
        f"{NORM} holds numbers that are not finite",
    ),
    "none": (lambda arrays: {}, "0 weights are too few"),
}  # fmt: skip


@pytest.mark.parametrize("change, sentence", DAMAGE.values(), ids=DAMAGE)
def test_weights_that_do_not_fit_are_refused_by_name(folder, change, sentence):
    change_weights(folder, change)
    with pytest.raises(ValueError, match=f"{WEIGHTS}: {sentence}"):
        load_diffusers(folder)


UNSUPPORTED = {
    "_class_name": "UNet2DConditionModel", "act_fn": "gelu", "add_attention": False,
    "attention_head_dim": 8, "attn_norm_num_groups": 4, "block_out_channels": [4, 6, 8],
    "center_input_sample": True, "class_embed_type": "timestep", "downsample_padding": 1,
    "downsample_type": "resnet", "dropout": "0.1", "flip_sin_to_cos": True, "freq_shift": 0,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "SkipDownBlock2D"],
    "in_channels": 0, "layers_per_block": True, "mid_block_scale_factor": 1.4142,
    "mid_block_type": None, "norm_eps": 1e-5, "norm_num_groups": None, "num_class_embeds": 10,
    "num_train_timesteps": 1000, "out_channels": 3, "resnet_time_scale_shift": "scale_shift",
    "sample_size": [8, 8], "time_embedding_dim": 32, "time_embedding_type": "fourier",
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"], "upsample_type": "resnet",
}  # fmt: skip


@pytest.mark.parametrize("key", UNSUPPORTED)
def test_settings_of_another_network_are_refused_by_name(folder, key):
    change_config(folder, **{key: UNSUPPORTED[key]})
    with pytest.raises(ValueError, match=f"config.json: {key} is .*, but tinyddpm needs "):
        load_diffusers(folder)


def test_every_key_that_diffusers_writes_is_looked_at():
    keys = json.loads((PUBLISHED / "config.json").read_text()).keys()
    assert keys - UNSUPPORTED.keys() == {"_diffusers_version"}


DEFAULTS = {
    "attention_head_dim": "8", "block_out_channels": r"\[224, 448, 672, 896\]",
    "down_block_types": r"\['DownBlock2D', 'AttnDownBlock2D', .*\]", "downsample_padding": "1",
    "flip_sin_to_cos": "True", "freq_shift": "0", "norm_eps": "1e-05", "out_channels": "3",
    "sample_size": "None", "up_block_types": r"\['AttnUpBlock2D', .*\]",
}  # fmt: skip


@pytest.mark.parametrize("key, default", DEFAULTS.items())
def test_a_key_that_is_not_there_has_the_default_of_diffusers(folder, key, default):
    change_config(folder, remove=[key])
    sentence = f"{key} is not there, which means {default} to diffusers, but tinyddpm needs "
    if key == "block_out_channels":  # four levels, which is one more than block types
        sentence = "down_block_types is .*, but tinyddpm needs 4 times "
    with pytest.raises(ValueError, match=f"config.json: {sentence}"):
        load_diffusers(folder)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"block_out_channels": []}, "block_out_channels is .*whole multiples of the first"),
        ({"block_out_channels": [4, 4, -8]}, "block_out_channels is "),
        ({"block_out_channels": [4, 4, 8.0]}, "block_out_channels is "),
        ({"down_block_types": "DownBlock2D"}, "down_block_types is 'DownBlock2D'"),
        ({"down_block_types": [["DownBlock2D"]] * 3}, "down_block_types is "),
        ({"attention_head_dim": -4}, "attention_head_dim is -4, .* as many heads wherever"),
        ({"attention_head_dim": 3}, "attention_head_dim is 3"),
        ({"attention_head_dim": 4}, "attention_head_dim is 4"),  # one head of 4, but two of 8
        ({"sample_size": 10}, "halve 10 pixels 2 times, but 5 is odd"),
        ({"norm_num_groups": 3}, "cannot be split into 3 groups"),
        ({"dropout": 1.0}, "dropout of 1.0"),
        ({"new_in_diffusers": 1}, "new_in_diffusers is 1, but tinyddpm knows no such key"),
    ],
)
def test_settings_that_cannot_be_are_refused(folder, changes, sentence):
    change_config(folder, **changes)
    with pytest.raises(ValueError, match=f"config.json: .*{sentence}"):
        load_diffusers(folder)


def test_a_giant_is_not_built(folder):
    change_config(folder, layers_per_block=10**12)
    with pytest.raises(ValueError, match=f"{WEIGHTS}: 182 weights are too few"):
        load_diffusers(folder)
    change_config(folder, layers_per_block=1, block_out_channels=[2**40, 2**40, 2**41])
    with pytest.raises(ValueError, match="cannot be"):
        load_diffusers(folder)


def test_what_says_nothing_about_the_network_is_passed_over(folder):
    changes = {"_name_or_path": "somewhere", "_commit_hash": None, "once_upon_a_time": None}
    change_config(folder, remove=["_class_name", "dropout"], mid_block_scale_factor=1.0, **changes)
    assert load_diffusers(folder)[0].config == TINY


def test_heads_of_one_size_are_understood_where_they_are_as_many_everywhere(rng, tmp_path):
    config = UNetConfig(image_size=8, base=8, multipliers=(1, 2), attention_at=(4,), heads=4)
    unet = UNet(config)
    save_diffusers(tmp_path, unet, unet.layout.init(rng))
    assert json.loads((tmp_path / "config.json").read_text())["attention_head_dim"] == 4
    change_config(tmp_path, remove=["attention_head_dim"])  # 8 then
    assert load_diffusers(tmp_path)[0].config.heads == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"act_fn": 1, "act_fn": 2}', b"\xff{}"])
def test_a_config_that_is_no_json_object_is_refused_by_name(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match="config.json: "):
        load_diffusers(folder)


def test_truncated_foreign_and_absent_files_are_refused_by_name(folder):
    whole = (folder / WEIGHTS).read_bytes()
    for content in (whole[:-1], whole[:1000], b"PK\x03\x04" + whole, b""):
        (folder / WEIGHTS).write_bytes(content)
        with pytest.raises(ValueError, match=f"{WEIGHTS} cannot be read as safetensors"):
            load_diffusers(folder)
    for name in (WEIGHTS, "config.json"):
        (folder / name).unlink()
        with pytest.raises(FileNotFoundError, match=name):
            load_diffusers(folder)
    for load in (load_diffusers, load_scheduler):
        with pytest.raises(FileNotFoundError, match="there is no .*nowhere: name the folder"):
            load(folder / "nowhere")


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"classes": 10}, "classes of 10: UNet2DModel has no null label"),
        ({"multipliers": (2, 4, 4)}, r"multipliers of \(2, 4, 4\): UNet2DModel begins with 1"),
        (
            {"attention_at": (28,), "heads": 2},
            r"heads of 2 where attention has \[32, 64\] channels",
        ),
    ],
)
def test_what_diffusers_cannot_be_is_not_written(settings, sentence, rng, tmp_path):
    unet = UNet(UNetConfig(**settings))
    with pytest.raises(ValueError, match=sentence):
        save_diffusers(tmp_path / "new", unet, unet.layout.init(rng))
    assert not (tmp_path / "new").exists()


def test_weights_of_another_size_or_precision_are_not_written(tmp_path):
    unet, theta = load_diffusers(PUBLISHED)
    for wrong in (theta[1:], theta.astype(np.float64), theta[None]):
        with pytest.raises(ValueError, match="give 12,858 numbers of float32"):
            save_diffusers(tmp_path / "new", unet, wrong)
    assert not (tmp_path / "new").exists()


def write_scheduler(folder, **values):
    folder.mkdir(exist_ok=True)
    (folder / "scheduler_config.json").write_text(json.dumps(values))


def test_the_process_is_found_beside_the_network_and_in_its_pipeline(folder):
    usual = {"T": 1000, "schedule": "linear", "predicts": "eps"}
    assert load_scheduler(folder) == usual  # there is none: the default
    write_scheduler(folder.parent / "scheduler", prediction_type="v_prediction")
    for path in (folder, folder.parent, folder / WEIGHTS):
        assert load_scheduler(path) == {**usual, "predicts": "v"}
    write_scheduler(folder.parent, prediction_type="sample")  # a pipeline of few files
    assert load_scheduler(folder.parent) == {**usual, "predicts": "x0"}


@pytest.mark.parametrize(
    "values, wanted",
    [
        ({}, {}),
        ({"_class_name": "DDIMScheduler", "clip_sample": True, "variance_type": "fixed_large"}, {}),
        ({"beta_schedule": "squaredcos_cap_v2"}, {"schedule": "cosine"}),
        ({"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 4, "beta_end": 9},
         {"schedule": "cosine", "T": 4}),
        ({"num_train_timesteps": 500, "beta_start": 2e-4, "beta_end": 0.04}, {"T": 500}),
        ({"num_train_timesteps": 300, "beta_start": 1e-4 / 0.3, "beta_end": 0.2 / 3}, {"T": 300}),
        ({"trained_betas": None, "rescale_betas_zero_snr": False, "num_train_timesteps": 1000}, {}),
    ],
)  # fmt: skip
def test_processes_that_are_ours_are_understood(tmp_path, values, wanted):
    write_scheduler(tmp_path, **values)
    process = load_scheduler(tmp_path)
    assert process == {"T": 1000, "schedule": "linear", "predicts": "eps", **wanted}
    TrainConfig(**process)


@pytest.mark.parametrize(
    "values, variance",
    [
        ({}, "small"),
        ({"variance_type": "fixed_large"}, "large"),
        ({"variance_type": "fixed_large_log"}, "large"),
        ({"variance_type": "fixed_small_log"}, "small"),
        ({"variance_type": "learned_range"}, "learned"),
    ],
)
def test_the_scheduler_decides_the_variance_of_published_weights(folder, values, variance):
    assert load_published(folder).variance == "small"  # there is none: a network that learned none
    write_scheduler(folder.parent, **values)
    assert load_variance(folder.parent) == (variance if values else None)
    assert load_published(folder.parent).variance == variance


def test_an_unknown_variance_is_refused_by_name(folder):
    write_scheduler(folder.parent, variance_type="learned")
    with pytest.raises(ValueError, match="variance_type is 'learned', but tinyddpm needs"):
        load_variance(folder.parent)


@pytest.mark.parametrize(
    "key, values",
    [
        ("_class_name", {"_class_name": "FlowMatchEulerDiscreteScheduler"}),
        ("beta_schedule", {"beta_schedule": "scaled_linear"}),
        ("beta_schedule", {"beta_schedule": ["linear"]}),
        ("prediction_type", {"prediction_type": "flow"}),
        ("trained_betas", {"trained_betas": [0.1, 0.2]}),
        ("rescale_betas_zero_snr", {"rescale_betas_zero_snr": True}),
        ("num_train_timesteps", {"num_train_timesteps": 10**12}),
        ("num_train_timesteps", {"num_train_timesteps": "1000"}),
        ("beta_start", {"beta_start": 0.00085}),
        ("beta_end", {"beta_end": 0.012}),
        ("beta_end", {"beta_end": None}),
        ("beta_end", {"beta_end": 10**400}),
    ],
)
def test_processes_that_are_not_ours_are_refused_by_name(tmp_path, key, values):
    write_scheduler(tmp_path, **values)
    with pytest.raises(ValueError, match=f"scheduler_config.json: {key} is .*, but tinyddpm needs"):
        load_scheduler(tmp_path)


def test_a_linear_process_of_other_length_has_to_be_scaled_as_ours_is(tmp_path):
    write_scheduler(tmp_path, num_train_timesteps=500)
    sentence = "beta_start is not there, which means 0.0001 to diffusers, but tinyddpm needs 0.0002"
    with pytest.raises(ValueError, match=f"{sentence} for 500 steps"):
        load_scheduler(tmp_path)
    assert np.isclose(Schedule.linear(500).beta[1], 0.0002)
    write_scheduler(tmp_path, num_train_timesteps=20)
    with pytest.raises(ValueError, match="scheduler_config.json: a linear schedule of 20 steps"):
        load_scheduler(tmp_path)
