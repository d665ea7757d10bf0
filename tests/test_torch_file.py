"""Files of PyTorch: read if they are tensors with names; whatever else is in them never runs."""

import os
import pickle
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from tinyddpm import read_torch
from tinyddpm.interop import torch_file

FILES = Path(__file__).parent / "torch_files"
BOTH = ["zipped.pth", "before_zip.pth"]  # since PyTorch 1.6, and before
GRID = np.arange(30, dtype=np.float32).reshape(6, 5)
KINDS = ("float64", "float16", "int64", "int32", "int16", "int8", "uint8")
ARRAYS = {
    **{kind: np.arange(1, 4).astype(kind) for kind in KINDS},
    "bfloat16": np.float32([1.5, -2, 3e38 / 2**8]),
    "transposed": GRID.T,
    "cut": GRID[1:3, ::2],
    "weight": np.float32([[1, 2]]),
    "number": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
    "ä.β": np.ones(1, np.float32),
}


@pytest.mark.parametrize("name", BOTH)
def test_what_pytorch_writes_is_read(name):
    arrays = read_torch(FILES / name)
    assert arrays.keys() == ARRAYS.keys()
    for key, wanted in ARRAYS.items():
        assert arrays[key].dtype == wanted.dtype and arrays[key].shape == wanted.shape
        error = 2**-8 if key == "bfloat16" else 0
        assert np.allclose(arrays[key], wanted, rtol=error, atol=0)
        with pytest.raises(ValueError, match="read-only"):
            arrays[key][...] = 0


def zipped(pickled, others=(), compression=zipfile.ZIP_STORED):
    """A file as PyTorch lays it out, with this pickle."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        for name, content in others:
            file.writestr(name, content)
    return stream.getvalue()


def before_zip(pickled):
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(value, 2) for value in head) + pickled + pickle.dumps([], 2)


class Evil:
    """As a pickle: the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("wrapped", [zipped, before_zip])
@pytest.mark.parametrize("function", [os.system, eval, pickle.loads, getattr])
def test_a_file_that_calls_something_is_refused_and_nothing_runs(
    protocol, wrapped, function, tmp_path
):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    arguments = {
        os.system: (f"touch {trace}",),
        eval: (f"open({str(trace)!r}, 'w')",),
        pickle.loads: (pickle.dumps(Evil(os.system, f"touch {trace}")),),
        getattr: ("text", "upper"),
    }[function]
    path.write_bytes(wrapped(pickle.dumps({"weight": Evil(function, *arguments)}, protocol)))
    with pytest.raises(ValueError, match="cannot be read as tensors of PyTorch: ") as caught:
        read_torch(path)
    assert not trace.exists() and len(str(caught.value)) < 300
    if protocol == 2:
        assert f"{function.__name__}'" in str(caught.value)  # it says what the file asked for


def test_what_is_no_tensor_is_refused_by_name(tmp_path):
    path = tmp_path / "some.pth"
    for value, sentence in (
        ({"epoch": 3}, "under 'epoch' it holds no tensor, but a thing of type int"),
        ({"model": {}}, "under 'model' it holds no tensor, but a thing of type dict"),
        ({3: ()}, "under 3 it holds"),
        ([1, 2], "no dictionary of tensors"),
        ({"x" * 1000: 1}, "under 'xxx.*xxx' it holds no tensor, but a thing of type int"),
    ):
        for wrapped in (zipped, before_zip):
            path.write_bytes(wrapped(pickle.dumps(value, 2)))
            with pytest.raises(ValueError, match=sentence) as caught:
                read_torch(path)
            assert len(str(caught.value).replace(str(path), "")) < 300


