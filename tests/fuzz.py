"""Files from strangers: thousands of damaged ones for each reader, which may only refuse them.

    python tests/fuzz.py                          100,000 for each reader, which takes hours
    python tests/fuzz.py --count 2000 --only tar safetensors

Each is a good file with a few changes, a function of (reader, number). A reader may take it, or
raise a ValueError, an OSError or DataUnavailable with a short message, and may not ask for more
memory than twice the file's bytes and some ROOM (but see TABLES and ASK), nor write outside of the
folder of its file. What else happens is printed, and the file is kept. The default suite has some
of each.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import pickle
import random
import re
import sys
import tarfile
import tempfile
import traceback
import tracemalloc
import warnings
import zipfile
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

import numpy as np
from conftest import old_checkpoint
from PIL import Image

from tinyddpm import (
    DataUnavailable,
    TrainConfig,
    UNet,
    UNetConfig,
    load_checkpoint,
    load_cifar10,
    load_diffusers,
    load_inception,
    load_mnist,
    load_process,
    load_trained,
    read_picture,
    read_safetensors,
    read_torch,
    save_checkpoint,
    write_safetensors,
)
from tinyddpm.data import cifar10
from tinyddpm.data.arrays import load_arrays
from tinyddpm.data.digits import offline_digits
from tinyddpm.data.own import _kept
from tinyddpm.data.tar import tar_files
from tinyddpm.evaluation import judge
from tinyddpm.evaluation.classifier import Classifier, ClassifierConfig
from tinyddpm.interop.folders import CONFIG, SCHEDULER, WEIGHTS
from tinyddpm.pickles import ARRAY_MAKERS, read_pickle
from tinyddpm.training.kept import VECTORS
from tinyddpm.training.log import HEADER, Log

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "examples"))
from evaluate import kept  # noqa: E402

LONGEST = 300  # characters of a message, without the path in it
ROOM = 3 << 19  # bytes: a U-Net of 182 arrays takes 0.34 million, a buffer of a file 1.06 million
TABLES = 12 << 20  # instead, if it says how many steps a schedule has: 100,000 take 11.2 million
ODD = b'0 -1 7 255 65536 4294967295 99999999999999999999 1e400 NaN null true [] {} "x"'.split()
GREY = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)


def picture(kind):
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, kind)
    return file.getvalue()


def npz():
    file = io.BytesIO()
    np.savez(file, GREY[None])
    return file.getvalue()


def archive():
    """A tar archive of two files, gzipped."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name in ("folder/one", "two"):
            about = tarfile.TarInfo(name)
            about.size = 700
            tar.addfile(about, io.BytesIO(bytes(700)))
    return file.getvalue()


def written(write, *arguments):
    """The bytes that write(path, *arguments) leaves."""
    with tempfile.TemporaryDirectory() as folder:
        write(path := Path(folder) / "file", *arguments)
        return path.read_bytes()


def read_idx(path):
    labels = bytes([0, 0, 8, 1, 0, 0, 0, 4]) + bytes(4)
    (path.parent / "train-labels-idx1-ubyte").write_bytes(labels)
    return load_arrays(path)


def put_published(folder, *names):
    """Put those of the published files that are not there."""
    for name in names:
        if not (folder / name).exists():
            (folder / name).write_bytes((HERE / "published" / name).read_bytes())


def read_folder(path):
    """A folder of diffusers with this file in it."""
    put_published(path.parent, CONFIG, WEIGHTS)
    return load_diffusers(path.parent)


def read_index(path):
    """The same, if this file says where the weights are."""
    put_published(path.parent, CONFIG)
    if not (part := path.parent / PART).exists():
        part.write_bytes((HERE / "published" / WEIGHTS).read_bytes())
    return load_diffusers(path.parent)


def read_scheduler(path):
    put_published(path.parent, CONFIG)
    return load_process(path.parent)


def read_hub(path):
    """A folder of the hub's cache, with this text in refs/main."""
    (path.parent / "refs").mkdir(exist_ok=True)
    (snapshot := path.parent / "snapshots/c0ffee").mkdir(parents=True, exist_ok=True)
    put_published(snapshot, CONFIG, SCHEDULER)
    path.replace(path.parent / "refs/main")
    return load_process(path.parent)


def signed(read):
    """Reads a checkpoint whose checksum is right whatever it holds."""

    def read_signed(path):
        arrays, facts = read_safetensors(path)
        meta = {k: json.loads(v) for k, v in facts.items() if k not in ("format", "sha256")}
        save_checkpoint(path, arrays, meta)
        return read(path)

    return read_signed


def read_batch(path):
    """Four images of CIFAR-10, of 2 × 3 pixels."""
    with patch.multiple(cifar10, RECORDS=4, SHAPE=(3, 2, 3)):
        return load_cifar10(path.parent, "test", urls=())


