"""The files that published weights come in; what lies there in their place is said by its name."""

import json
import os
import pickle
import shutil
import zipfile

import numpy as np
import pytest
from test_interop import LINEAR, PUBLISHED, WEIGHTS

from tinyddpm import (
    load_diffusers,
    load_process,
    load_published,
    read_safetensors,
    write_safetensors,
)

BIN = "diffusion_pytorch_model.bin"
ARRAYS, _ = read_safetensors(PUBLISHED / WEIGHTS)
THETA = load_diffusers(PUBLISHED)[1]


@pytest.fixture
def folder(tmp_path):
    """The published network without its weights."""
    shutil.copy(PUBLISHED / "config.json", tmp_path)
    return tmp_path


def write_torch(path, arrays, evil=None):
    """What torch.save writes: a zip file of a pickle, made by hand, and of the arrays."""
    pickled = b"\x80\x02}("
    for key, (name, array) in enumerate(arrays.items()):
        strides = [stride // array.itemsize for stride in array.strides]
        pickled += _text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(("
        pickled += _text("storage") + b"ctorch\nFloatStorage\n" + _text(str(key)) + _text("cpu")
        pickled += _number(array.size) + b"tQK\x00" + _tuple(array.shape) + _tuple(strides)
        pickled += b"\x89ccollections\nOrderedDict\n)RtR"
    pickled += b"u."
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", evil or pickled)
        for key, array in enumerate(arrays.values()):
            file.writestr(f"archive/data/{key}", array.tobytes())


def _text(text):
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def _number(n):
    return b"J" + n.to_bytes(4, "little")


def _tuple(numbers):
    return b"(" + b"".join(map(_number, numbers)) + b"t"


def write_bfloat16(path, arrays):
    """A safetensors file of the upper halves of float32 numbers."""
    header, content = {}, b""
    for name, array in arrays.items():
        halves = (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        offsets = [len(content), len(content) + len(halves)]
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": offsets}
        content += halves
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def test_a_bin_alone_is_read(folder):
    write_torch(folder / BIN, ARRAYS)
    assert np.array_equal(load_diffusers(folder)[1], THETA)
    assert np.array_equal(load_diffusers(folder / BIN)[1], THETA)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_bin_that_would_run_a_program_is_refused_and_nothing_runs(folder, protocol, zipped):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {folder}/trace",)

    evil = pickle.dumps({"conv_in.weight": Evil()}, protocol)
    if zipped:
        write_torch(folder / BIN, ARRAYS, evil)
    else:
        (folder / BIN).write_bytes(evil)
    with pytest.raises(ValueError, match=f"{BIN} cannot be read as tensors of PyTorch: "):
        load_published(folder, LINEAR)
    assert not (folder / "trace").exists()


def test_half_precision_is_read_under_its_own_names(folder):
    halves = {name: array.astype(np.float16) for name, array in ARRAYS.items()}
    write_safetensors(folder / "diffusion_pytorch_model.fp16.safetensors", halves, {})
    assert np.abs(load_diffusers(folder)[1] - THETA).max() < 1e-3
    write_bfloat16(folder / "diffusion_pytorch_model.safetensors", ARRAYS)  # this one is preferred
    unet, theta = load_diffusers(folder)
    assert theta.dtype == np.float32 and 1e-3 < np.abs(theta - THETA).max() < 1e-2
    assert np.abs(theta / THETA - 1).max() < 2**-7


def test_averaged_weights_are_preferred(folder):
    other = {name: 0 * array for name, array in ARRAYS.items()}
    write_safetensors(folder / "diffusion_pytorch_model.non_ema.safetensors", other, {})
    assert not load_diffusers(folder)[1].any()
    write_torch(folder / BIN, ARRAYS)
    assert np.array_equal(load_diffusers(folder)[1], THETA)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_parts_are_put_together_by_their_index(folder, kind):
    names = sorted(ARRAYS)
    places = {name: f"part-{i % 3}.{kind}" for i, name in enumerate(names)}
    for part in set(places.values()):
        arrays = {name: ARRAYS[name] for name in names if places[name] == part}
        if kind == "bin":
            write_torch(folder / part, arrays)
        else:
            write_safetensors(folder / part, arrays, {})
    index = folder / f"diffusion_pytorch_model.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 51432}, "weight_map": places}))
    for path in (folder, index):
        assert np.array_equal(load_diffusers(path)[1], THETA)
    (folder / f"part-1.{kind}").unlink()
    with pytest.raises(FileNotFoundError, match="part-1"):
        load_diffusers(folder)
    names = "../part-0.bin", "part\x7f.bin", "p" * 200
    for wrong in ({}, {"weight_map": []}, *({"weight_map": {"a": name}} for name in names)):
        index.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match="weight_map should name files beside it"):
            load_diffusers(folder)


def test_a_folder_of_the_hub_s_cache_is_understood(tmp_path):
    top = tmp_path / "models--google--ddpm-cifar10-32"
    for commit in ("c0ffee", "deadbeef"):
        (top / "snapshots" / commit).mkdir(parents=True)
    (top / "blobs").mkdir()
    for name in ("config.json", WEIGHTS, "scheduler_config.json"):
        shutil.copy(PUBLISHED / name, top / "blobs" / name)
        (top / "snapshots/c0ffee" / name).symlink_to(f"../../blobs/{name}")
    with pytest.raises(ValueError, match="holds 2 versions: name the folder of one"):
        load_diffusers(top)
    (top / "refs").mkdir()
    for wrong in (b"../../x", b"x" * 9000, b"\xff"):
        (top / "refs/main").write_bytes(wrong)
        with pytest.raises(ValueError, match="holds 2 versions: name the folder of one"):
            load_diffusers(top)
    (top / "refs/main").write_text("c0ffee")
    for path in (top, top / "snapshots/c0ffee", top / "snapshots/c0ffee" / WEIGHTS):
        trained = load_published(path)
        assert np.array_equal(trained.theta, THETA) and trained.data == "ddpm-cifar10-32"
        assert load_process(path).predicts == "eps"


def test_a_byte_order_mark_is_passed_over(folder):
    shutil.copy(PUBLISHED / WEIGHTS, folder)
    config = folder / "config.json"
    config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes())
    assert np.array_equal(load_diffusers(folder)[1], THETA)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, BIN])
@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer, .* pull"),
        (b"\n<!DOCTYPE html><html>", "a web page, not the file itself"),
    ],
)
def test_what_lies_in_place_of_a_file_is_said(folder, name, content, sentence):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is {sentence}"):
        load_diffusers(folder)


def test_no_weights_at_all_are_missed_by_name(folder):
    with pytest.raises(FileNotFoundError, match=f"there is no {WEIGHTS} in .*, nor a .bin in"):
        load_diffusers(folder)
