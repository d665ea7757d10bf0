"""Images and labels that somebody has made into arrays: .npz files, and pairs of IDX files."""

import gzip
import math
import re
from pathlib import Path

import numpy as np

from .. import doors
from .batches import labelled


def load_arrays(path):
    """The Dataset in a file: an .npz, or an IDX file of images whose labels lie in one beside it.

    .npz       bytes (N, H, W) or (N, H, W, C) under any name, and whole numbers (N,) if there are
               labels; of several splits the largest
    IDX        the format of MNIST, gzipped or not, that Fashion-MNIST, KMNIST and EMNIST have. In
               files called emnist rows and columns are exchanged, which is undone
    Labels that do not count from 0 get names, their own numbers.
    Raises     ValueError if no images are in it
    """
    path = Path(path)
    try:
        images, labels = (_npz if path.suffix == ".npz" else _idx_pair)(path)
        images = np.ascontiguousarray(doors.as_bytes(images), np.uint8)
        images = images.reshape(*images.shape[:3], -1)
    except Exception as error:  # NumPy, zipfile and gzip have a dozen ways to say "damaged"
        reason = doors.brief(error)
        raise ValueError(f"{path} holds no images and labels, or is damaged: {reason}") from None
    name = re.split("-?(?:train-?)?images", path.stem)[0] or path.resolve().parent.name
    return labelled(name, images, labels)


def _npz(path):
    """The images and the labels in an .npz."""
    with open(path, "rb") as file, np.load(file) as archive:  # pickles are refused
        arrays = {name: archive[name] for name in archive.files}
    images = max((a for a in arrays.values() if a.ndim in (3, 4)), key=len, default=())
    shapes = (len(images),), (len(images), 1)
    labels = {name: a for name, a in arrays.items() if a.shape in shapes and a.dtype.kind in "iu"}
    if not len(images) or len(labels) > 1:
        held = ", ".join(f"{name} {a.dtype} {a.shape}" for name, a in arrays.items())
        raise ValueError(f"keep one array of images and one of labels; it has {held}")
    return images, [*labels.values(), np.zeros(len(images), int)][0].reshape(-1)


def _idx_pair(path):
    """The images in an IDX file, and the labels in the one beside it."""
    if "images" not in path.name:
        raise ValueError("name a folder of pictures, or the file with all images")
    images = _idx(path)
    if "emnist" in path.name.lower():
        images = images.transpose(0, 2, 1)
    return images, _idx(path.with_name(re.sub("images(.)idx3", r"labels\1idx1", path.name)))


def _idx(path):
    """The array in an IDX file.

    Format     0, 0, 8 (bytes), axes; the length of each as a big-endian uint32; the numbers
    """
    with open(path, "rb") as file:
        packed = file.peek(2)[:2] == b"\x1f\x8b"
        stream, most = gzip.GzipFile(fileobj=file) if packed else file, path.stat().st_size
        axes = stream.read(4)[3]
        shape = np.frombuffer(stream.read(4 * axes), ">u4").tolist()
        if math.prod(shape) > most * (1032 if packed else 1):  # gzip's most
            raise ValueError(f"numbers of the shape {shape} do not fit into {most:,} bytes")
        return np.frombuffer(stream.read(math.prod(shape)), np.uint8).reshape(shape)
