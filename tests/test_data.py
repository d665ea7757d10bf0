"""MNIST is read only if it is MNIST; downloads arrive whole or not at all, and soon."""

import contextlib
import gzip
import hashlib
import io
import socket
import time
import zlib

import numpy as np
import pytest
from conftest import put

from tinyddpm import DataUnavailable, load_mnist, offline_digits, to_model_range
from tinyddpm.data import batch_indices, download, mnist
from tinyddpm.data.cache import data_folder
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


def test_the_next_mirror_is_asked_when_one_is_wrong_or_away(tiny_mnist, tmp_path, serve):
    damaged = serve({name: content[:-1] for name, content in tiny_mnist.items()})
    away, whole = serve({}), serve(tiny_mnist)
    assert len(load_mnist(tmp_path / "cache", mirrors=(away, damaged, whole)).images) == 6


def test_a_file_in_the_way_stays_as_it_is(tiny_mnist, tmp_path, serve, capsys):
    """Somebody's Fashion-MNIST has the same names: pytorch/vision#599, #406."""
    place = tmp_path / "cache/mnist"
    for mine in (b"something of mine", b"something else"):
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
