"""Your own pictures as a data set: arrays, or a folder, which is read once and kept."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import ImageColor

from .. import doors
from ..files import atomic_write
from ..progress import with_progress
from .arrays import load_arrays
from .batches import labelled
from .cache import data_folder
from .download import DataUnavailable
from .pictures import Unusable, read_picture

SOURCE = {"path": str, "image_size": int, "background": str, "wanted": str}  # what a `source` holds


def load_own(path, image_size=None, background="white", wanted=None, folder=None):
    """The Dataset at a path: a folder of pictures (`load_folder`) or arrays (`load_arrays`).

    Its `source` holds the first four arguments with which the same data set comes again.
    image_size pixels a side of pictures, 32 unless given; arrays have their own
    wanted     the SHA-256 of its images and labels
    folder     where data sets are kept
    Raises     DataUnavailable if it is not there, or another one; ValueError for what cannot be
    """
    path = Path(path).expanduser().resolve()
    files = [path] if path.is_file() else sorted(path.glob("*train*images*idx3*"))
    if len(files) > 1:
        raise ValueError(f"{path} has {', '.join(file.name for file in files)}: name one of them")
    if files:
        data = load_arrays(files[0])
    else:
        data = load_folder(path, image_size or 32, background=background, cache=folder)
    size, found = data.images.shape[1], _sha256(data.images, data.labels)
    if wanted not in (None, found):
        raise DataUnavailable(f"{path} does not hold what the run began with: put that back")
    return data._replace(source=dict(zip(SOURCE, (str(path), size, background, found))))


def load_folder(path, size, labels="folders", background="white", cache=None):
    """All pictures in a folder, and in folders in it, as images (N, size, size, C): `read_picture`.

    C is 1 if all of them are grey, else 3. What came out is kept in `data_folder(cache)`, beside
    left-out.txt, which says of every other file why it was left out; `images` is read from there
    as it is needed. It is made again when a file has changed. Hidden files are passed over.

    labels     "folders": the first folder on the way to a picture; None: there are none
    background a colour, by name or as #rrggbb
    Raises     DataUnavailable if there is no picture in it, ValueError for what cannot be
    """
    if labels not in ("folders", None):
        raise ValueError(f"labels of {labels!r}: use 'folders' or None")
    size, home = doors.whole("size", size, 1), Path(path).expanduser().resolve()
    try:
        ImageColor.getrgb(background)
    except ValueError:
        raise ValueError(f"background {background!r}: name a colour, or #rrggbb") from None
    if not (files := _files(home)):
        raise DataUnavailable(f"there is no folder {home} with files in it")
    said = json.dumps([str(home), size, background, files])
    key = hashlib.sha256(said.encode()).hexdigest()[:12]
    place = data_folder(cache).resolve() / "pictures" / f"{home.name}-{size}-{key}"
    if place.is_relative_to(home):
        raise ValueError(f"{place} would lie among the pictures: keep data sets elsewhere")
    try:
        images, names = _kept(place, size) or _keep(home, files, size, background, place)
    except OSError as error:
        raise DataUnavailable(f"{place}: {error.strerror}; name another --data-dir") from None
    if left_out := len(files) - len(names):
        print(f"{left_out:,} of {len(files):,} files were left out: see {place}/left-out.txt")
    folders = [name.partition("/")[0] if labels and "/" in name else home.name for name in names]
    return labelled(home.name, images, folders)


def _files(home):
    """[name, bytes, time of the last change] of each file in a folder and in folders in it."""
    paths = [path for path in sorted(home.rglob("*")) if path.is_file()]
    found = [(path.relative_to(home).as_posix(), path.stat()) for path in paths]
    return [[name, a.st_size, a.st_mtime_ns] for name, a in found if "/." not in f"/{name}"]


def _kept(place, size):
    """What `_keep` left, the images and the names of their files; None unless all is sound."""
    with suppress(OSError, ValueError, KeyError, TypeError):  # not there yet, or damaged
        about = json.loads((place / "pictures.json").read_bytes())
        shape = (len(about["names"]), size, size, 3)
        images = np.memmap(place / "images", np.uint8, "r", shape=shape)
        if _sha256(images) == about["sha256"]:
            return images[..., : about["channels"]], about["names"]


def _sha256(*arrays):
    """The SHA-256 of arrays, one of their rows after the other: they need not fit into memory."""
    digest = hashlib.sha256()
    for array in arrays:
        for row in array:
            digest.update(np.ascontiguousarray(row))
    return digest.hexdigest()


def _keep(home, files, size, background, place):
    """Read pictures; write what came out, which were used, and why the others were not; `_kept`."""
    used, left_out, grey = [], "", True
    with atomic_write(place / "images") as file:
        for name, *_ in with_progress(files, f"reading {home.name}", len(files)):
            try:
                image = read_picture(home / name, size, background)
                file.write(image.tobytes())
                used.append(name)
                grey = grey and (image == image[..., :1]).all()
            except Unusable as error:
                left_out += f"{name}: {error}\n"
    (place / "left-out.txt").write_text(left_out, "utf-8", "backslashreplace")
    if not used:
        raise DataUnavailable(f"{home} has no picture that can be used: see {place}/left-out.txt")
    images = np.memmap(place / "images", np.uint8, "r", shape=(len(used), size, size, 3))
    about = {"sha256": _sha256(images), "channels": 1 if grey else 3, "names": used}
    (place / "pictures.json").write_text(json.dumps(about))
    return _kept(place, size)
