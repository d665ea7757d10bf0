"""MNIST: 70,000 handwritten digits of 28 × 28 pixels, by Y. LeCun, C. Cortes and C. Burges."""

import gzip
import hashlib
import io
import re
from functools import partial
from typing import NamedTuple

import numpy as np

from .batches import Dataset
from .cache import data_folder, files_in, obtain
from .download import DataUnavailable

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
MOST_TEXT = 200_000_000  # bytes of a table that are read


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

    The files are looked for in `data_folder(folder)` and the folders in it, under any name. What
    counts is the unpacked content, not the packing: IDX files as they are, gzipped or in a zip
    archive, Keras's mnist.npz, Kaggle's mnist_train.csv. What is missing is fetched from a mirror.
    Raises     DataUnavailable if they cannot be had at all; ValueError for another split
    """
    if split not in MNIST:
        raise ValueError(f"split {split!r}: MNIST has 'train' and 'test'")
    home = data_folder(folder)
    found = files_in(home)
    try:
        images, labels = (_obtain(file, found, home, mirrors) for file in MNIST[split])
    except DataUnavailable as error:
        files = " and ".join(f"{file.name} ({file.packed_bytes:,} bytes)" for file in MNIST[split])
        raise DataUnavailable(
            f"{error}; to use MNIST without a network, put {files} into {home / 'mnist'}"
        ) from None
    return Dataset("mnist", images[..., None], labels.astype(np.int64))


def _obtain(file, found, home, mirrors):
    """The numbers in an MNIST file."""
    begin = _letters(re.split("-idx|[.]", file.name)[0])  # trainimages

    def fits(path):
        name = _letters(path.name)
        return begin in name or "mnist" in name or path.parent.suffix == ".npz"

    urls = [mirror + file.name for mirror in mirrors]
    read = partial(_read_idx, file=file)
    return obtain(found, fits, home / "mnist" / file.name, urls, file.packed_bytes, read)


def _letters(name):
    """What is left of a file's name however it was written: "Train_Images (1)" is trainimages1."""
    return re.sub("[^a-z0-9]", "", name.lower())


def _read_idx(stream, file):
    """The uint8 numbers of an IDX file, gzipped or not; ValueError that says what is wrong with it.

    Format     0, 0, 8 (bytes), dimensions; each dimension as a big-endian uint32; the numbers.
               NumPy's .npy has them at its end, a table a line for each image, its label first
    Source     Y. LeCun, C. Cortes, C. Burges, the MNIST database
    """
    header = bytes([0, 0, 8, len(file.shape)]) + np.array(file.shape, ">u4").tobytes()
    size = int(np.prod(file.shape))
    if stream.peek(2)[:2] == b"\x1f\x8b":
        stream = gzip.GzipFile(fileobj=stream)
    start = stream.read(len(header))
    if start.startswith(b"\x93NUMPY"):
        numbers = stream.read(size + 4096)[-size:]  # after a header of a few hundred bytes
    elif start == header:
        numbers = stream.read(size + 1)  # a byte more than wanted is enough to refuse the file
    elif re.match(rb"label,|[0-9],", start):
        numbers = _csv_numbers(start + stream.read(MOST_TEXT), file)
    else:
        came = "is a web page" if start[:1] == b"<" else f"starts with {start[:8].hex()}"
        raise ValueError(f"it {came}, but {header[:8].hex()} is wanted")
    if len(numbers) != size:
        came = "more" if len(numbers) > size else f"{len(numbers):,}"
        raise ValueError(f"{size:,} numbers wanted, {came} came")
    if hashlib.sha256(header + numbers).hexdigest() != file.sha256:
        raise ValueError("its SHA-256 is not MNIST's; Fashion-MNIST has the same names and sizes")
    return np.frombuffer(numbers, np.uint8).reshape(file.shape)


def _csv_numbers(text, file):
    """The labels, which are the first column of a table, or the images beside them, as bytes."""
    head, most = int(text.startswith(b"label")), file.shape[0] + 1
    table = np.loadtxt(
        io.BytesIO(text), np.uint8, delimiter=",", skiprows=head, max_rows=most, ndmin=2
    )
    return (table[:, 1:] if len(file.shape) > 1 else table[:, 0]).tobytes()