def read_classifier(path):
    place = path.parent / "classifiers" / CLASSIFIER_FILE
    place.parent.mkdir(exist_ok=True)
    path.replace(place)
    with patch.object(judge, "train_classifier", lambda *_: JUDGE_WEIGHTS):
        theta = judge.trained_classifier(JUDGE, DIGITS, path.parent)
    assert theta.dtype == np.float32 and theta.shape == JUDGE_WEIGHTS.shape
    assert np.isfinite(theta).all()


def read_samples(path):
    images = kept(path, STEPS)
    assert images is None or images.dtype == np.uint8


def read_kept_pictures(path):
    (path.parent / "images").write_bytes(bytes(24))
    if found := _kept(path.parent, 2):
        images, names = found
        assert len(images) == len(names) and images.ndim == 4 and set(map(type, names)) <= {str}


def read_log(path):
    log = Log()
    log.read(path, 2)
    return log.losses


def read_table(path):
    try:
        return load_mnist(path.parent, mirrors=())
    except DataUnavailable as error:  # goes on with where MNIST comes from, in our own words
        raise ValueError(str(error).partition(";")[0]) from None


def read_tar(path):
    with open(path, "rb") as stream:
        return list(tar_files(stream, lambda name: True, largest=1 << 16, most=1 << 20))


def read_square(path):
    return read_picture(path, 16)


