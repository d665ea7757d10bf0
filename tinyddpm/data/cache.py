"""Where data sets are kept, and how they get there: once, and verified each time."""

import os
from pathlib import Path

from ..files import atomic_write
from .download import DataUnavailable, fetch


def data_folder(folder=None):
    """Where data sets are kept: the first of these that is set.

    `folder`, $TINYDDPM_DATA, $XDG_CACHE_HOME/tinyddpm, ~/.cache/tinyddpm
    """
    folder = folder or os.environ.get("TINYDDPM_DATA")
    if folder:
        return Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tinyddpm"


def obtain(paths, urls, size, parse):
    """`parse(content)` for the first of `paths` that is sound, else for a download of `size` bytes.

    `parse` raises a ValueError for content that is not what it should be. What is fetched from one
    of `urls` is kept at the first path; a damaged file that is there gets another name.
    Raises     DataUnavailable if it cannot be had at all
    """
    damage = ""
    for path in paths:
        if path.exists():
            try:
                return parse(path.read_bytes())
            except (ValueError, OSError) as error:
                damage = f"{path} is damaged or another file ({error}); "
    try:
        content, parsed = fetch(paths[0].name, urls, size, parse)
    except DataUnavailable as error:
        raise DataUnavailable(f"{damage}{error}") from None
    _keep(paths[0], content)
    return parsed


def _keep(path, content):
    """Put a download into the cache; a file that is in its way gets another name."""
    try:
        if path.exists():
            path.replace(path.with_name(path.name + ".damaged"))
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        print(f"{path} could not be written ({error}): the download will be needed again")
