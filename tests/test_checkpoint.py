"""Files are whole or not there, and damage is found."""

import os

import numpy as np
import pytest

from tinyddpm.checkpoint import load_checkpoint, save_checkpoint
from tinyddpm.files import atomic_write

ARRAYS = {"theta": np.arange(50, dtype=np.float32), "m": np.linspace(0, 1, 7)}
META = {"step": 12, "train": {"lr": 2e-4, "name": "µ"}}


@pytest.fixture
def path(tmp_path):
    save_checkpoint(tmp_path / "run" / "checkpoint.npz", ARRAYS, META)
    return tmp_path / "run" / "checkpoint.npz"


def test_what_is_saved_is_loaded(path):
    arrays, meta = load_checkpoint(path)
    assert meta == META and arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and np.array_equal(arrays[name], array)


def test_the_same_content_gives_the_same_bytes(path):
    before = path.read_bytes()
    save_checkpoint(path, ARRAYS, META)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["checkpoint.npz"]


def test_every_truncation_is_refused_by_name(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="checkpoint.npz is not a whole checkpoint"):
            load_checkpoint(path)


def test_a_flipped_bit_in_any_byte_is_refused_or_harmless(path):
    """Harmless: ZIP keeps times and attributes that nobody reads, and some facts twice."""
    whole, refused = path.read_bytes(), 0
    for i in range(len(whole)):
        damaged = bytearray(whole)
        damaged[i] ^= 1 << i % 8
        path.write_bytes(damaged)
        try:
            arrays, meta = load_checkpoint(path)
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            assert meta == META
            assert all(np.array_equal(arrays[name], array) for name, array in ARRAYS.items())
    assert refused > 0.7 * len(whole)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY", b"PK\x05\x06" + 18 * b"\0"])
def test_foreign_files_are_refused_by_name(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checkpoint.npz is not a whole checkpoint"):
        load_checkpoint(path)


def test_pickles_are_not_opened(path):
    np.savez(path, facts=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        load_checkpoint(path)


def test_another_format_and_a_missing_file_say_so(path):
    np.savez(path, facts=np.frombuffer(b'{"format": 99}', np.uint8))
    with pytest.raises(ValueError, match="has format 99, but this version reads format 2"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path.with_name("nothing.npz"))


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(path, full_disk):
    before = path.read_bytes()
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"theta": np.zeros(3)}, {})
    assert path.read_bytes() == before and os.listdir(path.parent) == ["checkpoint.npz"]


def test_an_interrupt_in_the_middle_leaves_the_old_file(path):
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        with atomic_write(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt
    assert path.read_bytes() == before and os.listdir(path.parent) == ["checkpoint.npz"]
