"""CIFAR-10: 60,000 photographs of 32 × 32 pixels in ten classes, by A. Krizhevsky."""

import hashlib
from functools import partial

import numpy as np

from ..doors import brief
from ..pickles import ARRAY_MAKERS, read_pickle
from .batches import Dataset
from .cache import data_folder, files_in, obtain
from .download import DataUnavailable
from .tar import tar_files

URLS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz",
)
ARCHIVE = "cifar-10-binary.tar.gz"
ARCHIVE_BYTES = 170_052_171
BATCHES = "cifar-10-batches-bin"  # the folder in it, and the files in that with their SHA-256
PICKLES = "cifar-10-batches-py"  # the folder in the archive for Python; no .bin in its files' names
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

    In `data_folder(folder)` and the folders in it are looked for: the batch files, binary ones
    (cifar-10-batches-bin) or pickles (cifar-10-batches-py), else an archive of either, which is
    fetched if there is none. Nothing is unpacked onto the disk, and no pickle runs.

    Batch files of the right format with other content are read, too, but the data set is then
    called "cifar10-copy": what is measured on it is not measured on CIFAR-10.
    Raises     DataUnavailable if it cannot be had or is damaged; ValueError for another split
    Source     Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: CIFAR-10 has 'train' and 'test'")
    wanted, home = SPLITS[split], data_folder(folder)
    found = files_in(home)
    for folder, files in _batch_folders(found, wanted).items():
        contents = _batch_files(folder, files, wanted)
        original = all(map(_has_sha256, contents.values(), wanted.values()))
        return _dataset("cifar10" if original else "cifar10-copy", contents)
    path, read = home / "cifar10" / ARCHIVE, partial(_read_archive, wanted)
    try:
        return _dataset("cifar10", obtain(found, _fits, path, urls, ARCHIVE_BYTES, read))
    except DataUnavailable as error:
        raise DataUnavailable(
            f"{error}; to use CIFAR-10 without a network, put {ARCHIVE} ({ARCHIVE_BYTES:,} bytes) "
            f"or its batch files ({', '.join([*TRAIN, *TEST])}: {_batch_bytes():,} bytes each) "
            f"into {path.parent}"
        ) from None


def _fits(path):
    """Whether a file has the name of an archive of CIFAR-10, however it was saved."""
    return "cifar" in path.name and ("tar" in path.name or "tgz" in path.name)


def _batch_bytes():
    return RECORDS * (1 + int(np.prod(SHAPE)))


def _largest():
    """What a batch file may have at most, in bytes: Python 3's pickles can need two for a byte."""
    return 2 * _batch_bytes() + (1 << 20)


def _binary_name(name):
    """The name of a batch file in `BATCHES`, given that in either folder."""
    return name.removesuffix(".bin") + ".bin"


def _batch_folders(found, wanted):
    """{folder: {name: the Found}} of the folders with batch files, the nearest first."""
    folders = {}
    for file in found:
        if (name := _binary_name(file.path.name)) in wanted:
            folders.setdefault(file.path.parent, {})[name] = file
    return folders


def _batch_files(folder, files, wanted):
    """{name: records} of the batch files in a folder; DataUnavailable unless all are sound."""
    contents = {}
    for name in wanted:
        try:
            if name not in files:
                raise ValueError("No such file")
            with files[name].open() as stream:
                contents[name] = _records_in(stream.read(_largest()))
        except Exception as error:  # it may lie in a zip archive, which fails in many ways
            path = files[name].path if name in files else folder / name
            raise DataUnavailable(
                f"{path} is no batch file of CIFAR-10 ({brief(error)}): replace it, or take "
                "the batch files away to have the archive fetched"
            ) from None
    return contents


def _read_archive(wanted, stream):
    """{name: records} of the batch files in an archive; ValueError unless they are CIFAR-10's."""

    def wants(path):
        folder, _, name = path.rpartition("/")
        return folder.rpartition("/")[2] in (BATCHES, PICKLES) and _binary_name(name) in wanted

    contents = dict.fromkeys(wanted)  # in their order
    most = 20 * _batch_bytes() + (1 << 20)
    for path, content in tar_files(stream, wants, _largest(), most):
        name = _binary_name(path.rpartition("/")[2])
        contents[name] = _records_in(content)
        if not _has_sha256(contents[name], wanted[name]):
            raise ValueError(f"{name} in it is not CIFAR-10's; copies are read if unpacked")
    if missing := [name for name in wanted if contents[name] is None]:
        raise ValueError(f"there is no {missing[0]} in it")
    return contents


def _records_in(content):
    """The records in a batch file, binary or pickled; ValueError unless they are sound.

    Format     RECORDS of a label, a byte, and an image (3, 32, 32) of bytes
    """
    if content[:1] == b"\x80":  # a pickle; no label is that large
        content = _unpickled(content)
    if len(content) != _batch_bytes():
        raise ValueError(f"{len(content):,} bytes, {_batch_bytes():,} wanted")
    largest = int(_records(content)[:, 0].max())
    if largest >= len(LABELS):
        raise ValueError(f"there is a label {largest}, but they go from 0 to {len(LABELS) - 1}")
    return content


def _unpickled(content):
    """The records in the pickle of {"data": bytes (RECORDS, 3072), "labels": a list, ...}."""
    batch = read_pickle(content, ARRAY_MAKERS)
    if not isinstance(batch, dict):
        raise ValueError(f"a {type(batch).__name__} is in it, a dict wanted")
    batch = {key.decode() if isinstance(key, bytes) else key: batch[key] for key in batch}
    try:
        images, labels = batch["data"].numbers(), bytes(batch["labels"])
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"no images and labels are in it: {error}") from None
    if images.dtype != np.uint8 or images.shape != (len(labels), np.prod(SHAPE)):
        raise ValueError(f"there are {len(labels)} labels, images {images.shape} {images.dtype}")
    return np.column_stack([np.frombuffer(labels, np.uint8), images]).reshape(-1)


def _records(content):
    return np.frombuffer(content, np.uint8).reshape(RECORDS, -1)


def _has_sha256(content, digest):
    return hashlib.sha256(content).hexdigest() == digest


def _dataset(name, contents):
    """The Dataset in the batch files {name: content}."""
    records = [_records(content) for content in contents.values()]
    images = [r[:, 1:].reshape(-1, *SHAPE).transpose(0, 2, 3, 1) for r in records]  # channels last
    labels = np.concatenate([r[:, 0] for r in records]).astype(np.int64)
    return Dataset(name, np.array(images).reshape(-1, *images[0].shape[1:]), labels, LABELS)
