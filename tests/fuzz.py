"""Files from strangers: thousands of damaged ones for each reader, which may only refuse them.

    python tests/fuzz.py                          100,000 for each reader, which takes hours
    python tests/fuzz.py --count 2000 --only tar safetensors

Each is a good file with a few changes, a function of (reader, number). A reader may take it, or
raise a ValueError, an OSError or DataUnavailable with a short message, and may not ask for much
more memory than the good file holds (Pillow asks for what a picture's header says, but never
touches it). What else happens is printed, and the file is kept. The default suite has a hundred of
each.
"""

import argparse
import gzip
import io
import json
import pickle
import random
import re
import sys
import tarfile
import tempfile
import traceback
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from tinyddpm import (
    DataUnavailable,
    load_checkpoint,
    load_diffusers,
    load_process,
    read_picture,
    read_safetensors,
    read_torch,
    save_checkpoint,
    write_safetensors,
)
from tinyddpm.data.arrays import load_arrays
from tinyddpm.data.tar import tar_files
from tinyddpm.pickles import ARRAY_MAKERS, read_pickle

HERE = Path(__file__).parent
LONGEST = 300  # characters of a message, without the path in it
MEMORY = 16 << 20  # bytes; all the good files hold far less
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


def read_folder(path):
    """A folder of diffusers with this config.json."""
    for name in ("diffusion_pytorch_model.safetensors", "scheduler_config.json"):
        (path.parent / name).write_bytes((HERE / "published" / name).read_bytes())
    return load_diffusers(path.parent)


def read_tar(path):
    with open(path, "rb") as stream:
        return list(tar_files(stream, lambda name: True, largest=1 << 16, most=1 << 20))


def read_square(path):
    return read_picture(path, 16)


ARRAYS = {"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 3))}
IMAGES = bytes([0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 8]) + GREY.tobytes()[:256]
BATCH = {"data": GREY, "labels": [1, 2, 3]}

# The name of the file, a good one, and how it is read.
READERS = {
    "safetensors": ("file", written(write_safetensors, ARRAYS, {"a": "b"}), read_safetensors),
    "checkpoint": ("file", written(save_checkpoint, ARRAYS, {"a": [1]}), load_checkpoint),
    "torch": ("file", (HERE / "torch_files/zipped.pth").read_bytes(), read_torch),
    "old torch": ("file", (HERE / "torch_files/before_zip.pth").read_bytes(), read_torch),
    "pickle": (
        "file", pickle.dumps(BATCH, 2), lambda path: read_pickle(path.read_bytes(), ARRAY_MAKERS)
    ),
    "tar": ("file", archive(), read_tar),
    "unpacked tar": ("file", gzip.decompress(archive()), read_tar),
    "npz": ("file.npz", npz(), load_arrays),
    "idx": ("train-images-idx3-ubyte", IMAGES, read_idx),
    "gzipped idx": ("train-images-idx3-ubyte", gzip.compress(IMAGES, mtime=0), read_idx),
    "config": ("config.json", (HERE / "published/config.json").read_bytes(), read_folder),
    "scheduler": (
        "scheduler_config.json", (HERE / "published/scheduler_config.json").read_bytes(),
        lambda path: load_process(path.parent),
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
        numbers = list(re.finditer(rb"\d+", content))
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
        elif numbers:
            found = rng.choice(numbers)
            content[found.start() : found.end()] = rng.choice(ODD)
    return bytes(content)


def complaint(reader, content, folder):
    """What is wrong with how a reader takes a file: a sentence, or None."""
    name, _, read = READERS[reader]
    path = Path(folder) / name
    path.write_bytes(content)
    tracemalloc.reset_peak()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except (ValueError, OSError, DataUnavailable) as error:
        text = str(error).replace(str(path), "").replace(str(folder), "")
        if len(text) > LONGEST or "\n" in text:
            return f"a message of {len(text):,} characters: {text[:400]!r}"
    except Exception:
        return traceback.format_exc(limit=-3)
    peak = tracemalloc.get_traced_memory()[1]
    return f"{peak:,} bytes of memory" if peak > MEMORY and read is not read_square else None


def fuzz(reader, count):
    """(number, content, complaint) of those of `count` damaged files that a reader takes badly."""
    good = READERS[reader][1]
    tracemalloc.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            assert complaint(reader, good, folder) is None
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
