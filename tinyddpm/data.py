"""Images to learn from: MNIST, fetched once and verified each time, or digits drawn on the spot."""

import gzip
import hashlib
import io
import os
import queue
import threading
import urllib.parse
import urllib.request
import zlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .checkpoint import write_whole
from .progress import Progress
from .randomness import generator

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
PATIENCE = 6.0  # seconds without a byte, over all mirrors, before a download is given up


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
    """Images to learn from: bytes (N, H, W, C), labels (N,), and a name for files and logs."""

    name: str
    images: np.ndarray
    labels: np.ndarray


class DataUnavailable(Exception):
    """A data set could not be had; the message says why and what to do."""


def to_unit(images):
    """Bytes 0 .. 255 as float32 in [-1, 1]: x / 127.5 - 1 (Ho et al. 2020, section 3.3)."""
    return images.astype(np.float32) / 127.5 - 1


def batch_indices(count, batch, step, seed):
    """Which of `count` images are in the batch of a step; a function of (seed, step) alone.

    Every epoch is a new random order, cut into count // batch batches; what is left over rests.
    Raises     ValueError if there are fewer images than a batch takes
    """
    if batch > count:
        raise ValueError(f"a batch of {batch} from {count} images: use a batch of at most {count}")
    epoch, k = divmod(step, count // batch)
    return _order(count, seed, epoch)[k * batch : (k + 1) * batch]


@lru_cache(maxsize=1)
def _order(count, seed, epoch):
    return generator(seed, "order", epoch).permutation(count)


def data_folder(folder=None):
    """Where data sets are kept: `folder`, $TINYDDPM_DATA, $XDG_CACHE_HOME/tinyddpm, ~/.cache/tinyddpm."""
    folder = folder or os.environ.get("TINYDDPM_DATA")
    if folder:
        return Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tinyddpm"


def load_mnist(folder=None, split="train", mirrors=MIRRORS):
    """MNIST's "train" (60,000) or "test" (10,000) images (N, 28, 28, 1) and labels (N,) 0 .. 9.

    The files are looked for in `data_folder(folder)` and its subfolder mnist; what is missing or
    damaged there is fetched from the mirrors. What counts is the unpacked content, not the packing.
    Raises     DataUnavailable if they are neither there nor to be fetched; ValueError for another split
    """
    if split not in MNIST:
        raise ValueError(f"split {split!r}: MNIST has 'train' and 'test'")
    home = data_folder(folder)
    images, labels = (_obtain(file, home, mirrors) for file in MNIST[split])
    return Dataset("mnist", images[..., None], labels.astype(np.int64))


def _obtain(file, home, mirrors):
    """The numbers in an MNIST file: from the folder if it is there and whole, else from a mirror."""
    damage = ""
    for path in (home / "mnist" / file.name, home / file.name):
        if path.exists():
            try:
                return _read_idx(path.read_bytes(), file)
            except (ValueError, OSError) as error:
                damage = f"{path} is damaged ({error}); "
    try:
        packed = _fetch([mirror + file.name for mirror in mirrors], file)
    except DataUnavailable as error:
        raise DataUnavailable(
            f"{damage}{error}; to use it without a network, put {file.name} "
            f"({file.packed_bytes:,} bytes) into {home / 'mnist'}"
        ) from None
    numbers = _read_idx(packed, file)
    try:
        write_whole(home / "mnist" / file.name, packed)
    except OSError as error:
        print(f"{file.name} could not be kept in {home / 'mnist'} ({error}); going on without")
    return numbers


def _fetch(urls, file):
    """The packed file from the first mirror that has it; DataUnavailable after PATIENCE seconds' silence.

    A thread asks, because looking up a name knows no time limit: if it hangs, it is left behind.
    """
    news = queue.Queue()
    threading.Thread(target=_ask_mirrors, args=(urls, file, news), daemon=True).start()
    with Progress(f"downloading {file.name}", file.packed_bytes, unit="bytes") as progress:
        while True:
            try:
                kind, value = news.get(timeout=PATIENCE)
            except queue.Empty:
                kind, value = "failure", f"no answer for {PATIENCE:.0f} seconds"
            if kind == "failure":
                raise DataUnavailable(f"{file.name} could not be downloaded: {value}")
            if kind == "file":
                return value
            progress.show(value)


def _ask_mirrors(urls, file, news):
    """Puts ("bytes", count) for every piece, then ("file", packed) or ("failure", reason) into `news`."""
    reason = "no mirror is known"
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE / len(urls)) as answer:
                packed = b""
                while piece := answer.read(1 << 16):
                    packed += piece
                    if len(packed) > 2 * file.packed_bytes:
                        raise ValueError("far more bytes than the file has")
                    news.put(("bytes", len(packed)))
            _read_idx(packed, file)
            return news.put(("file", packed))
        except Exception as error:  # a network can fail in more ways than OSError names
            reason = f"{urllib.parse.urlsplit(url).netloc}: {getattr(error, 'reason', error)}"
    news.put(("failure", reason))


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


def offline_digits(count=20000, seed=0, size=28):
    """Digits drawn with Pillow's own font, each shifted, turned, slanted and thickened at random.

    They need no network and no file and are a function of the seed: images (count, size, size, 1),
    labels (count,) with the same number of each digit.
    """
    rng = generator(seed, "digits")
    labels = rng.permutation(count) % 10
    large = 3 * size  # drawn large, then reduced: smooth edges
    masters = {}
    images = np.empty((count, size, size, 1), np.uint8)
    for i, digit in enumerate(labels):
        key = int(digit), int(rng.integers(0, 4))
        if key not in masters:
            masters[key] = _draw(*key, large)
        images[i, :, :, 0] = _bend(masters[key], rng).resize((size, size), Image.Resampling.BOX)
    return Dataset("offline-digits", images, labels.astype(np.int64))


def _draw(digit, thickness, size):
    """A digit in the middle of a black square of `size` pixels."""
    image = Image.new("L", (size, size))
    font = ImageFont.load_default(size=0.8 * size)
    ImageDraw.Draw(image).text(
        (size / 2, size / 2), str(digit), fill=255, font=font, anchor="mm",
        stroke_width=thickness, stroke_fill=255,
    )  # fmt: skip
    return image


def _bend(image, rng):
    """The image under a small random linear map and shift."""
    size = image.width
    angle, slant = rng.normal(0, 0.12), rng.normal(0, 0.2)
    grow_x, grow_y = rng.uniform(0.85, 1.2, 2)
    a = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    a = a @ np.array([[1, slant], [0, 1]]) @ np.diag([grow_x, grow_y])
    middle = np.array([size / 2, size / 2])
    shift = middle - a @ (middle + rng.uniform(-0.06, 0.06, 2) * size)
    coefficients = (a[0, 0], a[0, 1], shift[0], a[1, 0], a[1, 1], shift[1])
    return image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
