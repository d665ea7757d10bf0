"""Files that are whole or not there at all, and the one file that a training run needs to go on."""

import io
import json
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

FORMAT = 1


class Checkpoint(NamedTuple):
    """Flat arrays by name, and everything else about a run as JSON values."""

    arrays: dict
    meta: dict


def write_whole(path, content):
    """Write bytes so that `path` holds all of them or, whatever happens, what it held before.

    They go into a file beside it, onto the disk, and only then under the name. Folders are made.
    Raises     OSError; nothing is left behind
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the new name reaches the disk with its folder
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def save_checkpoint(path, arrays, meta):
    """Write arrays {name: array} and `meta` (JSON values) as one .npz file; see `write_whole`.

    The same content gives the same bytes.
    """
    text = json.dumps({"format": FORMAT, **meta}, sort_keys=True)
    buffer = io.BytesIO()
    np.savez(buffer, meta=np.frombuffer(text.encode(), np.uint8), **arrays)
    write_whole(path, buffer.getvalue())


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote; every byte of the content is checked against its CRC-32.

    Raises     FileNotFoundError; ValueError that names the file if it is damaged or something else
    """
    content = Path(path).read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            bad = archive.testzip()
        if bad:
            raise ValueError(f"the checksum of {bad} is wrong")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop("meta").tobytes())
    except Exception as error:  # zipfile, zlib, NumPy and json have a dozen ways to say "damaged"
        raise ValueError(
            f"{path} is not a whole checkpoint ({error}); use another copy or start the run anew"
        ) from None
    if meta.pop("format", None) != FORMAT:
        raise ValueError(f"{path} was written by another version: this one reads format {FORMAT}")
    return Checkpoint(arrays, meta)
