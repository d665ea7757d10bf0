"""safetensors files: named arrays behind a header, and nothing that could run.

    8 bytes     N, the length of the header, as a little-endian number
    N bytes     the header, a JSON object in UTF-8 that spaces may follow:
                {"__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets"}, ...}
    the rest    the arrays, little-endian, one right behind the other

The two data_offsets are where an array begins and ends, counted from the end of the header.
Source     the format's description by Hugging Face
"""

import json
import math
import os

import numpy as np

from .doors import brief
from .files import atomic_write

WRITTEN = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
DTYPES = {**WRITTEN, "BF16": np.dtype("<u2")}  # bfloat16 is the upper half of a float32
LONGEST_HEADER = 100_000_000  # bytes


def read_safetensors(path):
    """The arrays {name: array} and the metadata {text: text} of a file.

    Everything that the header says is checked against the file's size before room is made for it.
    There are no checksums: damaged numbers are not noticed. What is bfloat16 becomes float32.
    Raises     OSError if it cannot be opened; ValueError that names the file if it is damaged, or
               holds other numbers than floats of 16, 32 or 64 bits
    """
    with open(path, "rb") as file:
        try:
            header, size = _read_header(file)
            metadata = header.pop("__metadata__", {})
            _check_metadata(metadata)
            return _read_arrays(file, header, size), metadata
        except ValueError as error:
            raise ValueError(f"{path} cannot be read as safetensors: {brief(error)}") from None


def write_safetensors(path, arrays, metadata):
    """Write arrays {name: array} and metadata {text: text} as one file; see `atomic_write`.

    The same content gives the same bytes: the widest numbers first, which aligns all, then by name.
    Raises     ValueError for what such a file cannot hold; OSError if it cannot be written
    """
    _check_metadata(metadata)
    header, size = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}, 0
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    codes = {dtype: code for code, dtype in WRITTEN.items()}
    for name in names:
        array = arrays[name]
        if name == "__metadata__" or array.dtype not in codes:
            raise ValueError(
                f"an array {name!r} of {array.dtype}: choose from {', '.join(map(str, codes))}, "
                "and any name but __metadata__"
            )
        offsets = [size, size + array.nbytes]
        code, shape, size = codes[array.dtype], list(array.shape), offsets[1]
        header[name] = {"dtype": code, "shape": shape, "data_offsets": offsets}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(arrays[name].tobytes())


def _no_number(text):
    raise ValueError(f"{text} is no number in JSON")


def read_json(text, constant=_no_number):
    """The JSON object in some bytes; ValueError for anything else, or if a name comes twice.

    constant   what makes a number of NaN, Infinity and -Infinity, which some write nevertheless
    """
    try:
        value = json.loads(
            text.decode("utf-8-sig"), object_pairs_hook=_named_once, parse_constant=constant
        )
        json.dumps(value, ensure_ascii=False).encode()  # fails on half a character, such as \ud800
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    if type(value) is not dict:
        raise ValueError("its JSON is no object")
    return value


def _named_once(pairs):
    values = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"the name {name!r} comes twice")
        values[name] = value
    return values


def _read_header(file):
    """The header, and how many bytes follow it."""
    size = os.fstat(file.fileno()).st_size - 8
    length = int.from_bytes(file.read(8), "little")
    if size < 2:
        raise ValueError(f"{size + 8} bytes are too few for a header")
    if length > min(size, LONGEST_HEADER):
        raise ValueError(f"a header of {length:,} bytes: {size:,} follow, {LONGEST_HEADER:,} may")
    text = file.read(length)
    if text[:1] != b"{" or text.rstrip(b" ")[-1:] != b"}":
        raise ValueError("its header is not from { to } with spaces behind")
    return read_json(text), size - length


def _check_metadata(metadata):
    texts = [*metadata, *metadata.values()] if type(metadata) is dict else [metadata]
    if not all(type(text) is str for text in texts):
        raise ValueError("its __metadata__ should be texts with names")


def _read_arrays(file, header, size):
    """The arrays as they lie in the file; ValueError unless they fill its last `size` bytes."""
    for name, entry in header.items():
        _check_entry(name, entry)
    names, position = sorted(header, key=lambda name: header[name]["data_offsets"]), 0
    for name in names:
        begin, end = header[name]["data_offsets"]
        if begin != position:
            raise ValueError(f"{name!r} begins at {begin:,}, but it is the turn of {position:,}")
        position = end
    if position != size:
        raise ValueError(f"its arrays have {position:,} bytes, but {size:,} follow the header")
    arrays = {}
    for name in names:
        code, shape = header[name]["dtype"], header[name]["shape"]
        numbers = np.fromfile(file, DTYPES[code], math.prod(shape)).reshape(shape)
        arrays[name] = from_bfloat16(numbers) if code == "BF16" else numbers
    return arrays


def from_bfloat16(numbers):
    """The float32 numbers of which these, of uint16, are the upper halves."""
    return np.left_shift(numbers, 16, dtype=np.uint32).view(np.float32)


def _check_entry(name, entry):
    """ValueError unless what the header says about an array makes sense by itself."""
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} should have dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(dtype) is not str or dtype not in DTYPES:
        raise ValueError(f"the dtype of {name!r} is {dtype!r}: choose from {', '.join(DTYPES)}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"shape and data_offsets of {name!r} should be whole numbers from 0 on")
    begin, end = offsets
    if begin + math.prod(shape) * DTYPES[dtype].itemsize != end:
        raise ValueError(f"{name!r} is {dtype} of shape {shape}, but has {end - begin:,} bytes")


def _are_counts(values):
    """Whether it is a list of so many numbers, each so large, as the shape of an array may have."""
    short = type(values) is list and len(values) <= 64
    return short and all(type(n) is int and 0 <= n < 2**63 for n in values)
