"""Published networks give the same answers and the same gradients here, or are refused by name.

tests/published holds a tiny one that the diffusers library wrote, its answers, and those of other
configurations; how they were made is said by make_reference.py beside them.
test_interop_diffusers.py asks the library itself.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from published.configurations import CONFIGURATIONS, question_of, some_of, weight_of
from published.real import LOADED, REFUSED, side

from tinyddpm import (
    Process,
    Schedule,
    Tape,
    UNet,
    UNetConfig,
    load_diffusers,
    load_process,
    load_published,
    read_safetensors,
    save_diffusers,
    write_safetensors,
)
from tinyddpm.interop.settings import read_unet_config

PUBLISHED = Path(__file__).parent / "published"
WEIGHTS = "diffusion_pytorch_model.safetensors"
TINY = UNetConfig(
    image_size=8, image_channels=2, base=4, multipliers=(1, 1, 2), blocks=1, attention_at=(4,),
    groups=2,
)  # fmt: skip
LINEAR = Process(Schedule.linear())
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
    ours = named(unet, grad, folder)
    assert ours.keys() == grads.keys() and len(ours) == len(unet.layout.params)
    least = 1e-3 * np.linalg.norm(grad) if x.dtype == np.float32 else 0
    for name, wanted in grads.items():
        if name.endswith("to_k.bias"):
            assert np.abs([ours[name], wanted]).max() < 1e-6 * np.abs(grad).max(), name
        else:
            assert distance(ours[name], wanted, least) < (near_weights or near), name


def named(unet, grad, folder):
    """A gradient's parts by their names in diffusers, and with its order of axes."""
    save_diffusers(folder, unet, grad.astype(np.float32), LINEAR)
    return read_safetensors(folder / "unet" / WEIGHTS)[0]


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
            image_size=8, base=8, multipliers=(1, 2, 2), blocks=2, attention_at=(4,),
            head_channels=4, attention_up_at=(8, 2), downsample_padding=1, freq_shift=0, tiny=1e-5,
        ),
        UNetConfig(
            image_size=8, base=8, multipliers=(1, 2), attention_at=(4,), attention_up_at=(),
            classes=4, joined=2,
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
    save_diffusers(tmp_path / "new", unet, theta, LINEAR)
    loaded, again = load_diffusers(tmp_path / "new")
    assert loaded.config == config and np.array_equal(theta, again)
    save_diffusers(tmp_path / "twice", loaded, again, LINEAR)
    for name in ("config.json", WEIGHTS):
        one, other = (tmp_path / folder / "unet" / name for folder in ("new", "twice"))
        assert one.read_bytes() == other.read_bytes()


def test_what_diffusers_wrote_is_written_again_alike(tmp_path):
    unet, theta = load_diffusers(PUBLISHED)
    save_diffusers(tmp_path, unet, theta, LINEAR)
    assert (tmp_path / "unet" / WEIGHTS).read_bytes() == (PUBLISHED / WEIGHTS).read_bytes()
    theirs = json.loads((PUBLISHED / "config.json").read_text())
    del theirs["_diffusers_version"]
    assert json.loads((tmp_path / "unet/config.json").read_text()) == theirs


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
    "attention_head_dim": 0, "attn_norm_num_groups": 4, "block_out_channels": [4, 6, 8],
    "center_input_sample": True, "class_embed_type": "timestep", "downsample_padding": 2,
    "downsample_type": "resnet", "dropout": "0.1", "flip_sin_to_cos": 1, "freq_shift": 2,
    "dual_cross_attention": True,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "SkipDownBlock2D"],
    "in_channels": 0, "layers_per_block": True, "mid_block_scale_factor": 1.4142,
    "mid_block_type": None, "norm_eps": None, "norm_num_groups": None, "num_class_embeds": 1,
    "out_channels": 3, "resnet_time_scale_shift": "scale_shift",
    "sample_size": [8, 4], "time_embedding_dim": 32, "time_embedding_type": "fourier",
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "upsample_type": "resnet",
}  # fmt: skip


@pytest.mark.parametrize("key", UNSUPPORTED)
def test_settings_of_another_network_are_refused_by_name(folder, key):
    change_config(folder, **{key: UNSUPPORTED[key]})
    with pytest.raises(ValueError, match=f"config.json: {key} is .*, but tinyddpm needs "):
        load_diffusers(folder)


def test_every_key_that_diffusers_writes_is_looked_at():
    keys = json.loads((PUBLISHED / "config.json").read_text()).keys()
    assert keys - UNSUPPORTED.keys() == {"_diffusers_version", "num_train_timesteps"}