ARRAYS = {"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 3))}
IMAGES = bytes([0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 8]) + GREY.tobytes()[:256]
BATCH = {"data": GREY.reshape(-1)[:72].reshape(4, 18), "labels": [1, 2, 3, 4]}
TABLE = b"label,a,b\n" + b"7,0,255\n" * 3
KEPT = {"sha256": hashlib.sha256(bytes(24)).hexdigest(), "channels": 1, "names": ["a", "b/c"]}
STEPS = {"steps": 5}
LOG = f"{HEADER}\n1,0.5,2.25,0.001\n2,0.25,2,0.0005\n"

INDEX, PART = f"{WEIGHTS}.index.json", "part.safetensors"
NAMES = read_safetensors(HERE / "published" / WEIGHTS)[0]
PLACES = json.dumps({"weight_map": dict.fromkeys(NAMES, PART)}).encode()

JUDGE = Classifier(ClassifierConfig(base=4, features=4, groups=2))
JUDGE_WEIGHTS, DIGITS = np.zeros(JUDGE.layout.size, np.float32), offline_digits(2)
CLASSIFIER_FILE = f"{DIGITS.name}-{judge._digest(JUDGE, DIGITS)}.safetensors"

UNET = UNetConfig(8, base=4, multipliers=(1,), attention_at=(), groups=2, classes=2)
RUN = {name: np.ones(UNet(UNET).layout.size, np.float32) for name in VECTORS}
HALF = RUN["ema"].astype(np.float16)
RUN["history"] = np.ones((30, 10))
FACTS = {
    "unet": asdict(UNET), "train": asdict(TrainConfig(T=30)), "step": 5, "data": "digits",
    "source": {"path": "a", "image_size": 8}, "label_names": ["a", "b"], "learned_labels": [0, 1],
}  # fmt: skip


def old(path):
    old_checkpoint(path.with_suffix(".npz"), ARRAYS, {"a": [1]}).rename(path)


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mnist_test.csv", TABLE)
    return file.getvalue()


SEALED = "inception", "table", "zip"  # which nobody can write who has not the original
SCHEDULES = "run", "trained", "scheduler"
ASK = read_square, read_table  # for more memory than they touch: what a header says, 200 MB of text

# The name of the file, a good one, and how it is read.
READERS = {
    "safetensors": ("file", written(write_safetensors, ARRAYS, {"a": "b"}), read_safetensors),
    "checkpoint": ("file", written(save_checkpoint, ARRAYS, {"a": [1]}), load_checkpoint),
    "old checkpoint": ("file", written(old), load_checkpoint),
    "run": ("file", written(save_checkpoint, RUN, FACTS), signed(load_trained)),
    "trained": ("file", written(save_checkpoint, {"ema": HALF}, FACTS), signed(load_trained)),
    "log": ("log.csv", LOG.encode(), read_log),
    "kept pictures": (
        "pictures.json", json.dumps(KEPT).encode(), read_kept_pictures
    ),
    "samples": (
        "file", written(save_checkpoint, {"images": np.ones((2, 2, 2, 1), np.float16)}, STEPS),
        signed(read_samples),
    ),
    "classifier": (
        "file", written(save_checkpoint, {"theta": JUDGE_WEIGHTS}, {}), signed(read_classifier)
    ),
    "inception": ("file", (HERE / "torch_files/zipped.pth").read_bytes(), load_inception),
    "torch": ("file", (HERE / "torch_files/zipped.pth").read_bytes(), read_torch),
    "old torch": ("file", (HERE / "torch_files/before_zip.pth").read_bytes(), read_torch),
    "pickle": (
        "file", pickle.dumps(BATCH, 2), lambda path: read_pickle(path.read_bytes(), ARRAY_MAKERS)
    ),
    "batch": ("test_batch.bin", bytes(4 * 19), read_batch),
    "pickled batch": ("test_batch", pickle.dumps(BATCH, 2), read_batch),
    "table": ("mnist_train.csv", TABLE, read_table),
    "zip": ("mnist.zip", zipped(), read_table),
    "tar": ("file", archive(), read_tar),
    "unpacked tar": ("file", gzip.decompress(archive()), read_tar),
    "npz": ("file.npz", npz(), load_arrays),
    "idx": ("train-images-idx3-ubyte", IMAGES, read_idx),
    "gzipped idx": ("train-images-idx3-ubyte", gzip.compress(IMAGES, mtime=0), read_idx),
    "config": ("config.json", (HERE / "published/config.json").read_bytes(), read_folder),
    "weights": (WEIGHTS, (HERE / "published" / WEIGHTS).read_bytes(), read_folder),
    "index": (INDEX, PLACES, read_index),
    "hub": ("file", b"c0ffee", read_hub),
    "scheduler": (
        "scheduler_config.json", (HERE / "published/scheduler_config.json").read_bytes(),
        read_scheduler,
    ),
    **{
        kind: (f"file.{kind}", picture(kind), read_square)
        for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm")
    },
}  # fmt: skip


def damaged(content, rng):
    """The content with one to four changes."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) + 1)
        some = content[at : at + rng.choice((1, 2, 4, 8, 60))]
        kind = rng.randrange(7)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at : at + len(some)] = rng.randbytes(len(some))
        elif kind == 2:
            content[at : at + len(some)] = rng.choice((b"\0", b"\xff", b"\x7f")) * len(some)
        elif kind == 3:
            del content[at : at + len(some)]
        elif kind == 4:
            content[at:at] = some
        elif kind == 5 and rng.random() < 0.3:
            del content[at:]
        elif numbers := list(re.finditer(rb"\d+", content)):
            found = rng.choice(numbers)
            content[found.start() : found.end()] = rng.choice(ODD)
    return bytes(content)


CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
elsewhere, home = [], None  # what is changed outside of the folder `home`, while there is one


def _watch(event, arguments):
    """Python calls this before it opens or changes a file."""
    if home and (event in CHANGES or event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        path = arguments[0]
        if not (isinstance(path, (str, Path)) and str(path).startswith(home)):
            elsewhere.append(f"{event} of {path}")


sys.addaudithook(_watch)


def complaint(reader, content, folder):
    """What is wrong with how a reader takes a file: a sentence, or None."""
    name, _, read = READERS[reader]
    path = Path(folder) / name
    path.write_bytes(content)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    global home
    elsewhere.clear()
    try:
        home = str(folder)
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except (ValueError, OSError, DataUnavailable) as error:
        text = str(error).replace(str(path), "").replace(str(folder), "")
        if len(text) > LONGEST or not text.isprintable():
            return f"a message of {len(text):,} characters: {text[:400]!r}"
    except Exception:
        return traceback.format_exc(limit=-3)
    finally:
        home = None
    if elsewhere:
        return f"{elsewhere} outside of its folder"
    peak = tracemalloc.get_traced_memory()[1] - before
    most = 2 * len(content) + (TABLES if reader in SCHEDULES else ROOM)
    return f"{peak:,} bytes of memory" if peak > most and read not in ASK else None


def fuzz(reader, count):
    """(number, content, complaint) of those of `count` damaged files that a reader takes badly."""
    good = READERS[reader][1]
    tracemalloc.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            assert complaint(reader, good, folder) is None
            if reader not in SEALED:
                name, _, read = READERS[reader]
                (path := Path(folder) / name).write_bytes(good)
                read(path)
            for number in range(count):
                content = damaged(good, random.Random(f"{reader} {number}"))
                if (said := complaint(reader, content, folder)) is not None:
                    yield number, content, said
    finally:
        tracemalloc.stop()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000, help="files a reader (100,000)")
    parser.add_argument("--only", nargs="+", choices=READERS, default=READERS, help="readers (all)")
    arguments, bad = parser.parse_args(), 0
    for reader in arguments.only:
        before = bad
        for number, content, said in fuzz(reader, arguments.count):
            bad += 1
            Path(kept := f"fuzz-{reader.replace(' ', '-')}-{number}").write_bytes(content)
            print(json.dumps(kept), said, sep="\n", flush=True)
        print(f"{reader}: {arguments.count:,} files, {bad - before} taken badly", flush=True)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
