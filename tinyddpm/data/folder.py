"""A folder of pictures as a data set, read once and kept."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import ImageColor

from .. import doors
from ..files import atomic_write
from ..progress import with_progress
from .batches import Dataset
from .cache import data_folder
from .download import DataUnavailable
from .pictures import Unusable, read_picture


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
    ImageColor.getrgb(background)
    files = _files(home)
    if not files:
        raise DataUnavailable(f"there is no folder {home} with files in it")
    said = json.dumps([str(home), size, background, files])
    key = hashlib.sha256(said.encode()).hexdigest()[:12]
    place = data_folder(cache).resolve() / "pictures" / f"{home.name}-{size}-{key}"
    if place.is_relative_to(home):
        raise ValueError(f"{place} would lie among the pictures: keep data sets elsewhere")
    images, names = _kept(place, size) or _keep(home, files, size, background, place)
    if left_out := len(files) - len(names):
        print(f"{left_out:,} of {len(files):,} files were left out: see {place}/left-out.txt")
    folders = [name.partition("/")[0] if labels and "/" in name else home.name for name in names]
    label_names, numbers = np.unique(folders, return_inverse=True)
    label_names = tuple(label_names.tolist()) if len(label_names) > 1 else ()
    return Dataset(home.name, images, numbers.astype(np.int64), label_names)


def _files(home):
    """[name, bytes, time of the last change] of each file in a folder and in folders in it."""
    found = []
    for path in filter(Path.is_file, sorted(home.rglob("*"))):
        name, about = path.relative_to(home).as_posix(), path.stat()
        if "/." not in f"/{name}":
            found.append([name, about.st_size, about.st_mtime_ns])
    return found


def _kept(place, size):
    """What `_keep` left, the images and the names of their files; None unless all is sound."""
    with suppress(OSError, ValueError):  # not there yet, or damaged
        about = json.loads((place / "pictures.json").read_bytes())
        shape = (len(about["names"]), size, size, 3)
        images = np.memmap(place / "images", np.uint8, "r", shape=shape)
        if sha256(images) == about["sha256"]:
            return images[..., : about["channels"]], about["names"]


def sha256(*arrays):
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
    with atomic_write(place / "left-out.txt") as file:
        file.write(left_out.encode("utf-8", "backslashreplace"))
    if not used:
        raise DataUnavailable(f"{home} has no picture that can be used: see {place}/left-out.txt")
    images = np.memmap(place / "images", np.uint8, "r", shape=(len(used), size, size, 3))
    about = {"sha256": sha256(images), "channels": 1 if grey else 3, "names": used}
    with atomic_write(place / "pictures.json") as file:
        file.write(json.dumps(about).encode())
    return _kept(place, size)
