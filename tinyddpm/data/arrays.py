"""Images and labels that somebody has made into arrays: .npz files, and pairs of IDX files."""

import gzip
import math
import re
from pathlib import Path

import numpy as np

from .. import doors
from .batches import Dataset

MOST = 1 << 34  # bytes of an IDX file that are read


def load_arrays(path):
    """The Dataset in a file: an .npz, or an IDX file of images whose labels lie in one beside it.

    .npz       bytes (N, H, W) or (N, H, W, C) under any name, and whole numbers (N,) if there are
               labels; of several splits the largest
    IDX        the format of MNIST, gzipped or not, as Fashion-MNIST, KMNIST and EMNIST are. In files
               called emnist rows and columns are exchanged, which is undone
    Labels that do not count from 0 get names, their own numbers.
    Raises     ValueError if no images are in it
    """
    path = Path(path)
    images, labels = (_npz if path.suffix == ".npz" else _idx_pair)(path)
    images = images if images.ndim == 4 else images[..., None]
    if images.shape[1] != images.shape[2] or len(images) != len(labels):
        raise ValueError(
            f"{path} has images of shape {images.shape} and {len(labels)} labels: give square "
            "images (N, H, W) or (N, H, W, C), and a label for each"
        )
    known, numbers = np.unique(labels, return_inverse=True)
    counted = np.array_equal(known, np.arange(len(known)))
    names = () if counted or len(known) == 1 else tuple(map(str, known))
    name = re.split("-?(?:train-?)?images", path.stem)[0] or path.resolve().parent.name
    images = np.ascontiguousarray(doors.as_bytes(images), np.uint8)
    return Dataset(name, images, numbers.astype(np.int64), names)


def images_in(path):
    """The file for `load_arrays` that a path means, or None: itself, or the one in that folder.

    Raises     ValueError if several may be meant
    """
    path = Path(path).expanduser()
    if path.is_file():
        return path
    found = sorted(path.glob("*train*images*idx3*"))
    if len(found) > 1:
        raise ValueError(f"{path} has {', '.join(file.name for file in found)}: name one of them")
    return found[0] if found else None


def _npz(path):
    """The images and the labels in an .npz."""
    try:
        with np.load(path) as archive:  # pickles are refused
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # NumPy and zipfile have a dozen ways to say "damaged"
        raise ValueError(f"{path} is damaged, or no .npz: {str(error)[:150]}") from None
    whole = {name: array for name, array in arrays.items() if array.dtype.kind in "iu"}
    images = max((a for a in whole.values() if a.ndim in (3, 4)), key=len, default=())
    if not len(images):
        held = ", ".join(f"{name} {a.dtype} {a.shape}" for name, a in arrays.items())
        raise ValueError(f"{path} has no images of bytes (N, H, W) or (N, H, W, C) in it: {held}")
    count = len(images)
    labels = {name: a for name, a in whole.items() if a.shape in ((count,), (count, 1))}
    if len(labels) > 1:
        raise ValueError(f"{path}: {', '.join(labels)} may all be the labels: keep one of them")
    return images, [*labels.values(), np.zeros(count, int)][0].reshape(count)


def _idx_pair(path):
    """The images in an IDX file, and the labels in the one beside it."""
    images = _idx(path, 3)
    if "emnist" in path.name.lower():
        images = images.transpose(0, 2, 1)
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    return images, _idx(beside, 1)


def _idx(path, axes):
    """The bytes in an IDX file with so many axes.

    Format     0, 0, 8 (bytes), axes; the length of each as a big-endian uint32; the numbers
    """
    try:
        with path.open("rb") as file:
            stream = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == b"\x1f\x8b" else file
            start = stream.read(4 + 4 * axes)
            shape = np.frombuffer(start[4:], ">u4").tolist()
            size = math.prod(shape)
            if start[:4] != bytes([0, 0, 8, axes]) or len(shape) != axes or size > MOST:
                raise ValueError(f"it starts with {start.hex()}")
            return np.frombuffer(stream.read(size + 1), np.uint8).reshape(shape)
    except Exception as error:  # gzip has a dozen ways to say "damaged"
        raise ValueError(f"{path} is no IDX file of {axes} axes, or damaged: {error}") from None
