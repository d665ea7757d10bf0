"""Images to learn from, in batches; MNIST, fetched once and verified each time."""

import gzip
import hashlib
import io
import os
import zlib
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .download import DataUnavailable, fetch
from .files import whole_file
from .randomness import generator

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


class Dataset(NamedTuple):
    """Images to learn from: bytes (N, H, W, C), labels (N,) from 0 on, a name for files."""

    name: str
    images: np.ndarray
    labels: np.ndarray


def check_dataset(dataset, image_shape, classes, batch):
    """ValueError unless a U-Net for images (H, W, C) with these classes can learn from it."""
    count, *shape = dataset.images.shape
    if tuple(shape) != image_shape:
        raise ValueError(
            f"{dataset.name} has images of shape {tuple(shape)}, but the U-Net is for {image_shape}"
        )
    if dataset.images.dtype != np.uint8 or len(dataset.labels) != count:
        raise ValueError(
            f"{dataset.name} has {count} images of {dataset.images.dtype} and "
            f"{len(dataset.labels)} labels: give bytes, and a label for each (0 if there are none)"
        )
    if classes and not 0 <= dataset.labels.min() <= dataset.labels.max() < classes:
        raise ValueError(
            f"{dataset.name} has labels from {dataset.labels.min()} to {dataset.labels.max()}, "
            f"but the U-Net has {classes} classes: they count from 0"
        )
    if batch > count:
        raise ValueError(f"a batch of {batch} from {count} images: use a smaller batch")


def to_unit(images):
    """Bytes 0 .. 255 as float32 in [-1, 1]: x / 127.5 - 1 (Ho et al. 2020, section 3.3)."""
    return images.astype(np.float32) / 127.5 - 1


def batch_indices(count, batch, step, seed):
    """Which of `count` images are in the batch of a step; a function of (seed, step) alone.

    Every epoch is a new random order, cut into count // batch batches; what is left over rests.
    """
    epoch, k = divmod(step, count // batch)
    return _order(count, seed, epoch)[k * batch : (k + 1) * batch]


@lru_cache(maxsize=1)
def _order(count, seed, epoch):
    return generator(seed, "order", epoch).permutation(count)


def data_folder(folder=None):
    """Where data sets are kept: the first of these that is set.

    `folder`, $TINYDDPM_DATA, $XDG_CACHE_HOME/tinyddpm, ~/.cache/tinyddpm
    """
    folder = folder or os.environ.get("TINYDDPM_DATA")
    if folder:
        return Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tinyddpm"


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
    """The numbers in an MNIST file: from the folder if it has them, else from a mirror."""
    damage = ""
    for path in (home / "mnist" / file.name, home / file.name):
        if path.exists():
            try:
                return _read_idx(path.read_bytes(), file)
            except (ValueError, OSError) as error:
                damage = f"{path} is not MNIST's ({error}); "
    try:
        urls = [mirror + file.name for mirror in mirrors]
        parse = partial(_read_idx, file=file)
        packed, numbers = fetch(file.name, urls, file.packed_bytes, parse)
    except DataUnavailable as error:
        raise DataUnavailable(f"{damage}{error}") from None
    _keep(home / "mnist" / file.name, packed)
    return numbers


def _keep(path, content):
    """Put a download into the cache; a file that is in its way gets another name."""
    try:
        if path.exists():
            path.replace(path.with_name(path.name + ".damaged"))
        with whole_file(path) as file:
            file.write(content)
    except OSError as error:
        print(f"{path} could not be written ({error}): the download will be needed again")


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
