"""Files that are whole or not there at all, and the one file that a training run needs to go on."""

import json
import os
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

FORMAT = 1


class Checkpoint(NamedTuple):
    """Flat arrays by name, and everything else about a run as JSON values."""

    arrays: dict
    meta: dict


@contextmanager
def whole_file(path):
    """A binary file to write into: `path` gets all of it or, whatever happens, stays as it was.

        with whole_file("picture.png") as file: ...

    What is written goes into a file beside it, onto the disk, and only then under the name. Missing
    folders are made. Raises OSError if that fails; nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            yield file
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
    """Write arrays {name: array} and `meta` (JSON values) as one .npz file; see `whole_file`.

    The same content gives the same bytes.
    """
    facts = {"format": FORMAT, "arrays": list(arrays), "meta": meta}
    text = np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8)
    with whole_file(path) as file:
        np.savez(file, facts=text, **arrays)


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote; every byte of the content is checked against its CRC-32.

    Raises     FileNotFoundError; ValueError that names the file if it is damaged or something else
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
        if bad:
            raise ValueError(f"the checksum of {bad} is wrong")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(arrays.pop("facts").tobytes())
        if facts["format"] == FORMAT and facts["arrays"] != list(arrays):
            raise ValueError("arrays are missing")
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib, NumPy and json have a dozen ways to say "damaged"
        raise ValueError(
            f"{path} is not a whole checkpoint ({error}); use another copy or start the run anew"
        ) from None
    if facts["format"] != FORMAT:
        raise ValueError(f"{path} was written by another version: this one reads format {FORMAT}")
    return Checkpoint(arrays, facts["meta"])
