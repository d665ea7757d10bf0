"""Files are whole or not there, and damage is found."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from conftest import old_checkpoint

from tinyddpm import read_safetensors, write_safetensors
from tinyddpm.checkpoint import load_checkpoint, save_checkpoint
from tinyddpm.files import atomic_write, keep_as

ARRAYS = {"theta": np.arange(9, dtype=np.float32), "m": np.linspace(0, 1, 7)}
META = {"step": 12, "train": {"lr": 2e-4, "name": "µ", "clip": float("inf")}}
NAME = "checkpoint.safetensors"


@pytest.fixture
def path(tmp_path):
    save_checkpoint(tmp_path / "run" / NAME, ARRAYS, META)
    return tmp_path / "run" / NAME


@pytest.fixture(params=["new", "old"])
def any_path(request, path, tmp_path):
    """A checkpoint of today and one of an older version."""
    return path if request.param == "new" else old_checkpoint(tmp_path / "old.npz", ARRAYS, META)


def same(arrays, wanted=ARRAYS):
    return arrays.keys() == wanted.keys() and all(
        arrays[name].dtype == array.dtype and np.array_equal(arrays[name], array)
        for name, array in wanted.items()
    )


def test_what_is_saved_is_loaded(any_path):
    arrays, meta = load_checkpoint(any_path)
    assert meta == META and same(arrays)


def test_others_can_read_the_arrays_and_the_settings(path):
    arrays, metadata = read_safetensors(path)
    assert same(arrays) and metadata["step"] == "12"
    assert json.loads(metadata["train"]) == META["train"] and len(metadata["sha256"]) == 64


def test_the_same_content_gives_the_same_bytes(path):
    before = path.read_bytes()
    save_checkpoint(path, dict(reversed(ARRAYS.items())), dict(reversed(META.items())))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [NAME]


def test_any_shape_and_none(path):
    odd = {"scalar": np.float32(3)[...], "empty": np.zeros((0, 4)), "turned": np.eye(3)[:, ::-1]}
    for arrays in (odd, {}):
        save_checkpoint(path, arrays, {})
        assert same(load_checkpoint(path).arrays, arrays)


def test_a_truncated_one_is_refused_by_name(any_path):
    whole = any_path.read_bytes()
    for length in range(0, len(whole), 5):
        any_path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=any_path.name):
            load_checkpoint(any_path)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_refused(path, step):
    whole = path.read_bytes()
    for i in range(0, 8 * len(whole), step):
        damaged = bytearray(whole)
        damaged[i // 8] ^= 1 << i % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError) as error:
            load_checkpoint(path)
        assert str(path) in str(error.value)


def test_a_flipped_bit_in_any_byte_of_an_old_one_is_refused_or_harmless(tmp_path):
    """Harmless: ZIP keeps times and attributes that nobody reads, and some facts twice."""
    path = old_checkpoint(tmp_path / "old.npz", ARRAYS, META)
    whole, refused = path.read_bytes(), 0
    for i in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[i] ^= 1 << i % 8
        path.write_bytes(damaged)
        try:
            arrays, meta = load_checkpoint(path)
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            assert meta == META and same(arrays)
    assert refused > 0.7 / 3 * len(whole)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x93NUMPY", b"PK\x05\x06" + 18 * b"\0", b"PK\x03\x04" + bytes(99)]
)
def test_foreign_files_are_refused_by_name(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=NAME):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"format": "tinyddpm 99"}, "not of the format 'tinyddpm 3' that this version reads"),
        ({"format": None}, "is no checkpoint"),
        ({"sha256": None}, "does not have the checksum"),
        ({"step": "13"}, "does not have the checksum"),
        ({"more": "1"}, "does not have the checksum"),
    ],
)
def test_another_format_or_another_text_is_refused(path, change, sentence):
    arrays, metadata = read_safetensors(path)
    metadata |= change
    metadata = {name: text for name, text in metadata.items() if text is not None}
    write_safetensors(path, arrays, metadata)
    with pytest.raises(ValueError, match=sentence):
        load_checkpoint(path)


def test_old_ones_of_another_format_pickles_and_bombs_are_refused(tmp_path):
    path = tmp_path / "old.npz"
    np.savez(path, facts=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        load_checkpoint(path)
    np.savez(path, facts=np.frombuffer(b'{"format": 99, "meta": {}}', np.uint8))
    with pytest.raises(ValueError, match="not of the format"):
        load_checkpoint(path)
    np.savez_compressed(path, zeros=np.zeros(30_000_000, np.uint8))
    tracemalloc.start()
    with pytest.raises(ValueError, match="it is compressed, and none of ours was"):
        load_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path.with_name("nothing.npz"))


@pytest.mark.parametrize("text", [b"[1, 2", b"[]", b"[" * 100_000, b'{"format": 2, "arrays": []}'])
def test_facts_of_any_kind_in_an_old_one_end_in_a_sentence(tmp_path, text):
    np.savez(path := tmp_path / "old.npz", facts=np.frombuffer(text, np.uint8))
    with pytest.raises(ValueError, match="old.npz is not a whole checkpoint") as error:
        load_checkpoint(path)
    assert len(str(error.value)) < 300 + len(str(path))


def test_reading_takes_no_more_memory_than_the_file_has_bytes(path):
    save_checkpoint(path, {"theta": np.zeros(1_000_000, np.float32)}, META)
    tracemalloc.start()
    load_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * path.stat().st_size


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(path, full_disk):
    before = path.read_bytes()
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"theta": np.zeros(3)}, {})
    assert path.read_bytes() == before and os.listdir(path.parent) == [NAME]


def test_an_interrupt_in_the_middle_leaves_the_old_file(path):
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        with atomic_write(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt
    assert path.read_bytes() == before and os.listdir(path.parent) == [NAME]


def test_a_file_that_is_kept_stays_under_its_second_name(path):
    first, before = path.read_bytes(), path.with_name("before")
    for _ in range(2):
        keep_as(path, before)
        assert before.read_bytes() == path.read_bytes() == first
    save_checkpoint(path, ARRAYS, {"step": 13})
    assert before.read_bytes() == first and load_checkpoint(path).meta == {"step": 13}
    keep_as(path, before)
    assert load_checkpoint(before).meta == {"step": 13}
