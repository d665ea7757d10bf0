"""Damaged files from strangers: `python tests/fuzz.py` makes many more of them."""

import gzip
import io
import json
import pickle
import tracemalloc
from dataclasses import asdict
from functools import partial

import fuzz
import numpy as np
import pytest
from test_safetensors import packed
from test_torch_file import before_zip, numbered_tensor, zipped

from tinyddpm import (
    UNet,
    UNetConfig,
    load_cifar10,
    load_trained,
    read_safetensors,
    read_torch,
    save_checkpoint,
)
from tinyddpm.data import cifar10
from tinyddpm.data.arrays import load_arrays
from tinyddpm.interop.folders import CONFIG, SCHEDULER
from tinyddpm.training.kept import VECTORS


@pytest.mark.parametrize("reader", fuzz.READERS)
def test_damaged_files_are_refused_in_a_sentence(reader):
    bad = [f"number {number}: {said}" for number, _, said in fuzz.fuzz(reader, count=50)]
    assert not bad, bad[0]


@pytest.mark.parametrize("change, said", [("touch", "open"), ("mkdir", "os.mkdir")])
def test_a_reader_that_writes_elsewhere_is_found(change, said, tmp_path, monkeypatch):
    (tmp_path / "inside").mkdir()
    for place in ("inside/own", "outside"):
        reader = "file", b"", lambda path, place=place: getattr(tmp_path / place, change)()
        monkeypatch.setitem(fuzz.READERS, "bad", reader)
        found = fuzz.complaint("bad", b"", str(tmp_path / "inside"))
        assert said in found if place == "outside" else found is None


COUNT = 1 << 21
NET = UNetConfig(8, base=64, multipliers=(1,), attention_at=(), classes=2)


def floats(dtype):
    """A safetensors file of zeros."""
    size = COUNT * {"F32": 4, "BF16": 2}[dtype]
    return packed({"a": {"dtype": dtype, "shape": [COUNT], "data_offsets": [0, size]}}, bytes(size))


def tensor(old=False):
    """A file of PyTorch with one tensor of zeros."""
    pickled, numbers = numbered_tensor(0, (COUNT,), (1,), COUNT), bytes(4 * COUNT)
    if not old:
        return zipped(pickled, [("archive/data/0", numbers)])
    return (
        before_zip(pickled).removesuffix(pickle.dumps([], 2))
        + pickle.dumps(["0"], 2)
        + bytes(8)
        + numbers
    )


def of_run(*names, dtype=np.float32):
    """A checkpoint with these vectors."""
    arrays = {name: np.zeros(UNet(NET).layout.size, dtype) for name in names}
    if "theta" in names:
        arrays["history"] = fuzz.RUN["history"]
    return fuzz.written(save_checkpoint, arrays, {**fuzz.FACTS, "unet": asdict(NET)})


def npz():
    file = io.BytesIO()
    np.savez(file, np.zeros((2000, 64, 64), np.uint8))
    return file.getvalue()


def batch(protocol=None):
    """A file of CIFAR-10."""
    images, labels = np.zeros((cifar10.RECORDS, 3072), np.uint8), [0] * cifar10.RECORDS
    if protocol is None:
        return bytes(cifar10.RECORDS * 3073)
    return pickle.dumps({"data": images, "labels": labels}, protocol)


def read_batch(path):
    return load_cifar10(path.parent, "test", urls=())


# The file's name, what makes it, how it is read, how many times its bytes that takes at most.
LARGE = {
    "safetensors": ("file", partial(floats, "F32"), read_safetensors, 1),
    "bfloat16": ("file", partial(floats, "BF16"), read_safetensors, 3),  # 2 of them come out
    "torch": ("file", tensor, read_torch, 2),
    "old torch": ("file", partial(tensor, old=True), read_torch, 2),
    "run": ("file", partial(of_run, *VECTORS), load_trained, 1.1),
    "half": ("file", partial(of_run, "ema", dtype=np.float16), load_trained, 3),  # 2 come out
    "npz": ("file.npz", npz, load_arrays, 1),
    "batch": ("test_batch.bin", batch, read_batch, 2),
    "pickled batch": ("test_batch", partial(batch, 4), read_batch, 3),
}


@pytest.mark.parametrize("case", LARGE)
def test_a_large_file_takes_so_many_times_its_size_at_most(case, tmp_path):
    name, make, read, times = LARGE[case]
    (path := tmp_path / name).write_bytes(make())
    tracemalloc.start()
    try:
        read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < times * path.stat().st_size + fuzz.ROOM


HOSTILE = ["x" * 9000, "\x1b[2J\n" * 50, ["y"] * 3000, 10**300]


@pytest.mark.parametrize(
    "name, read", [(CONFIG, fuzz.read_folder), (SCHEDULER, fuzz.read_scheduler)]
)
def test_of_what_is_hostile_little_is_shown(name, read, tmp_path):
    good, path = json.loads((fuzz.HERE / "published" / name).read_bytes()), tmp_path / name
    for key in [*good, "unheard_of", "k" * 5000, "k\n\x1b[31m"]:
        for value in HOSTILE:
            path.write_text(json.dumps({**good, key: value}))
            try:
                read(path)
            except ValueError as error:
                said = str(error).replace(str(path), "")
                assert len(said) <= fuzz.LONGEST and said.isprintable(), key


def test_an_idx_file_that_promises_too_much_is_refused_at_once(tmp_path):
    header = bytes([0, 0, 8, 3]) + np.array([1 << 20, 1 << 10, 1 << 10], ">u4").tobytes()
    path = tmp_path / "train-images-idx3-ubyte"
    for content in (header + bytes(100), gzip.compress(header + bytes(100))):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="do not fit into"):
            load_arrays(path)
