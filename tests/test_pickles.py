"""Pickles of strangers: arrays come out of them, and nothing runs."""

import io
import os
import pickle
import random
import tracemalloc

import numpy as np
import pytest

from tinyddpm.pickles import ARRAY_MAKERS, read_pickle

# {"labels": [6, 9], "data": bytes (2, 3)}, as Python 2 wrote CIFAR-10's
PYTHON_2 = (
    b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03(K\x06K\x09eU\x04dataq\x04"
    b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07"
    b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87Rq\x09"
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06abc\xfe\xfdftbu."
)
ARRAYS = [
    np.arange(12, dtype=np.uint8).reshape(3, 4),
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    np.arange(5, dtype=">f4"),
    np.zeros((0, 3), np.int64),
]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", ARRAYS, ids=str)
def test_what_numpy_writes_is_read(protocol, array):
    rest = [1, -2, 1 << 40, 2.5, None, True, (), (3,), {"k": "ß" * 300}, list(range(1000))]
    value = read_pickle(pickle.dumps([array, rest], protocol=protocol), ARRAY_MAKERS)
    numbers = value[0].numbers()
    assert numbers.dtype == array.dtype and np.array_equal(numbers, array) and value[1] == rest


def test_what_python_2_wrote_is_read():
    right = pickle.loads(PYTHON_2, encoding="bytes")
    value = read_pickle(PYTHON_2, ARRAY_MAKERS)
    assert value.keys() == right.keys() and value[b"labels"] == [6, 9]
    assert np.array_equal(value[b"data"].numbers(), right[b"data"])


def test_what_lies_beside_a_pickle_is_fetched_by_its_caller():
    """As PyTorch stores its tensors: the numbers of "storage" are in another file."""
    content = b"\x80\x02X\x01\x00\x00\x00aQ."
    assert read_pickle(content, {}, persistent=lambda name: name * 3) == "aaa"
    with pytest.raises(ValueError, match="it wants BINPERSID"):
        read_pickle(content, {})


def test_pickles_one_after_the_other_are_read_from_a_file():
    file = io.BytesIO(pickle.dumps("a", 2) + pickle.dumps([1], 2) + b"rest")
    assert [read_pickle(file, {}) for _ in range(2)] == ["a", [1]] and file.read() == b"rest"


class Evil:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_called_but_what_is_allowed(tmp_path, protocol):
    """CVE-2019-6446 of NumPy, CVE-2025-32434 of PyTorch."""
    for evil in (
        Evil(os.system, f"touch {tmp_path}/here"),
        Evil(eval, f"open({str(tmp_path / 'here')!r}, 'w')"),
        Evil(np.load, "a.npy"),
        Evil(np.testing.assert_equal, 1, 1),
    ):
        with pytest.raises(ValueError, match="no sound pickle of arrays: it wants"):
            read_pickle(pickle.dumps(evil, protocol=protocol), ARRAY_MAKERS)
    assert not any(tmp_path.iterdir())


HOSTILE = {
    "nothing": b"",
    "no end": b"\x80\x02K\x01",
    "an empty stack": b"\x80\x02.",
    "two values": b"\x80\x02K\x01K\x02.",
    "a place far away in memory": b"\x80\x02Kar\xff\xff\xff\xff",
    "a text of 2 GB": b"\x80\x02X\xff\xff\xff\x7fa.",
    "bytes without end": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa.",
    "a frame without end": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fK\x01",
    "a key that nests": b"\x80\x02}" + b"K\x01" + b"\x85" * 50_000 + b"K\x01s.",
    "a list as a key": b"\x80\x02}]K\x01s.",
    "bytes of any size": b"\x80\x02c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.",
    "no mark": b"\x80\x02K\x01t.",
    "what it never stored": b"\x80\x02h\x07.",
    "an extension": b"\x80\x02\x82\x01.",
    "an attribute": b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93}\x8c\x01ax\x01s.",
    "a number as function": b"\x80\x02K\x01)R.",
    "no arguments": b"\x80\x02cnumpy\nndarray\nK\x01R.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_in_a_sentence_and_in_little_memory(name):
    tracemalloc.start()
    with pytest.raises(ValueError) as error:
        read_pickle(HOSTILE[name], ARRAY_MAKERS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(error.value)) < 300 and peak < 10_000_000


@pytest.mark.parametrize("state", [
    None, (), (1, (10**9,), "u1", False, b"abc"), (1, (3,), "O", False, b"abc"),
    (1, (-1, 0), "u1", False, b""), (1, "abc", "u1", False, b"abc"), (1, (3,), "u1", False, 7),
    (1, (3,), "V3", False, b"abc"), (1, (3,), "u1,u1", False, b"abc"),
], ids=str)  # fmt: skip
def test_arrays_that_do_not_fit_their_bytes_are_refused(state):
    array = ARRAY_MAKERS["numpy ndarray"]()
    if state:
        state = (*state[:2], ARRAY_MAKERS["numpy dtype"](state[2]), *state[3:])
    array.set_state(state)
    with pytest.raises(ValueError, match="no sound array in the pickle") as error:
        array.numbers()
    assert len(str(error.value)) < 300


def test_damaged_pickles_give_a_value_or_a_sentence():
    rng = random.Random(0)
    for _ in range(2000):
        damaged = bytearray(PYTHON_2)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            value = read_pickle(bytes(damaged), ARRAY_MAKERS)
            if isinstance(value, dict) and hasattr(value.get(b"data"), "numbers"):
                value[b"data"].numbers()
        except ValueError as error:
            assert len(str(error)) < 300