DEFAULTS = {
    "block_out_channels": r"\[224, 448, 672, 896\]", "sample_size": "None", "out_channels": "3",
    "down_block_types": r"\['DownBlock2D', 'AttnDownBlock2D', .*\]",
    "up_block_types": r"\['AttnUpBlock2D', .*\]",
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
        ({"attention_head_dim": -4}, "attention_head_dim is -4, .* from 1 on"),
        ({"attention_head_dim": 3}, "4 channels cannot be split into 2 groups and heads of 3"),
        ({"attention_head_dim": 8}, "4 channels cannot be split into 2 groups and heads of 8"),
        ({"out_channels": 5}, "out_channels is 5, but tinyddpm needs in_channels or fewer"),
        ({"sample_size": None}, "sample_size is None, .* or say image_size"),
        ({"sample_size": 10}, "halve 10 pixels 2 times, but 5 is odd"),
        ({"norm_num_groups": 3}, "cannot be split into 3 groups"),
        ({"dropout": 1.0}, "dropout of 1.0"),
        ({"norm_eps": float("inf")}, "tiny of inf"),
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
    changes |= {"time_embedding_dim": 4 * TINY.base, "attn_norm_num_groups": TINY.groups}
    change_config(folder, remove=["_class_name", "dropout"], mid_block_scale_factor=1.0, **changes)
    assert load_diffusers(folder)[0].config == TINY


@pytest.mark.parametrize("heads", [2, 4])
def test_as_many_heads_everywhere_are_written_as_heads_of_one_size(rng, tmp_path, heads):
    config = UNetConfig(image_size=8, base=8, multipliers=(1, 2), attention_at=(4,), heads=heads)
    unet = UNet(config)
    save_diffusers(tmp_path, unet, unet.layout.init(rng), LINEAR)
    wanted = replace(config, heads=1, head_channels=16 // heads)
    assert load_diffusers(tmp_path)[0].config == wanted
    change_config(tmp_path / "unet", remove=["attention_head_dim"])  # 8 then
    assert load_diffusers(tmp_path)[0].config.heads_of(16) == 2


def write_configured(name, folder):
    """A network of CONFIGURATIONS, as a published folder."""
    stored, config = np.load(PUBLISHED / "configurations.npz"), dict(CONFIGURATIONS[name])
    config.pop("image_size", None)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    shapes = [[int(n) for n in shape.split()] for shape in stored[f"{name}/shapes"]]
    names = stored[f"{name}/names"].tolist()
    weights = {weight: weight_of(weight, shape) for weight, shape in zip(names, shapes)}
    write_safetensors(folder / WEIGHTS, weights, {})
    return {key: stored[f"{name}/{key}"] for key in ("output", "dx", "sums")}, names


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_what_people_have_gives_the_answers_of_diffusers(name, tmp_path):
    wanted, names = write_configured(name, tmp_path / "theirs")
    settings = CONFIGURATIONS[name]
    unet, theta = load_diffusers(tmp_path / "theirs", settings.get("image_size"))
    x, t, label, d_out = question_of(settings)
    for dtype, near in ((np.float32, 2e-5), (np.float64, 1e-9)):
        grad = np.zeros(theta.shape, dtype)
        tape = Tape(theta.astype(dtype), grad)
        output = unet.forward(x.astype(dtype), t + 1, tape, label)
        dx = unet.backward(d_out.astype(dtype), tape)
        grads = named(unet, grad, tmp_path / "ours")
        if settings.get("flip_sin_to_cos", True):
            first = "time_embedding.linear_1.weight"
            grads[first] = np.roll(grads[first], grads[first].shape[1] // 2, axis=1)
        assert sorted(grads) == sorted(names)
        ours = some_of(output, dx, {name: grads[name] for name in names})
        assert distance(ours["output"], wanted["output"]) < near
        assert distance(ours["dx"], wanted["dx"]) < near
        assert np.abs(ours["sums"] - wanted["sums"]).max() < 1e-5 * np.abs(wanted["sums"]).max()


def test_of_45_real_configurations_33_are_ours_and_the_others_refused_by_name():
    assert len(LOADED) == 33 and len(REFUSED) == 12
    for settings in LOADED.values():
        assert read_unet_config(settings, side(settings)).image_size == side(settings)
        if settings["sample_size"]:
            assert read_unet_config(settings).image_size in np.ravel(settings["sample_size"])
    for reason, settings in REFUSED:
        with pytest.raises(ValueError, match=reason):
            read_unet_config(settings)


def test_channels_to_be_joined_and_labels_are_asked_for(tmp_path, rng):
    for name in ("labels joined", "class embeddings"):
        write_configured(name, tmp_path / name)
    with pytest.raises(ValueError, match="4 channels are to be joined to each image"):
        load_published(tmp_path / "labels joined", LINEAR)
    trained = load_published(tmp_path / "class embeddings", LINEAR)
    assert trained.labels == (0, 1, 2) and not trained.can_guide
    with trained.predictor() as eps_model:
        x = rng.standard_normal((1, 8, 8, 3), np.float32)
        assert eps_model(x, [5], [2]).shape == x.shape
        with pytest.raises(ValueError, match="ask with a label"):
            eps_model(x, [5], None)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"act_fn": 1, "act_fn": 2}', b"\xff{}"])
def test_a_config_that_is_no_json_object_is_refused_by_name(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match="config.json: "):
        load_diffusers(folder)


def test_truncated_foreign_and_absent_files_are_refused_by_name(folder):
    whole = (folder / WEIGHTS).read_bytes()
    for content in (whole[:-1], whole[:1000], b"GIF" + whole, b""):
        (folder / WEIGHTS).write_bytes(content)
        with pytest.raises(ValueError, match=f"{WEIGHTS} cannot be read as safetensors"):
            load_diffusers(folder)
    for name in (WEIGHTS, "config.json"):
        (folder / name).unlink()
        with pytest.raises(FileNotFoundError, match=f"there is no {name} in"):
            load_diffusers(folder)
    for load in (load_diffusers, load_process):
        with pytest.raises(FileNotFoundError, match="there is no .*nowhere: name the folder"):
            load(folder / "nowhere")


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"joined": 2, "outputs": 2}, "joined of 2 with learned variances"),
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
        save_diffusers(tmp_path / "new", unet, unet.layout.init(rng), LINEAR)
    assert not (tmp_path / "new").exists()


def test_weights_of_another_size_or_precision_are_not_written(tmp_path):
    unet, theta = load_diffusers(PUBLISHED)
    for wrong in (theta[1:], theta.astype(np.float64), theta[None]):
        with pytest.raises(ValueError, match="give 12,858 numbers of float32"):
            save_diffusers(tmp_path / "new", unet, wrong, LINEAR)
    assert not (tmp_path / "new").exists()
