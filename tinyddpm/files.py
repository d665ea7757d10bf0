"""Files that are whole or not there at all."""

import os
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path):
    """A binary file to write into: `path` gets all of it or, whatever happens, stays as it was.

        with atomic_write("picture.png") as file: ...

    What is written goes into a file beside it, onto the disk, and only then under the name. Missing
    folders are made. Raises OSError if that fails; nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    with suppress(OSError, AttributeError):  # not every system can
        _sync_folder(path.parent)


def free_path(path):
    """`path`, or with -2, -3, ... before its ending if there is such a file already."""
    path, number = Path(path), 1
    free = path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free


def _sync_folder(folder):
    """Bring the names in a folder onto the disk."""
    handle = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
