"""Where data sets are kept, what lies there, and how they get there: once, and verified."""

import io
import os
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Callable, NamedTuple

from ..doors import brief
from ..files import atomic_write, numbered
from .download import DataUnavailable, fetch

DEPTH = 4  # folders inside one another that are looked into
MOST = 10_000  # entries of folders that are looked at


def data_folder(folder=None):
    """Where data sets are kept: the first of these that is set.

    `folder`, $TINYDDPM_DATA, $XDG_CACHE_HOME/tinyddpm, ~/.cache/tinyddpm
    Raises     DataUnavailable if that is a file, or nobody's home
    """
    named, cache = folder or os.environ.get("TINYDDPM_DATA"), os.environ.get("XDG_CACHE_HOME")
    place = Path(named or (Path(cache) if cache else Path("~/.cache")) / "tinyddpm")
    try:
        place = place.expanduser()
    except RuntimeError:
        raise DataUnavailable(
            f"there is no home for {place}: name another folder (--data-dir, or TINYDDPM_DATA)"
        ) from None
    if os.path.isfile(place):
        raise DataUnavailable(f"{place} is a file: name the folder that it lies in")
    return place


class Found(NamedTuple):
    """A file on the disk, or in a zip archive (then the path is archive.zip/name)."""

    path: Path
    open: Callable  # gives a binary stream


def files_in(folder):
    """What lies in a folder, in folders in it, and in their zip archives: the nearest first."""
    found, level = [], [Path(folder)]
    for _ in range(DEPTH):
        entries = [entry for place in level for entry in _entries(place)][:MOST]
        for path in filter(os.path.isfile, entries):
            found.append(Found(path, partial(path.open, "rb")))
            if path.suffix.lower() in (".zip", ".npz") and len(found) < MOST:
                found += _members(path)
        level = list(filter(os.path.isdir, entries))
    return found[:MOST]


def _entries(folder):
    try:
        return sorted(path for path in Path(folder).iterdir() if path.name[0] != ".")
    except OSError:  # it is away, or closed to us
        return []


def _members(path):
    """The files in a zip archive; none if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except Exception:  # zipfile has a dozen ways to say "damaged"
        return []
    return [
        Found(Path(f"{path}/{name}"), partial(_open_member, path, name)) for name in names[:MOST]
    ]


def _open_member(path, name):
    return zipfile.ZipFile(path).open(name)


def obtain(found, fits, path, urls, size, parse):
    """`parse(stream)` of the first file found that is sound, else of a download of `size` bytes.

    `parse` raises something for a file that is not what it should be; nothing is done to such a
    file. What is fetched from one of `urls` is kept at `path`, or with a number if that is taken.
    fits       fits(path) says whether a file has such a name that one would expect it to be sound
    Raises     DataUnavailable if it cannot be had at all
    """
    trouble = ""
    for file in found:
        try:
            with file.open() as stream:
                return parse(stream)
        except Exception as error:  # gzip, zipfile, NumPy: a dozen ways to say "damaged"
            if fits(file.path) and not trouble:
                why = brief(error) or type(error).__name__
                trouble = f"{file.path} is damaged or another file ({why})"
    try:
        content, parsed = fetch(path.name, urls, size, lambda content: parse(_stream(content)))
    except DataUnavailable as error:
        here = trouble or _what_lies_in(path.parents[1], found)
        raise DataUnavailable(f"{here}; {error}" if here else str(error)) from None
    kept = _keep(path, content)
    if trouble:
        print(f"{trouble}; it stays as it is, and {kept} was fetched instead")
    return parsed


def _stream(content):
    return io.BufferedReader(io.BytesIO(content))


def _keep(path, content):
    """Put a download where no file is in its way; returns that place."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for place in numbered(path):
            with suppress(FileExistsError):
                with atomic_write(place, new=True) as file:
                    file.write(content)
                return place
            if os.path.getsize(place) == len(content) and place.read_bytes() == content:
                return place  # somebody else has fetched it meanwhile
    except OSError as error:
        print(f"{path} could not be written ({error}): the download will be needed again")
    return path.name


def _what_lies_in(home, found):
    """A few words about a folder, for those who expected something else there."""
    if not found:
        return ""
    names = [brief(file.path.relative_to(home))[:60] for file in found[:3]]
    more = f" and {len(found) - 3:,} more" if len(found) > 3 else ""
    return f"{home} holds {', '.join(names)}{more}"
