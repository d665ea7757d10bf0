"""Damaged files from strangers: `python tests/fuzz.py` makes many more of them."""

import gzip
import json

import fuzz
import numpy as np
import pytest

from tinyddpm.data.arrays import load_arrays
from tinyddpm.interop.folders import CONFIG, SCHEDULER


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
