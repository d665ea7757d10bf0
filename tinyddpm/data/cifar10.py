"""CIFAR-10: 60,000 photographs of 32 × 32 pixels in ten classes, by A. Krizhevsky."""

import hashlib
import io
import tarfile
from functools import partial

import numpy as np

from .batches import Dataset
from .cache import data_folder, obtain
from .download import DataUnavailable

URLS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz",
)
ARCHIVE = "cifar-10-binary.tar.gz"
ARCHIVE_BYTES = 170_052_171
ARCHIVE_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
BATCHES = "cifar-10-batches-bin"  # the folder in the archive, and its files with their SHA-256
# fmt: off
TRAIN = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
}
TEST = {"test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"}
# fmt: on
SPLITS = {"train": TRAIN, "test": TEST}
RECORDS = 10_000  # in every file
SHAPE = (3, 32, 32)  # the colours one after the other, each row by row
LABELS = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())


def load_cifar10(folder=None, split="train", urls=URLS):
    """CIFAR-10's "train" (50,000) or "test" (10,000) images (N, 32, 32, 3) and labels (N,) 0 .. 9.

    In `data_folder(folder)`, or a subfolder cifar10 of it, it takes the batch files or their folder
    cifar-10-batches-bin, else the archive that they come in, which it fetches if it is not there.
    Nothing is unpacked onto the disk.

    Batch files of the right format with other content are read, too, but the data set is then
    called "cifar10-copy": what is measured on it is not measured on CIFAR-10.
    Raises     DataUnavailable if it cannot be had or is damaged; ValueError for another split
    Source     Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: CIFAR-10 has 'train' and 'test'")
    wanted, home = SPLITS[split], data_folder(folder)
    for place in (home / "cifar10" / BATCHES, home / BATCHES, home / "cifar10", home):
        if any((place / name).exists() for name in wanted):
            contents = _batch_files(place, wanted)
            original = all(map(_has_sha256, contents.values(), wanted.values()))
            return _dataset("cifar10" if original else "cifar10-copy", contents)
    paths, parse = (home / "cifar10" / ARCHIVE, home / ARCHIVE), partial(_read_archive, wanted)
    try:
        return _dataset("cifar10", obtain(paths, urls, ARCHIVE_BYTES, parse))
    except DataUnavailable as error:
        raise DataUnavailable(
            f"{error}; to use CIFAR-10 without a network, put {ARCHIVE} ({ARCHIVE_BYTES:,} bytes) "
            f"or its batch files ({', '.join([*TRAIN, *TEST])}: {_batch_bytes():,} bytes each) "
            f"into {home / 'cifar10'}"
        ) from None


def _batch_bytes():
    return RECORDS * (1 + int(np.prod(SHAPE)))


def _batch_files(place, wanted):
    """{name: content} of the batch files in a folder; DataUnavailable unless all are sound."""
    contents = {}
    for name in wanted:
        try:
            contents[name] = (place / name).read_bytes()
            _check_batch(contents[name])
        except (OSError, ValueError) as error:
            raise DataUnavailable(
                f"{place / name} is no batch file of CIFAR-10 ({error}): replace it, or take the "
                "batch files away to have the archive fetched"
            ) from None
    return contents


def _read_archive(wanted, packed):
    """{name: content} of the batch files wanted of the archive; ValueError if it is another one.

    It is read from one end to the other, and nothing is extracted: names and links in it lead
    nowhere.
    """
    if len(packed) != ARCHIVE_BYTES:
        raise ValueError(f"{len(packed):,} bytes, {ARCHIVE_BYTES:,} wanted")
    if not _has_sha256(packed, ARCHIVE_SHA256):
        raise ValueError("its SHA-256 is not that of CIFAR-10's archive")
    contents = dict.fromkeys(wanted)  # in their order
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r|gz") as archive:
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            if folder == BATCHES and name in wanted and member.isfile():
                contents[name] = archive.extractfile(member).read()
                _check_batch(contents[name])
    return contents


def _check_batch(content):
    """ValueError unless these are RECORDS of a label, a byte, and an image (3, 32, 32) of bytes."""
    if len(content) != _batch_bytes():
        raise ValueError(f"{len(content):,} bytes, {_batch_bytes():,} wanted")
    largest = int(_records(content)[:, 0].max())
    if largest >= len(LABELS):
        raise ValueError(f"there is a label {largest}, but they go from 0 to {len(LABELS) - 1}")


def _records(content):
    return np.frombuffer(content, np.uint8).reshape(RECORDS, -1)


def _has_sha256(content, digest):
    return hashlib.sha256(content).hexdigest() == digest


def _dataset(name, contents):
    """The Dataset in the batch files {name: content}."""
    records = np.concatenate([_records(content) for content in contents.values()])
    images = records[:, 1:].reshape(-1, *SHAPE).transpose(0, 2, 3, 1)  # channels last, as all here
    return Dataset(name, np.ascontiguousarray(images), records[:, 0].astype(np.int64), LABELS)
