"""MNIST is read only if it is MNIST; downloads arrive whole or not at all, and soon."""

import contextlib
import gzip
import hashlib
import io
import os
import random
import socket
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import at_once, put
from PIL import Image, ImageDraw

from tinyddpm import DataUnavailable, load_cifar10, load_mnist, offline_digits, to_model_range
from tinyddpm.data import batch_indices, cache, digits, download, mnist
from tinyddpm.data.cache import data_folder, files_in
from tinyddpm.data.mnist import IdxFile


def idx(array):
    """An array of bytes as an IDX file."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def tiny_mnist(monkeypatch):
    """MNIST with 6 images of 3×2 pixels: {file name: packed bytes}."""
    rng = np.random.default_rng(0)
    files, wanted = {}, []
    for name, array in (
        ("images.gz", rng.integers(0, 256, (6, 3, 2), np.uint8)),
        ("labels.gz", rng.integers(0, 10, 6, np.uint8)),
    ):
        raw = idx(array)
        files[name] = gzip.compress(raw, mtime=0)
        digest = hashlib.sha256(raw).hexdigest()
        wanted.append(IdxFile(name, array.shape, len(files[name]), digest))
    monkeypatch.setattr(mnist, "MNIST", {"train": tuple(wanted)})
    return files


@pytest.mark.parametrize("place", ["", "mnist"])
def test_files_in_the_folder_are_read_without_a_network(tiny_mnist, tmp_path, place):
    put(tmp_path / place, tiny_mnist)
    dataset = load_mnist(tmp_path, mirrors=())
    assert dataset.name == "mnist"
    assert dataset.images.shape == (6, 3, 2, 1) and dataset.images.dtype == np.uint8
    assert dataset.labels.shape == (6,) and dataset.labels.max() < 10
    raw = gzip.decompress(tiny_mnist["images.gz"])
    assert dataset.images.tobytes() == raw[16:]


def test_another_packing_of_the_same_content_passes(tiny_mnist, tmp_path):
    packed = {
        name: gzip.compress(gzip.decompress(content), compresslevel=1, mtime=5)
        for name, content in tiny_mnist.items()
    }
    assert packed != tiny_mnist
    put(tmp_path, packed)
    assert len(load_mnist(tmp_path, mirrors=()).images) == 6


def broken(packed):
    raw = gzip.decompress(packed)
    yield "empty", b""
    yield "a web page", b"<!DOCTYPE html><title>404</title>"  # carlini/nn_robust_attacks#51
    yield "text", b"not found"
    yield "cut", packed[:-9]
    yield "bad checksum", packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]
    yield "too short", gzip.compress(raw[:-1])
    yield "too long", gzip.compress(raw + b"\0")
    yield "a bomb", gzip.compress(raw + bytes(10_000_000))
    yield "another type", gzip.compress(b"\0\0\x0d" + raw[3:])
    yield "other sizes", gzip.compress(raw[:7] + bytes([raw[7] + 1]) + raw[8:])
    yield "another pixel", gzip.compress(raw[:-1] + bytes([raw[-1] ^ 1]))


@pytest.mark.parametrize("number", range(11))
def test_broken_files_are_refused_by_name_and_kept(tiny_mnist, tmp_path, number):
    _, content = list(broken(tiny_mnist["images.gz"]))[number]
    put(tmp_path, {**tiny_mnist, "images.gz": content})
    with pytest.raises(DataUnavailable, match="images.gz is damaged .*no mirror is known"):
        load_mnist(tmp_path, mirrors=())
    assert (tmp_path / "images.gz").read_bytes() == content


def test_every_truncation_and_every_flipped_bit_is_refused_or_harmless(tiny_mnist):
    file, packed = mnist.MNIST["train"][0], tiny_mnist["images.gz"]

    def read(content):
        return mnist._read_idx(io.BufferedReader(io.BytesIO(content)), file)

    right = read(packed)
    refusals = ValueError, EOFError, OSError, zlib.error
    for length in range(len(packed)):
        with pytest.raises(refusals):
            read(packed[:length])
    for bit in range(8 * len(packed)):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(*refusals):
            assert np.array_equal(read(damaged), right)


def test_a_download_is_verified_kept_and_not_repeated(tiny_mnist, tmp_path, serve):
    address = serve(tiny_mnist)
    first = load_mnist(tmp_path / "cache", mirrors=(address,))
    assert (tmp_path / "cache/mnist/images.gz").read_bytes() == tiny_mnist["images.gz"]
    again = load_mnist(tmp_path / "cache", mirrors=())
    assert np.array_equal(first.images, again.images)


def test_a_download_says_how_far_it_is(tiny_mnist, tmp_path, serve, monkeypatch):
    shown = []
    monkeypatch.setattr(download.Progress, "show", lambda self, done: shown.append(done))
    load_mnist(tmp_path / "cache", mirrors=(serve(tiny_mnist),))
    assert {len(content) for content in tiny_mnist.values()} <= set(shown)


def test_the_next_mirror_is_asked_when_one_is_wrong_or_away(tiny_mnist, tmp_path, serve):
    damaged = serve({name: content[:-1] for name, content in tiny_mnist.items()})
    away, whole = serve({}), serve(tiny_mnist)
    assert len(load_mnist(tmp_path / "cache", mirrors=(away, damaged, whole)).images) == 6


def test_a_file_in_the_way_stays_as_it_is(tiny_mnist, tmp_path, serve, capsys):
    """Somebody's Fashion-MNIST has the same names: pytorch/vision#599, #406."""
    place = tmp_path / "cache/mnist"
    as_long = tiny_mnist["images.gz"][::-1]
    for mine in (b"something of mine", b"something else", as_long):
        put(place, {"images.gz": mine})
        (place / "images-2.gz").unlink(missing_ok=True)
        assert len(load_mnist(tmp_path / "cache", mirrors=(serve(tiny_mnist),)).images) == 6
        assert (place / "images.gz").read_bytes() == mine
        said = capsys.readouterr().out
        assert "images.gz is damaged or another file" in said and "images-2.gz was fetched" in said
    load_mnist(tmp_path / "cache", mirrors=())  # what was fetched is found by its content
    assert capsys.readouterr().out == ""