def test_files_that_are_none_of_pytorch_are_refused(tmp_path):
    path, empty = tmp_path / "some.pth", pickle.dumps({}, 2)
    for content, sentence in (
        (b"", "exhausted"),
        (b"GIF89a", "cannot be read as tensors"),
        (pickle.dumps({}, 2), "exhausted"),
        (pickle.dumps(1, 2) + pickle.dumps(2, 2), "does not begin like a file of torch.save"),
        (zipped(empty, compression=zipfile.ZIP_DEFLATED), "compressed"),
        (zipped(empty, [("other/data.pkl", empty)]), "2 data.pkl"),
        (zipped(empty, [("archive/byteorder", b"big")]), "big-endian"),
        (before_zip(empty).replace(b"\x88", b"\x89", 1), "big-endian"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=sentence):
            read_torch(path)
    with pytest.raises(FileNotFoundError):
        read_torch(tmp_path / "none.pth")


def test_a_deep_pickle_is_no_danger(tmp_path):
    """Python itself falls over when it hashes, compares or prints a tuple in so many others."""
    deep = b")" + b"\x85" * 100_000
    for pickled in (b"}" + deep + b"K\x01s.", deep + b")R."):  # as a name, and as a function
        (tmp_path / "deep.pth").write_bytes(zipped(pickled))
        with pytest.raises(ValueError):
            read_torch(tmp_path / "deep.pth")


def numbered_tensor(offset, shape, strides, size):
    """A pickle of one tensor that lies like this in a storage of four numbers."""
    from_torch = lambda module, name: f"c{module}\n{name}\n".encode()  # noqa: E731
    storage = b"(X\x07\x00\x00\x00storage" + from_torch("torch", "FloatStorage")
    storage += pickle.dumps(("0", "cpu", size), 2)[2:-1].replace(b"\x87", b"") + b"tQ"
    place = b"".join(pickle.dumps(value, 2)[2:-1] for value in (offset, shape, strides, False))
    hooks = from_torch("collections", "OrderedDict") + b")R"
    call = from_torch("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + place + hooks + b"tR"
    return b"\x80\x02}X\x01\x00\x00\x00a" + call + b"s."


@pytest.mark.parametrize(
    "offset, shape, strides, size",
    [
        (0, (5,), (1,), 4), (1, (4,), (1,), 4), (0, (2, 2), (3, 1), 4), (-1, (2,), (1,), 4),
        (0, (2,), (-1,), 4), (0, (10**6,), (0,), 4), (0, (2**40, 2**40), (0, 0), 4),
        (0, (2,), (2**62,), 4), (0, (4,), (1,), 5), (0, (4,), (1,), 2**40), (0, (4,), (1, 1), 4),
        (0, (1,) * 70, (1,) * 70, 4), (0.0, (4,), (1,), 4), (0, ("4",), (1,), 4),
    ],
)  # fmt: skip
def test_no_tensor_reaches_beyond_its_numbers(offset, shape, strides, size, tmp_path):
    path, numbers = tmp_path / "some.pth", [("archive/data/0", np.arange(4.0, dtype="<f4"))]
    path.write_bytes(zipped(numbered_tensor(1, (3,), (1,), 4), numbers))
    assert read_torch(path)["a"].tolist() == [1, 2, 3]
    path.write_bytes(zipped(numbered_tensor(offset, shape, strides, size), numbers))
    with pytest.raises(ValueError, match="cannot be read as tensors"):
        read_torch(path)


@pytest.mark.parametrize("name", BOTH)
def test_damage_gives_a_sentence_and_takes_no_more_memory_than_the_file(name, tmp_path):
    sound, rng = (FILES / name).read_bytes(), np.random.default_rng(7)
    path, refused = tmp_path / "some.pth", 0
    tracemalloc.start()
    for trial in range(250):
        content = bytearray(sound[: rng.integers(len(sound))] if trial % 4 == 0 else sound)
        for place in rng.integers(0, max(1, len(content)), rng.integers(1, 5)):
            content[place : place + 1] = rng.bytes(rng.integers(3))
        path.write_bytes(content)
        try:
            read_torch(path)
        except (ValueError, OSError) as error:
            refused += 1
            assert len(str(error)) < 300
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 125 and most < 1_000_000


@pytest.mark.parametrize("number", [-1, 1 << 48, 1.0, True, "1"])
def test_what_counts_nothing_is_no_size(number):
    assert torch_file._counts([0, (1 << 48) - 1]) == (0, (1 << 48) - 1)
    with pytest.raises(ValueError, match="its pickle is damaged"):
        torch_file._counts([2, number])
