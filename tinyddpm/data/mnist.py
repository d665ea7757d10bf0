"""MNIST: 70,000 handwritten digits of 28 × 28 pixels, by Y. LeCun, C. Cortes and C. Burges."""

import gzip
import hashlib
import io
import zlib
from functools import partial
from typing import NamedTuple

import numpy as np

from .batches import Dataset
from .cache import data_folder, obtain
from .download import DataUnavailable

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)


class IdxFile(NamedTuple):
    """What an MNIST file must hold: its numbers' shape, and the SHA-256 of its unpacked bytes."""

    name: str
    shape: tuple
    packed_bytes: int
    sha256: str


# fmt: off
MNIST = {
    "train": (
        IdxFile("train-images-idx3-ubyte.gz", (60000, 28, 28), 9912422,
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        IdxFile("train-labels-idx1-ubyte.gz", (60000,), 28881,
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    ),
    "test": (
        IdxFile("t10k-images-idx3-ubyte.gz", (10000, 28, 28), 1648877,
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        IdxFile("t10k-labels-idx1-ubyte.gz", (10000,), 4542,
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
}
# fmt: on


def load_mnist(folder=None, split="train", mirrors=MIRRORS):
    """MNIST's "train" (60,000) or "test" (10,000) images (N, 28, 28, 1) and labels (N,) 0 .. 9.

    The files are looked for in `data_folder(folder)` and its subfolder mnist; what is missing or
    damaged there is fetched from the mirrors. What counts is the unpacked content, not the packing.
    Raises     DataUnavailable if they cannot be had at all; ValueError for another split
    """
    if split not in MNIST:
        raise ValueError(f"split {split!r}: MNIST has 'train' and 'test'")
    home = data_folder(folder)
    try:
        images, labels = (_obtain(file, home, mirrors) for file in MNIST[split])
    except DataUnavailable as error:
        files = " and ".join(f"{file.name} ({file.packed_bytes:,} bytes)" for file in MNIST[split])
        raise DataUnavailable(
            f"{error}; to use MNIST without a network, put {files} into {home / 'mnist'}"
        ) from None
    return Dataset("mnist", images[..., None], labels.astype(np.int64))


def _obtain(file, home, mirrors):
    """The numbers in an MNIST file."""
    paths = home / "mnist" / file.name, home / file.name
    urls = [mirror + file.name for mirror in mirrors]
    return obtain(paths, urls, file.packed_bytes, partial(_read_idx, file=file))


def _read_idx(packed, file):
    """The uint8 numbers of a gzipped IDX file; ValueError that says what is wrong with it.

    Format     0, 0, 8 (bytes), dimensions; each dimension as a big-endian uint32; the numbers
    Source     Y. LeCun, C. Cortes, C. Burges, the MNIST database
    """
    header = bytes([0, 0, 8, len(file.shape)]) + np.array(file.shape, ">u4").tobytes()
    wanted = len(header) + int(np.prod(file.shape))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            raw = stream.read(wanted + 1)  # a byte more than wanted is enough to refuse the file
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"not a whole gzip file: {error}") from None
    if len(raw) != wanted:
        came = "more" if len(raw) > wanted else f"{len(raw):,}"
        raise ValueError(f"{wanted:,} bytes unpacked wanted, {came} came")
    if not raw.startswith(header):
        raise ValueError(f"starts with {raw[:8].hex()}, {header[:8].hex()} wanted")
    if hashlib.sha256(raw).hexdigest() != file.sha256:
        raise ValueError("its SHA-256 is not MNIST's")
    return np.frombuffer(raw, np.uint8, offset=len(header)).reshape(file.shape)
