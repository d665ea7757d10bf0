"""The file of a checkpoint: safetensors with all settings and a checksum in its metadata.

Which arrays and settings go into one says `Run.save`. Those that older versions wrote, .npz, are
still read.
"""

import hashlib
import json
import os
import zipfile
from typing import NamedTuple

import numpy as np

from .doors import brief
from .safetensors import read_safetensors, write_safetensors

FORMAT = "tinyddpm 3"


class Checkpoint(NamedTuple):
    """Arrays by name, and everything else about a run as JSON values."""

    arrays: dict
    meta: dict


def save_checkpoint(path, arrays, meta):
    """Write arrays {name: array} and `meta` {name: JSON value} as one file; see `atomic_write`.

    The same content gives the same bytes.
    """
    metadata = {name: json.dumps(value, sort_keys=True) for name, value in meta.items()}
    metadata["format"] = FORMAT
    write_safetensors(path, arrays, {**metadata, "sha256": _digest(arrays, metadata)})


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote; every byte of the content is checked.

    It takes no more memory than the file has bytes.
    Raises     OSError if it cannot be opened; ValueError that names the file if it is damaged
    """
    with open(path, "rb") as file:
        old = file.read(4) == b"PK\3\4"
    arrays, metadata = _read_npz(path) if old else read_safetensors(path)
    if metadata.pop("format", None) != FORMAT:
        raise ValueError(
            f"{path} is no checkpoint, or not of the format {FORMAT!r} that this version reads: "
            "use it with the version that wrote it, or train again"
        )
    if not old and metadata.pop("sha256", None) != _digest(arrays, {**metadata, "format": FORMAT}):
        raise _damaged(path, "its content does not have the checksum that it should have")
    try:
        return Checkpoint(arrays, {name: json.loads(text) for name, text in metadata.items()})
    except (ValueError, RecursionError):
        raise _damaged(path, "its metadata is not JSON") from None


def _damaged(path, reason):
    return ValueError(f"{path} is not a whole checkpoint ({reason}): use a copy or start anew")


def _digest(arrays, metadata):
    """The sha256 of all names, dtypes, shapes, texts and numbers."""
    shapes = {name: [array.dtype.str, *array.shape] for name, array in arrays.items()}
    digest = hashlib.sha256(json.dumps([metadata, shapes], sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _read_npz(path):
    """The arrays and the metadata of an old checkpoint, whose content has CRC-32 checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > os.path.getsize(path):
                raise ValueError("it is compressed, and none of ours was")
            if bad := archive.testzip():
                raise ValueError(f"the checksum of {bad} is wrong")
        with np.load(path, allow_pickle=False) as entries:
            arrays = {name: entries[name] for name in entries.files}
        facts = json.loads(arrays.pop("facts").tobytes())
        if facts["format"] == 2 and facts["arrays"] != list(arrays):
            raise ValueError("arrays are missing")
        meta = {name: json.dumps(value) for name, value in facts["meta"].items()}
        return arrays, {**meta, "format": FORMAT if facts["format"] == 2 else ""}
    except Exception as error:  # zipfile, zlib, NumPy, json: a dozen ways to say "damaged"
        raise _damaged(path, brief(error)) from None
