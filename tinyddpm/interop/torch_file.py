"""Weights that PyTorch saved, read without PyTorch: arrays with names, and nothing that could run.

A .pth or .bin is a pickle with numbers behind it; see `read_pickle`. All that the pickle may make
is notes on where in these numbers each tensor lies.

    since PyTorch 1.6    a zip file: NAME/data.pkl, and the numbers of each storage in NAME/data/KEY
    before               five pickles: a magic number, a version, facts about the machine, the
                         dictionary, the keys of the storages; then for each key how many numbers
                         there are, as 8 bytes, and the numbers
"""

import io
import math
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..doors import brief
from ..pickles import read_pickle
from ..safetensors import from_bfloat16

DTYPES = {
    "Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": "<u2",
    "Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "<i1", "Byte": "<u1",
}  # fmt: skip
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the format before 1.6


class _Storage(NamedTuple):
    kind: str
    key: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple


def read_torch(path):
    """The tensors {name: array} of a file in which torch.save wrote a dictionary of tensors.

    The arrays are read-only; bfloat16 becomes float32. The memory needed is twice the file's
    size, for bfloat16 four times, whatever the file says.
    Raises     OSError if it cannot be opened; ValueError that names the file and says what is wrong
               with it, or what it holds that is no tensor
    """
    content = Path(path).read_bytes()
    try:
        tensors, numbers = (_read_zip if content[:2] == b"PK" else _read_before_zip)(content)
        return {name: _array(tensor, numbers) for name, tensor in tensors.items()}
    except Exception as error:  # damage shows in more ways than can be listed
        why = brief(error) if isinstance(error, ValueError) else "it is damaged"
        raise ValueError(f"{path} cannot be read as tensors of PyTorch: {why}") from None


def _read_zip(content):
    """The tensors {name: _Tensor}, and the numbers {key: array} of their storages."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        entries = file.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its parts are compressed, and PyTorch's are not")
        if sum(entry.file_size for entry in entries) > len(content):
            raise ValueError("its parts are larger than the whole")
        pickles = [name for name in file.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"a zip file with {len(pickles)} data.pkl, not 1")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in file.namelist() and file.read(f"{folder}byteorder") != b"little":
            raise ValueError("a big-endian machine wrote it")
        tensors, storages = _tensors(_read_pickle(io.BytesIO(file.read(pickles[0]))))
        return tensors, {
            key: _numbers(file.read(f"{folder}data/{key}"), storage)
            for key, storage in storages.items()
        }


def _read_before_zip(content):
    stream, numbers = io.BytesIO(content), {}
    if [_read_pickle(stream) for _ in range(2)] != [MAGIC, VERSION]:
        raise ValueError("it does not begin like a file of torch.save")
    if _read_pickle(stream)["little_endian"] is not True:
        raise ValueError("a big-endian machine wrote it")
    tensors, storages = _tensors(_read_pickle(stream))
    for key in _read_pickle(stream):
        if type(key) is not str:
            raise ValueError("its pickle is damaged")
        storage = storages[key]
        stream.seek(8, io.SEEK_CUR)  # how many numbers: checked by what there is for each key
        size = storage.size * np.dtype(DTYPES[storage.kind]).itemsize
        begin = stream.tell()
        numbers[key] = _numbers(content[begin : begin + size], storage)
        stream.seek(begin + size)
    return tensors, numbers


def _tensors(value):
    """A dictionary of tensors, checked, and their storages by key."""
    if type(value) is not dict:
        raise ValueError("it holds no dictionary of tensors")
    for name, tensor in value.items():
        if type(name) is not str or type(tensor) is not _Tensor:
            kind = type(tensor).__name__
            raise ValueError(f"under {name!r} it holds no tensor, but a thing of type {kind}")
    return value, {tensor.storage.key: tensor.storage for tensor in value.values()}


def _numbers(content, storage):
    numbers = np.frombuffer(content, DTYPES[storage.kind])
    if len(numbers) != storage.size:
        raise ValueError(f"{storage.size} numbers should be where {len(numbers)} are")
    if storage.kind == "BFloat16":
        numbers = from_bfloat16(numbers)
        numbers.flags.writeable = False
    return numbers


def _array(tensor, numbers):
    numbers, shape = numbers[tensor.storage.key], tensor.shape
    if math.prod(shape) > len(numbers):
        raise ValueError(f"a tensor {shape} lies in {len(numbers)} numbers")
    offset, *strides = (numbers.itemsize * n for n in (tensor.offset, *tensor.strides))
    return np.ndarray(shape, numbers.dtype, numbers, offset, strides)  # refuses to leave `numbers`


def _read_pickle(stream):
    return read_pickle(stream, MAKERS, _storage)


def _storage(about):
    """From what stands for a storage: ("storage", kind, key, where it was, how many numbers)."""
    word, kind, key, _, size, *view = about
    if word != "storage" or type(kind) is not str or type(key) is not str or any(view):
        raise ValueError("its pickle is damaged")
    return _Storage(kind, key, *_counts([size]))


def _tensor(storage, offset, shape, strides, _, notes):
    if type(storage) is not _Storage or len(shape) != len(strides):
        raise ValueError("its pickle is damaged")
    return _Tensor(storage, *_counts([offset]), _counts(shape), _counts(strides))


def _counts(numbers):
    if not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise ValueError("its pickle is damaged")
    return tuple(numbers)


MAKERS = {
    "collections OrderedDict": lambda: {},
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *_: tensor,
} | {f"torch {kind}Storage": kind for kind in DTYPES}
