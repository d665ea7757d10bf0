"""Damaged files from strangers: `python tests/fuzz.py` makes many more of them."""

import gzip

import fuzz
import numpy as np
import pytest

from tinyddpm.data.arrays import load_arrays


@pytest.mark.parametrize("reader", fuzz.READERS)
def test_damaged_files_are_refused_in_a_sentence(reader):
    bad = [f"number {number}: {said}" for number, _, said in fuzz.fuzz(reader, count=100)]
    assert not bad, bad[0]


def test_an_idx_file_that_promises_too_much_is_refused_at_once(tmp_path):
    header = bytes([0, 0, 8, 3]) + np.array([1 << 20, 1 << 10, 1 << 10], ">u4").tobytes()
    path = tmp_path / "train-images-idx3-ubyte"
    for content in (header + bytes(100), gzip.compress(header + bytes(100))):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="do not fit into"):
            load_arrays(path)