def test_a_failed_download_leaves_no_file_and_says_what_to_do(tiny_mnist, tmp_path, serve):
    cut = serve({name: content[:-1] for name, content in tiny_mnist.items()})
    said = r"could not be downloaded .* put images.gz \("
    with pytest.raises(DataUnavailable, match=said) as error:
        load_mnist(tmp_path / "cache", mirrors=(cut,))
    assert "labels.gz" in str(error.value) and str(tmp_path / "cache") in str(error.value)
    assert not (tmp_path / "cache").exists()


def test_a_file_that_never_ends_is_given_up(tiny_mnist, tmp_path, serve):
    endless = serve({"images.gz": bytes(1_000_000)})
    with pytest.raises(DataUnavailable, match="far more bytes"):
        load_mnist(tmp_path, mirrors=(endless,))


def test_mirrors_that_never_answer_are_given_up_soon(tiny_mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", 0.6)
    monkeypatch.setattr(download, "STALL", 0.2)  # those who ask give up first, and close their door
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes calls, says nothing
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        began = time.monotonic()
        with pytest.raises(DataUnavailable, match="images.gz could not be downloaded"):
            load_mnist(tmp_path, mirrors=(address, address))
    assert time.monotonic() - began < 10 and not any(tmp_path.iterdir())


def test_a_lookup_that_hangs_is_given_up_soon(tiny_mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", 0.2)
    monkeypatch.setattr(download.urllib.request, "urlopen", lambda *a, **k: time.sleep(5))
    began = time.monotonic()
    with pytest.raises(DataUnavailable, match="no answer for"):
        load_mnist(tmp_path, mirrors=("http://somewhere/",))
    assert time.monotonic() - began < 4


def test_a_pause_in_a_download_may_be_longer_than_the_patience(monkeypatch):
    class Slow(io.BytesIO):
        def read1(self, size):
            time.sleep(0.4 if self.tell() else 0)
            return super().read1(3)

    monkeypatch.setattr(download, "PATIENCE", 0.2)
    monkeypatch.setattr(download.urllib.request, "urlopen", lambda *a, **k: Slow(b"12345"))
    assert download.fetch("a", ["http://somewhere/a"], 5, len) == (b"12345", 5)


def test_checking_a_file_may_take_longer_than_the_patience(tmp_path, serve, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", 0.3)
    slow = lambda content: time.sleep(0.8) or len(content)  # noqa: E731
    urls = [serve({"a": b"12345"}) + "a"]
    assert download.fetch("a", urls, 5, slow) == (b"12345", 5)


def test_giving_up_takes_a_few_seconds():
    assert download.PATIENCE <= 6


def test_a_cache_that_cannot_be_written_does_not_stop_the_work(tiny_mnist, tmp_path, serve, capsys):
    put(tmp_path / "cache", {"mnist": b"a file where the folder should be"})
    assert len(load_mnist(tmp_path / "cache", mirrors=(serve(tiny_mnist),)).images) == 6
    assert "could not be written" in capsys.readouterr().out


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'train' and 'test'"):
        load_mnist(split="validation")


def test_the_folder_is_the_first_of_flag_variable_and_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("TINYDDPM_DATA", raising=False)
    assert data_folder() == tmp_path / ".cache/tinyddpm"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert str(data_folder()) == "/cache/tinyddpm"
    monkeypatch.setenv("TINYDDPM_DATA", "/mine")
    assert str(data_folder()) == "/mine"
    assert str(data_folder("/flag")) == "/flag"


def test_the_checksums_are_those_of_the_files_that_mnist_has():
    sizes = {file.name: int(np.prod(file.shape)) for pair in mnist.MNIST.values() for file in pair}
    assert sizes == {
        "train-images-idx3-ubyte.gz": 47_040_000, "train-labels-idx1-ubyte.gz": 60_000,
        "t10k-images-idx3-ubyte.gz": 7_840_000, "t10k-labels-idx1-ubyte.gz": 10_000,
    }  # fmt: skip


def test_offline_digits_are_a_function_of_the_seed():
    one, two, other = offline_digits(40), offline_digits(40), offline_digits(40, seed=1)
    assert np.array_equal(one.images, two.images) and np.array_equal(one.labels, two.labels)
    assert not np.array_equal(one.images, other.images)
    assert one.images.shape == (40, 28, 28, 1) and one.images.dtype == np.uint8
    assert np.bincount(one.labels).tolist() == [4] * 10


def test_offline_digits_can_be_told_apart_and_vary():
    """The mean image of each digit recognises most other drawings of it."""
    train, test = offline_digits(600), offline_digits(200, seed=1)
    flat = to_model_range(train.images).reshape(600, -1)
    means = np.stack([flat[train.labels == k].mean(axis=0) for k in range(10)])
    distance = ((to_model_range(test.images).reshape(200, 1, -1) - means) ** 2).sum(axis=-1)
    assert (distance.argmin(axis=1) == test.labels).mean() > 0.5
    assert min(flat[train.labels == k].std(axis=0).mean() for k in range(10)) > 0.1


def test_offline_digits_are_bent_as_much_as_they_say():
    """A dot in the middle, and one beside and below it, are where the map has brought them."""
    size = 84
    dots = [Image.new("L", (size, size)) for _ in range(3)]
    for dot, (x, y) in zip(dots, ((0, 0), (20, 0), (0, 20))):
        box = (size / 2 + x - 4, size / 2 + y - 4, size / 2 + x + 3, size / 2 + y + 3)
        ImageDraw.Draw(dot).rectangle(box, fill=255)
    facts = []
    for seed in range(300):
        bent = [np.array(digits._bend(dot, np.random.default_rng(seed)), float) for dot in dots]
        places = [
            np.array([(np.arange(size) + 0.5) @ image.sum(axis=k) for k in (0, 1)]) / image.sum()
            for image in bent
        ]
        back = np.linalg.inv(np.stack([place - places[0] for place in places[1:]], axis=1) / 20)
        angle, grow_x = np.arctan2(back[1, 0], back[0, 0]), np.hypot(*back[:, 0])
        turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ back
        grow_y, slant = turned[1, 1], turned[0, 1] / turned[1, 1]
        facts.append([*(places[0] / size - 0.5), grow_x, grow_y, angle, slant])
    low, high, spread = (f(facts, axis=0) for f in (np.min, np.max, np.std))
    assert np.allclose(low[:4], [-0.06, -0.06, 0.85, 0.85], atol=0.01)
    assert np.allclose(high[:4], [0.06, 0.06, 1.2, 1.2], atol=0.01)
    assert np.allclose(spread[4:], [0.12, 0.2], rtol=0.15)
    assert np.allclose(np.mean(facts, axis=0)[4:], 0, atol=0.04)


def test_pixels_become_minus_one_to_one():
    unit = to_model_range(np.array([[0, 255], [127, 128]], np.uint8))
    assert unit.dtype == np.float32 and unit[0].tolist() == [-1, 1]
    assert np.allclose(unit[1], [-1 / 255, 1 / 255], atol=1e-6)


def test_every_epoch_shows_every_image_once_in_a_new_order():
    batches = [batch_indices(12, 4, step, seed=5) for step in range(6)]
    epochs = np.concatenate(batches[:3]), np.concatenate(batches[3:])
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert not np.array_equal(*epochs)
    assert not np.array_equal(epochs[0][:4], batch_indices(12, 4, 0, 6))
    assert np.array_equal(epochs[0][4:8], batch_indices(12, 4, 1, 5))


# The forms in which people have MNIST, and who reported that theirs was not read.
def as_npz(tiny):
    """Keras's mnist.npz."""
    packed, arrays = io.BytesIO(), {}
    for key, name, header in (("x_train", "images.gz", 16), ("y_train", "labels.gz", 8)):
        raw = gzip.decompress(tiny[name])
        arrays[key] = np.frombuffer(raw[header:], np.uint8).reshape(
            (6, 3, 2) if key[0] == "x" else 6
        )
    np.savez_compressed(packed, x_test=np.zeros((2, 3, 2), np.uint8), **arrays)
    return packed.getvalue()


def as_zip(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def as_csv(tiny, head):
    images = np.frombuffer(gzip.decompress(tiny["images.gz"])[16:], np.uint8).reshape(6, -1)
    labels = gzip.decompress(tiny["labels.gz"])[8:]
    rows = [",".join(map(str, [label, *image])) for label, image in zip(labels, images)]
    return "\r\n".join(head + rows).encode()


def forms(tiny):
    raw = {name[:-3]: gzip.decompress(content) for name, content in tiny.items()}
    dotted = {f"{name}.idx-ubyte": content for name, content in raw.items()}
    nested = {f"{name}/{name}": content for name, content in dotted.items()}
    inside = {f"{name}/{name}": content for name, content in raw.items()}
    other = {f"FashionMNIST/raw/{name}": content[::-1] for name, content in raw.items()}
    return {
        "unpacked": raw,  # carpedm20/DCGAN-tensorflow#196
        "unpacked, dotted by 7-Zip": dotted,  # sorki/python-mnist#19, JackyTung/tensorgraph#1
        "unpacked by the browser": {f"{name}.gz": content for name, content in raw.items()},
        "saved twice": {f"{name} (1).gz": tiny[f"{name}.gz"] for name in raw},
        "torchvision": {f"MNIST/raw/{name}": content for name, content in (raw | tiny).items()},
        "beside Fashion-MNIST": {  # pytorch/vision#599
            **other, **{f"MNIST/raw/{name}": content for name, content in raw.items()},
        },
        "Kaggle": {f"archive/{name}": content for name, content in (inside | nested).items()},
        "Kaggle's archive": {"archive (2).zip": as_zip({**nested, "/etc/x": b"", "../x": b""})},
        "Keras": {"datasets/mnist.npz": as_npz(tiny)},
        "a table": {"mnist_train.csv": as_csv(tiny, ["label,1x1,1x2,2x1,2x2,3x1,3x2"])},
        "a table without a head": {"mnist_train.csv": as_csv(tiny, [])},
        "any names": {"a": tiny["images.gz"], "b": raw["labels"]},
        "beside what a Mac leaves": {**{f"._{name}": b"Mac OS X" for name in tiny}, **tiny},
    }  # fmt: skip


@pytest.mark.parametrize("number", range(13))
def test_mnist_is_read_in_every_form_that_people_have(tiny_mnist, tmp_path, number, capsys):
    for name, content in list(forms(tiny_mnist).values())[number].items():
        put((tmp_path / name).parent, {Path(name).name: content})
    before = sorted(tmp_path.rglob("*"))
    dataset = load_mnist(tmp_path, mirrors=())
    assert dataset.images.tobytes() == gzip.decompress(tiny_mnist["images.gz"])[16:]
    assert dataset.labels.tolist() == list(gzip.decompress(tiny_mnist["labels.gz"])[8:])
    assert sorted(tmp_path.rglob("*")) == before and capsys.readouterr().out == ""


def test_files_are_found_the_nearest_first(tmp_path, monkeypatch):
    files = {"a": b"", "b.zip": as_zip({"x": b"", "y": b""}), "c.odt": as_zip({"z": b""})}
    put(tmp_path, {**files, ".hidden": b""})
    put(tmp_path / "d/d", {"e": b""})
    names = [file.path.relative_to(tmp_path).as_posix() for file in files_in(tmp_path)]
    assert names == ["a", "b.zip", "b.zip/x", "b.zip/y", "c.odt", "d/d/e"]
    monkeypatch.setattr(cache, "MOST", 3)
    assert [file.path.name for file in files_in(tmp_path)] == ["a", "b.zip", "x"]


def test_what_lies_in_a_folder_instead_is_said(tiny_mnist, tmp_path):
    put(tmp_path, {"cat\n\x1b[31m.jpg": b"", **{f"dog{n}.jpg": b"" for n in range(5)}})
    with pytest.raises(
        DataUnavailable, match=r"holds cat  \[31m.jpg, dog0.jpg, dog1.jpg and 3 more"
    ):
        load_mnist(tmp_path, mirrors=())
    put(tmp_path, {"my images.idx": idx(np.zeros((6, 3, 2), np.uint8))})
    with pytest.raises(
        DataUnavailable, match="my images.idx is damaged or .* Fashion-MNIST has the"
    ):
        load_mnist(tmp_path, mirrors=())
    (tmp_path / "my images.idx").write_bytes(as_zip({"a": b""}))
    with pytest.raises(DataUnavailable, match="starts with 504b0304"):
        load_mnist(tmp_path, mirrors=())


def test_a_file_in_place_of_a_folder_is_named(tmp_path, monkeypatch):
    put(tmp_path, {"mnist.npz": b""})
    for load in (load_mnist, load_cifar10):
        with pytest.raises(
            DataUnavailable, match="mnist.npz is a file: name the folder that it lies"
        ):
            load(tmp_path / "mnist.npz")
    monkeypatch.setenv("TINYDDPM_DATA", "~nosuch/x")
    with pytest.raises(DataUnavailable, match="no home for ~nosuch/x: name another"):
        load_mnist()


def test_odd_folders_do_not_hold_anybody_up(tiny_mnist, tmp_path):
    """Circles of links, pipes, closed doors, names that are folders, damaged archives."""
    for name in ("again", "and again"):
        (tmp_path / name).symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "images")
    (tmp_path / "images.gz").mkdir()
    put(tmp_path, {"a.zip": as_zip(tiny_mnist)[:-30], "b.npz": as_npz(tiny_mnist)[:99]})
    with pytest.raises(DataUnavailable, match="no mirror is known"):
        load_mnist(tmp_path, mirrors=())
    put(tmp_path / "z/z/z", tiny_mnist)
    assert len(load_mnist(tmp_path, mirrors=()).images) == 6


def test_bombs_are_read_no_further_than_wanted(tiny_mnist, tmp_path, monkeypatch):
    header = idx(np.zeros((6, 3, 2), np.uint8))[:16]
    huge = bytes(20_000_000)
    put(tmp_path, {
        "images.gz": gzip.compress(header + huge, 1),
        "mnist.npz": as_zip({"x.npy": b"\x93NUMPY" + huge}),
        "a.zip": as_zip({"images": header + huge, "b.csv": b"1," + huge, "/x": b"", "../x": b""}),
    })  # fmt: skip
    monkeypatch.setattr(mnist, "MOST_TEXT", 100_000)
    tracemalloc.start()
    with pytest.raises(DataUnavailable, match="36 numbers wanted, more came") as error:
        load_mnist(tmp_path, mirrors=())
    assert tracemalloc.get_traced_memory()[1] < 5_000_000 and len(str(error.value)) < 600
    tracemalloc.stop()


def test_damaged_archives_and_tables_are_refused_or_harmless(tiny_mnist, tmp_path):
    rng, right = random.Random(0), gzip.decompress(tiny_mnist["images.gz"])[16:]
    whole = {"mnist.npz": as_npz(tiny_mnist), "a.zip": as_zip(tiny_mnist)}
    whole["t.csv"] = as_csv(tiny_mnist, [])
    for name, content in whole.items():
        for _ in range(60):
            damaged = bytearray(content)
            for _ in range(rng.randint(1, 3)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            put(tmp_path, {name: bytes(damaged[: rng.choice([None, rng.randrange(len(damaged))])])})
            with contextlib.suppress(DataUnavailable):
                assert load_mnist(tmp_path, mirrors=()).images.tobytes() == right
        (tmp_path / name).unlink()


def test_a_table_of_more_images_is_another_one(tiny_mnist, tmp_path):
    table = as_csv(tiny_mnist, [])
    put(tmp_path, {"mnist_train.csv": table + b"\r\n" + table.splitlines()[0]})
    with pytest.raises(DataUnavailable, match="36 numbers wanted, more came"):
        load_mnist(tmp_path, mirrors=())


def test_many_may_fetch_at_once(tiny_mnist, tmp_path, serve, capsys):
    """pytorch/tutorials#3065, ray-project/ray#1457, pyro-ppl/pyro#1875, horovod/horovod#1834."""
    address = serve(tiny_mnist)
    for number in range(8):
        cache = tmp_path / f"cache{number}"
        counts = at_once(4, lambda: len(load_mnist(cache, mirrors=(address,)).images))  # noqa: B023
        assert counts == [6] * 4
        assert sorted(os.listdir(cache / "mnist")) == ["images.gz", "labels.gz"]
    assert "written" not in capsys.readouterr().out
