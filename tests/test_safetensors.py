"""A safetensors file is read only if it keeps every promise of its format."""

import json
import os
import tracemalloc

import numpy as np
import pytest

from tinyddpm import read_safetensors, write_safetensors

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.linspace(0, 1, 5, dtype=np.float16),
    "double": np.linspace(-1, 1, 3),
    "scalar": np.float32([[7]])[0, 0, ...],
    "empty": np.zeros((0, 4), np.float32),
    "ä.β": np.ones(1, np.float32),
}
METADATA = {"format": "pt", "made": "by hand"}
PAIR = {  # a header for 8 bytes
    "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    "b": {"dtype": "F16", "shape": [2, 1], "data_offsets": [4, 8]},
}


def packed(header, content=bytes(8)):
    """A file from a header (a dictionary, or its bytes) and what follows it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def changed(name, **change):
    return {**PAIR, name: {**PAIR[name], **change}}


@pytest.fixture
def path(tmp_path):
    write_safetensors(tmp_path / "folder" / "some.safetensors", ARRAYS, METADATA)
    return tmp_path / "folder" / "some.safetensors"


def same(arrays, wanted):
    return arrays.keys() == wanted.keys() and all(
        arrays[name].dtype == array.dtype
        and arrays[name].shape == array.shape
        and arrays[name].tobytes() == array.tobytes()
        for name, array in wanted.items()
    )


def test_what_is_written_is_read(path):
    arrays, metadata = read_safetensors(path)
    assert metadata == METADATA and same(arrays, ARRAYS)
    assert all(array.flags.writeable and array.flags.aligned for array in arrays.values())


def test_any_order_of_axes_and_no_array_at_all(path):
    turned = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)[::2]
    write_safetensors(path, {"turned": turned}, {})
    arrays, metadata = read_safetensors(path)
    assert np.array_equal(arrays["turned"], turned) and metadata == {}
    write_safetensors(path, {}, {})
    assert read_safetensors(path) == ({}, {})


def test_the_same_content_gives_the_same_aligned_bytes(path):
    before = path.read_bytes()
    turned_round = [dict(reversed(things.items())) for things in (ARRAYS, METADATA)]
    write_safetensors(path, *turned_round)
    assert path.read_bytes() == before
    assert int.from_bytes(before[:8], "little") % 8 == 0
    assert os.listdir(path.parent) == ["some.safetensors"]


def test_a_file_byte_by_byte(path):
    write_safetensors(path, {"b": np.float32([1]), "a": np.float16([2])}, {})
    text = b'{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
    text += b'"a":{"dtype":"F16","shape":[1],"data_offsets":[4,6]}}'
    wanted = b"\x70" + bytes(7) + text.ljust(0x70) + b"\x00\x00\x80\x3f" + b"\x00\x40"
    assert path.read_bytes() == wanted


def test_every_truncation_is_refused_by_name(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="some.safetensors cannot be read as safetensors: "):
            read_safetensors(path)


def test_a_flipped_bit_in_any_byte_of_the_header_is_refused_or_harmless(path):
    whole, refused = path.read_bytes(), 0
    length = 8 + int.from_bytes(whole[:8], "little")
    for i in range(8 * length):
        damaged = bytearray(whole)
        damaged[i // 8] ^= 1 << i % 8
        path.write_bytes(damaged)
        try:
            arrays, _ = read_safetensors(path)
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
        else:  # another name, another text, or another shape of the same size
            assert sum(array.nbytes for array in arrays.values()) == len(whole) - length
    assert refused > 0.6 * 8 * length


BROKEN = {
    "nothing": (b"", "0 bytes are too few for a header"),
    "only a length": (bytes(8), "8 bytes are too few"),
    "no header": (packed(b""), "not from { to }"),
    "a header longer than the file": (packed(PAIR)[:40], "a header of 125 bytes: 32 follow"),
    "a header beyond the limit": (
        (100_000_001).to_bytes(8, "little") + b"{}" + bytes(8),
        "100,000,001 bytes: 10 follow, 100,000,000 may",
    ),
    "space in front": (packed(b" " + json.dumps(PAIR).encode()), "not from { to }"),
    "a line's end behind": (packed(json.dumps(PAIR).encode() + b"\n"), "not from { to }"),
    "zeros behind": (packed(json.dumps(PAIR).encode() + b"\0"), "not from { to }"),
    "a list": (packed(b"[]"), "not from { to }"),
    "two objects": (packed(b"{} {}"), "Extra data"),
    "no JSON": (packed(b"{a: 1}"), "Expecting property name"),
    "no UTF-8": (packed(b'{"\xff": 1}'), "can't decode byte 0xff"),
    "another coding": (packed(json.dumps(PAIR).encode("utf-16-le")), "not from { to }"),
    "a name twice": (
        packed(b'{"a": 1, "a": 2}'),
        "the name 'a' comes twice",
    ),
    "a key twice": (
        packed(b'{"a": {"dtype": "F32", "dtype": "F32"}}'),
        "the name 'dtype' comes twice",
    ),
    "half a character": (packed(b'{"\\ud800": {}}'), "surrogates not allowed"),
    "no number": (packed(b'{"a": NaN}'), "NaN is no number in JSON"),
    "deep": (packed(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "nested too deeply"),
    "a number with 5,000 digits": (
        packed(json.dumps(PAIR).replace("[1]", f"[{'9' * 5000}]").encode()),
        "digits|whole numbers",
    ),
    "metadata that is a list": (packed({"__metadata__": [], **PAIR}), "__metadata__ should be"),
    "metadata with a number": (packed({"__metadata__": {"a": 1}, **PAIR}), "should be texts"),
    "an entry that is a list": (packed({**PAIR, "b": [4, 8]}), "'b' should have dtype, shape"),
    "an entry without a shape": (
        packed({**PAIR, "b": {"dtype": "F32", "data_offsets": [4, 8]}}),
        "'b' should have dtype, shape",
    ),
    "another key": (packed(changed("b", strides=[1])), "'b' should have dtype, shape"),
    "whole numbers": (packed(changed("a", dtype="I32")), "the dtype of 'a' is 'I32'"),
    "8 bits": (packed(changed("b", dtype="F8_E4M3")), "choose from F16, F32, F64, BF16"),
    "a list of a dtype": (packed(changed("b", dtype=["F32"])), r"dtype of 'b' is \['F32'\]"),
    "a shape that is a number": (packed(changed("a", shape=1)), "shape and data_offsets of 'a'"),
    "a truth value": (packed(changed("a", shape=[True])), "shape and data_offsets of 'a'"),
    "a fraction": (packed(changed("a", shape=[1.0])), "shape and data_offsets of 'a'"),
    "less than none": (packed(changed("b", shape=[-2, -1])), "shape and data_offsets of 'b'"),
    "nothing for a number": (packed(changed("b", data_offsets=[4, None])), "data_offsets of 'b'"),
    "a place below zero": (packed(changed("a", data_offsets=[-4, 0])), "data_offsets of 'a'"),
    "three offsets": (packed(changed("b", data_offsets=[4, 8, 8])), "data_offsets of 'b'"),
    "no offsets": (packed(changed("b", data_offsets=[])), "data_offsets of 'b'"),
    "too many axes": (packed(changed("a", shape=[1] * 65)), "shape and data_offsets of 'a'"),
    "a giant": (packed(changed("a", shape=[2**62])), "but has 4 bytes"),
    "a giant product": (packed(changed("a", shape=[2**40] * 60)), "but has 4 bytes"),
    "a product that is 4 bytes modulo 2**64": (
        packed(changed("a", shape=[922337203685477581, 5])),  # 2**62 + 1 numbers
        "shape .* but has 4 bytes",
    ),
    "a giant of no numbers": (
        packed({"c": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}, **PAIR}),
        "too big",
    ),
    "too few bytes for its shape": (packed(changed("b", shape=[3])), r"\[3\], but has 4 bytes"),
    "an end before the beginning": (packed(changed("b", data_offsets=[8, 4])), "but has -4 bytes"),
    "a beginning that is not 0": (
        packed(changed("a", data_offsets=[4, 8])),
        "but it is the turn of",
    ),
    "an overlap": (
        packed(changed("b", data_offsets=[2, 6])),
        "'b' begins at 2, but it is the turn of 4",
    ),
    "the same place twice": (packed(changed("b", data_offsets=[0, 4])), "but it is the turn of 4"),
    "65 axes": (packed(changed("a", shape=[1] * 65)), "of 'a' should be whole numbers from 0 on"),
    "a hole": (
        packed(changed("b", data_offsets=[6, 10]), bytes(10)),
        "'b' begins at 6, but it is the turn of 4",
    ),
    "a byte too few": (packed(PAIR, bytes(7)), "have 8 bytes, but 7 follow"),
    "a byte too many": (packed(PAIR, bytes(9)), "have 8 bytes, but 9 follow"),
    "no arrays, but bytes": (packed({}, bytes(4)), "have 0 bytes, but 4 follow"),
    "a pickle": (b"\x80\x02ctorch\nload\n", "100,000,000 may"),
    "a ZIP": (b"PK\x03\x04" + bytes(100), "67,324,752 bytes: 96 follow"),
}


@pytest.mark.parametrize("content, sentence", BROKEN.values(), ids=BROKEN)
def test_broken_promises_are_refused_by_name(path, content, sentence):
    path.write_bytes(content)
    sentence = f"some.safetensors cannot be read as safetensors: .*({sentence})"
    with pytest.raises(ValueError, match=sentence) as caught:
        read_safetensors(path)
    assert "\n" not in str(caught.value)


def test_the_unbroken_pair_is_read_with_spaces_behind_its_header(path):
    for spaces in (0, 1, 9):
        path.write_bytes(packed(json.dumps(PAIR).encode() + b" " * spaces))
        arrays, metadata = read_safetensors(path)
        assert arrays["a"] == 0 and arrays["b"].shape == (2, 1) and metadata == {}


def test_no_room_is_made_for_what_a_file_only_claims(path):
    claims = [
        changed("a", shape=[2**40], data_offsets=[0, 2**42]),
        {**PAIR, **{f"x{i}": {**PAIR["a"], "data_offsets": [0, 4]} for i in range(100)}},
    ]
    contents = [packed(claim) for claim in claims]
    contents.append((90_000_000).to_bytes(8, "little") + b"{}" + bytes(8))
    for content in contents:
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(ValueError):
            read_safetensors(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 200_000


def test_an_array_may_have_as_many_axes_as_numpy_knows(path):
    write_safetensors(path, {"a": np.ones((1,) * 64)}, {})
    assert read_safetensors(path)[0]["a"].ndim == 64


def test_reading_takes_no_more_room_than_the_arrays(path):
    write_safetensors(path, {f"{i}": np.zeros(100_000, np.float32) for i in range(20)}, {})
    tracemalloc.start()
    read_safetensors(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.05 * path.stat().st_size


@pytest.mark.parametrize(
    "arrays, metadata, sentence",
    [
        ({"a": np.zeros(2, np.int64)}, {}, "an array 'a' of int64: choose from float16, float32"),
        ({"a": np.zeros(2, ">f4")}, {}, "an array 'a' of >f4"),
        ({"a": np.array([None])}, {}, "an array 'a' of object"),
        ({"__metadata__": np.zeros(2)}, {}, "any name but __metadata__"),
        ({"\ud800": np.zeros(2)}, {}, "surrogates not allowed"),
        ({}, {"step": 1}, "__metadata__ should be texts"),
        ({}, None, "__metadata__ should be texts"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_and_the_old_one_stays(path, arrays, metadata, sentence):
    before = path.read_bytes()
    with pytest.raises(ValueError, match=sentence):
        write_safetensors(path, arrays, metadata)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["some.safetensors"]


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(path, full_disk):
    before = path.read_bytes()
    with pytest.raises(OSError, match="No space left"):
        write_safetensors(path, {"theta": np.zeros(3)}, {})
    assert path.read_bytes() == before and os.listdir(path.parent) == ["some.safetensors"]


def test_a_file_that_is_not_there_says_so(path):
    for absent in (path.with_name("nothing"), path.parent):
        with pytest.raises(OSError):
            read_safetensors(absent)


def test_the_smallest_file_has_no_arrays(tmp_path):
    (tmp_path / "empty.safetensors").write_bytes(packed(b"{}", b""))
    assert read_safetensors(tmp_path / "empty.safetensors") == ({}, {})


def test_a_header_may_have_a_hundred_million_bytes(tmp_path):
    """The file is as long as it says, but for the most part a hole."""
    with open(tmp_path / "hole.safetensors", "wb") as file:
        file.write((100_000_001).to_bytes(8, "little"))
        file.truncate(200_000_000)
    with pytest.raises(ValueError, match="a header of 100,000,001 bytes: .* 100,000,000 may"):
        read_safetensors(tmp_path / "hole.safetensors")
