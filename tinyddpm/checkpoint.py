"""The file format of checkpoints; `Run.save` says which arrays and settings go into one."""

import json
import zipfile
from typing import NamedTuple

import numpy as np

from .files import atomic_write

FORMAT = 2


class Checkpoint(NamedTuple):
    """Arrays by name, and everything else about a run as JSON values."""

    arrays: dict
    meta: dict


def save_checkpoint(path, arrays, meta):
    """Write arrays {name: array} and `meta` (JSON values) as one .npz file; see `atomic_write`.

    The same content gives the same bytes.
    """
    facts = {"format": FORMAT, "arrays": list(arrays), "meta": meta}
    text = np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8)
    with atomic_write(path) as file:
        np.savez(file, facts=text, **arrays)


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote; every byte of the content is checked against its CRC-32.

    Raises     OSError if it cannot be opened; ValueError that names the file if it is damaged
    """
    with open(path, "rb") as file:
        try:
            facts, arrays = _read(file)
        except Exception as error:  # zipfile, zlib, NumPy, json: a dozen ways to say "damaged"
            raise ValueError(
                f"{path} is not a whole checkpoint ({error}); use another copy or start anew"
            ) from None
    if facts["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {facts['format']}, but this version reads format {FORMAT}: "
            "use it with the version that wrote it, or train again"
        )
    return Checkpoint(arrays, facts["meta"])


def _read(file):
    """The facts and arrays in an open checkpoint; some exception if anything is wrong with it."""
    with zipfile.ZipFile(file) as archive:
        bad = archive.testzip()
    if bad:
        raise ValueError(f"the checksum of {bad} is wrong")
    file.seek(0)
    with np.load(file, allow_pickle=False) as entries:
        arrays = {name: entries[name] for name in entries.files}
    facts = json.loads(arrays.pop("facts").tobytes())
    if facts["format"] == FORMAT and facts["arrays"] != list(arrays):
        raise ValueError("arrays are missing")
    return facts, arrays
