"""A folder of pictures as a data set, read once and kept."""

import hashlib
import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from .. import doors
from ..device import cores
from ..files import atomic_write
from ..progress import Progress
from .batches import Dataset
from .cache import data_folder
from .download import DataUnavailable
from .pictures import Unusable, read_picture

READERS = 4  # at most; each may hold a picture of Pillow's limit, about 0.6 GB
AT_ONCE = 256  # pictures between two looks at Ctrl-C


def load_folder(path, size, labels="folders", background="white", cache=None):
    """All pictures in a folder, and in folders in it, as images (N, size, size, C): `read_picture`.

    C is 1 if all of them are grey, else 3. What came out is kept in `data_folder(cache)`, where
    left-out.txt says which pictures were left out and why; `images` is read from there as it is
    needed. It is made again when a file has changed. Hidden files are passed over.

    labels     "folders": the first folder on the way to a picture; None: there are none
    background a colour, by name or as #rrggbb
    Raises     DataUnavailable if there is no picture in it, ValueError for what cannot be
    """
    if labels not in ("folders", None):
        raise ValueError(f"labels of {labels!r}: use 'folders' or None")
    size, home = doors.whole("size", size, 1), Path(path).expanduser().resolve()
    ImageColor.getrgb(background)
    files = _files(home)
    said = json.dumps([str(home), size, background, files])
    key = hashlib.sha256(said.encode()).hexdigest()[:12]
    place = data_folder(cache).resolve() / "pictures" / f"{home.name}-{size}-{key}"
    if place.is_relative_to(home):
        raise ValueError(f"{place} would lie among the pictures: keep data sets elsewhere")
    try:
        images, names = _kept(place, size)
    except (OSError, ValueError, KeyError):  # not there yet, or damaged
        _keep(home, [name for name, *_ in files], size, background, place)
        images, names = _kept(place, size)
    left_out = len(files) - len(names)
    if left_out:
        print(
            f"{home}: {left_out:,} of {len(files):,} files were left out, see {place}/left-out.txt"
        )
    if not names:
        raise DataUnavailable(f"{home} has no picture of {size} × {size} pixels or more in it")
    folders = [name.partition("/")[0] if labels and "/" in name else home.name for name in names]
    label_names, numbers = np.unique(folders, return_inverse=True)
    label_names = tuple(label_names.tolist()) if len(label_names) > 1 else ()
    return Dataset(home.name, images, numbers.astype(np.int64), label_names)


def _files(home):
    """[name, bytes, time of the last change] of each file in a folder and in folders in it."""
    if not home.is_dir():
        raise DataUnavailable(f"there is no folder {home}")
    found = []
    for folder, folders, files in os.walk(home):
        folders[:] = [name for name in folders if name[0] != "."]
        for file in files:
            path = Path(folder, file)
            if file[0] != "." and path.is_file():
                about = path.stat()
                found.append([path.relative_to(home).as_posix(), about.st_size, about.st_mtime_ns])
    return sorted(found)


def _kept(place, size):
    """What `_keep` left: the images, and the names of their files.

    Raises     OSError, ValueError or KeyError unless all of it is there and sound
    """
    about = json.loads((place / "pictures.json").read_bytes())
    shape = (len(about["names"]), size, size, 3)
    if not shape[0]:
        return None, []
    images = np.memmap(place / "images", np.uint8, "r", shape=shape)
    digest = hashlib.sha256()
    for start in range(0, len(images), AT_ONCE):
        digest.update(images[start : start + AT_ONCE])
    if digest.hexdigest() != about["sha256"]:
        raise ValueError("damaged")
    return images[..., : about["channels"]], about["names"]


def _keep(home, names, size, background, place):
    """Read pictures, and write what came out, which were used, and why the others were not."""

    def read(name):
        try:
            return read_picture(home / name, size, background)
        except Unusable as error:
            return str(error)

    used, left_out, grey, digest = [], [], True, hashlib.sha256()
    with (
        warnings.catch_warnings(),
        atomic_write(place / "images") as file,
        Progress(f"reading {home.name}", len(names)) as progress,
        ThreadPoolExecutor(min(READERS, cores())) as pool,
    ):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # they are left out
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            for done, (name, image) in enumerate(zip(some, pool.map(read, some)), start + 1):
                if isinstance(image, str):
                    left_out.append(f"{name}: {image}\n")
                else:
                    used.append(name)
                    grey = grey and (image == image[..., :1]).all()
                    file.write(image.tobytes())
                    digest.update(image.tobytes())
                progress.show(done)
        progress.clear()
    about = {"sha256": digest.hexdigest(), "channels": 1 if grey else 3, "names": used}
    for name, text in (("left-out.txt", "".join(left_out)), ("pictures.json", json.dumps(about))):
        with atomic_write(place / name) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
