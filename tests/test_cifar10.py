"""CIFAR-10 is read whole or not at all, never extracted, and copies are not called CIFAR-10."""

import gzip
import hashlib
import io
import pickle
import random
import tarfile

import numpy as np
import pytest
from conftest import put

from tinyddpm import DataUnavailable, load_cifar10, load_dataset
from tinyddpm.data import cifar10

NAMES = [*cifar10.TRAIN, *cifar10.TEST]
GOOD = {name: f"{cifar10.BATCHES}/{name}" for name in NAMES}


def archive(files):
    """A gzipped tar of {path: content}; a path with "->" is a link."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def publish(monkeypatch, packed):
    """Make `packed` the archive that is the right one."""
    monkeypatch.setattr(cifar10, "ARCHIVE_BYTES", len(packed))
    return {cifar10.ARCHIVE: packed}


@pytest.fixture
def tiny(monkeypatch):
    """CIFAR-10 with four images of 2 × 3 pixels in each file: {name: content}."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(cifar10, "RECORDS", 4)
    monkeypatch.setattr(cifar10, "SHAPE", (3, 2, 3))
    files = {}
    for split, wanted in list(cifar10.SPLITS.items()):
        for name in wanted:
            records = rng.integers(0, 256, (4, 1 + 18), np.uint8)
            records[:, 0] %= 10
            files[name] = records.tobytes()
        digests = {name: hashlib.sha256(files[name]).hexdigest() for name in wanted}
        monkeypatch.setitem(cifar10.SPLITS, split, digests)
    return files


@pytest.fixture
def packed(tiny, monkeypatch):
    return publish(monkeypatch, archive({GOOD[name]: tiny[name] for name in NAMES}))


@pytest.mark.parametrize("place", ["", "cifar10", cifar10.BATCHES, f"cifar10/{cifar10.BATCHES}"])
def test_batch_files_are_read_wherever_one_would_put_them(tiny, tmp_path, place):
    put(tmp_path / place, tiny)
    train, test = (load_cifar10(tmp_path, split, urls=()) for split in ("train", "test"))
    assert (train.name, test.name) == ("cifar10", "cifar10")
    assert train.images.shape == (20, 2, 3, 3) and test.images.shape == (4, 2, 3, 3)
    assert train.images.dtype == np.uint8 and train.images.flags.c_contiguous
    assert train.labels.tolist()[:4] == list(tiny["data_batch_1.bin"][::19])
    assert train.label_names[3] == "cat" and len(train.label_names) == 10


def test_colours_come_one_after_the_other_and_rows_within_them(tiny, tmp_path):
    put(tmp_path, tiny)
    image, record = load_cifar10(tmp_path, "test").images[1], tiny["test_batch.bin"][19:38]
    for y in range(2):
        for x in range(3):
            assert image[y, x].tolist() == [record[1 + c * 6 + y * 3 + x] for c in range(3)]


@pytest.mark.parametrize("place", ["", "cifar10"])
def test_the_archive_gives_the_same_and_nothing_is_unpacked(tiny, packed, tmp_path, place):
    put(tmp_path / "files", tiny)
    put(tmp_path / "home" / place, packed)
    before = sorted(tmp_path.rglob("*"))
    one, other = (load_cifar10(tmp_path / where, urls=()) for where in ("files", "home"))
    assert np.array_equal(one.images, other.images) and np.array_equal(one.labels, other.labels)
    assert one.name == other.name == "cifar10" and sorted(tmp_path.rglob("*")) == before


def test_a_download_is_verified_and_kept(packed, tmp_path, serve):
    wrong = serve({cifar10.ARCHIVE: packed[cifar10.ARCHIVE][:-1] + b"?"}) + cifar10.ARCHIVE
    right = serve(packed) + cifar10.ARCHIVE
    first = load_cifar10(tmp_path / "cache", urls=(wrong, right))
    kept = [str(path.relative_to(tmp_path / "cache")) for path in (tmp_path / "cache").rglob("*.*")]
    assert kept == [f"cifar10/{cifar10.ARCHIVE}"]
    again = load_cifar10(tmp_path / "cache", urls=())
    assert np.array_equal(first.images, again.images)


def test_members_of_the_archive_lead_nowhere(tiny, tmp_path, monkeypatch):
    """Names outside, links and doubles: what is no batch file in its folder is passed over."""
    bad = {
        "../evil.bin": b"x", "/evil.bin": b"x", "data_batch_1.bin": b"x",
        f"{cifar10.BATCHES}/../data_batch_2.bin": b"x", GOOD["data_batch_3.bin"] + "/x": b"x",
        f"{cifar10.BATCHES}/link": "/etc/passwd",
    }  # fmt: skip
    good = {GOOD[name]: tiny[name] for name in NAMES}
    put(tmp_path / "home", publish(monkeypatch, archive({**bad, **good})))
    before = sorted(tmp_path.parent.rglob("*"))
    assert load_cifar10(tmp_path / "home", urls=()).name == "cifar10"
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_other_content_in_the_right_format_is_a_copy(tiny, tmp_path):
    tiny["data_batch_2.bin"] = tiny["data_batch_2.bin"][:-1] + b"?"
    put(tmp_path, tiny)
    assert load_cifar10(tmp_path).name == "cifar10-copy"
    assert load_dataset("cifar10-copy", tmp_path).name == "cifar10-copy"
    with pytest.raises(ValueError, match="cifar10 is wanted, but here is cifar10-copy"):
        load_dataset("cifar10", tmp_path)


BROKEN = {
    "empty": (lambda content: b"", "0 bytes, 76 wanted"),
    "cut": (lambda content: content[:-1], "75 bytes, 76 wanted"),
    "padded": (lambda content: content + b"\0", "77 bytes, 76 wanted"),
    "mislabelled": (lambda content: b"\x0b" + content[1:], "a label 11, but they go from 0 to 9"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_batch_files_are_refused_by_name(tiny, packed, tmp_path, kind):
    change, sentence = BROKEN[kind]
    tiny["data_batch_4.bin"] = change(tiny["data_batch_4.bin"])
    put(tmp_path, tiny)
    with pytest.raises(DataUnavailable, match=f"data_batch_4.bin is no batch .*{sentence}"):
        load_cifar10(tmp_path)
    assert (tmp_path / "data_batch_4.bin").read_bytes() == tiny["data_batch_4.bin"]


def test_a_missing_batch_file_is_named(tiny, tmp_path):
    del tiny["data_batch_5.bin"]
    put(tmp_path / cifar10.BATCHES, tiny)
    with pytest.raises(DataUnavailable, match="data_batch_5.bin is no batch file .*No such file"):
        load_cifar10(tmp_path)


def pickled(tiny, protocol=2):
    """The batch files of the archive for Python: {name without .bin: content}."""
    files = {}
    for name, content in tiny.items():
        records = np.frombuffer(content, np.uint8).reshape(4, -1)
        batch = {b"data": records[:, 1:].copy(), b"labels": records[:, 0].tolist()}
        batch[b"filenames"] = [b"leptodactylus_pentadactylus_s_000004.png"] * 4
        files[name[:-4]] = pickle.dumps(batch, protocol=protocol)
    return files


def python_archive(tiny):
    return archive({f"cifar-10-batches-py/{k}": v for k, v in pickled(tiny).items()})


PLACES = {
    "torchvision": ("cifar-10-batches-py", 2),
    "one in the other": ("cifar-10-batches-py/cifar-10-batches-py", 2),  # tflearn/tflearn#428
    "Keras": ("datasets/cifar-10-batches-py-target/cifar-10-batches-py", 4),  # keras#18953
    "by themselves": ("", pickle.HIGHEST_PROTOCOL),
}


@pytest.mark.parametrize("form", PLACES)
def test_pickled_batches_are_read_and_are_the_same(tiny, tmp_path, form):
    """igul222/improved_wgan_training#15: one form is at hand, the other one is read."""
    place, protocol = PLACES[form]
    put(tmp_path / place, {**pickled(tiny, protocol), "batches.meta": b"", "readme.html": b""})
    put(tmp_path / "z/cifar-10-batches-bin/cifar-10-batches-bin", {})
    put(tmp_path / "binary", tiny)
    for split in ("train", "test"):
        one = load_cifar10(tmp_path / place.partition("/")[0], split, urls=())
        other = load_cifar10(tmp_path / "binary", split)
        assert np.array_equal(one.images, other.images) and one.name == other.name == "cifar10"
        assert one.labels.tolist() == other.labels.tolist()


@pytest.mark.parametrize("name", [
    "cifar-10-python.tar.gz", "cifar-10-python (1).tar.gz", "cifar-10-python.tar", "cifar10.tgz",
])  # fmt: skip
def test_other_archives_of_the_same_are_read(tiny, packed, tmp_path, name):
    content = python_archive(tiny) if "python" in name else packed[cifar10.ARCHIVE]
    put(tmp_path / "a/b", {name: gzip.decompress(content) if name.endswith(".tar") else content})
    dataset = load_cifar10(tmp_path, urls=())
    assert dataset.name == "cifar10" and len(dataset.images) == 20


def test_an_archive_of_a_copy_says_how_to_use_it(tiny, tmp_path):
    tiny["data_batch_2.bin"] = tiny["data_batch_2.bin"][:-1] + b"?"
    put(tmp_path, {"my-cifar.tar": gzip.decompress(python_archive(tiny))})
    with pytest.raises(
        DataUnavailable, match="data_batch_2.bin in it is not .* are read if unpacked"
    ):
        load_cifar10(tmp_path, urls=())


def test_a_download_that_is_another_one_is_refused(tiny, packed, tmp_path, serve):
    tiny["data_batch_2.bin"] = tiny["data_batch_2.bin"][:-1] + b"?"
    wrong = serve({cifar10.ARCHIVE: archive({GOOD[name]: tiny[name] for name in NAMES})})
    with pytest.raises(DataUnavailable, match="could not be downloaded .*is not CIFAR-10's"):
        load_cifar10(tmp_path, urls=(wrong + cifar10.ARCHIVE,))
    assert not any(tmp_path.glob("cifar10/*"))


def batch(**changes):
    return pickle.dumps({"labels": [1] * 4, "data": np.zeros((4, 18), np.uint8), **changes}, 2)


@pytest.mark.parametrize("content, sentence", [
    (batch(labels=[300] * 4), "bytes must be in range"),
    (batch(labels=[10] * 4), "a label 10, but they go from 0 to 9"),
    (batch(labels=None), "no images and labels"),
    (batch(data=[1, 2]), "no images and labels"),
    (batch(data=np.zeros((4, 18))), "float64"),
    (batch(data=np.zeros((3, 18), np.uint8)), "4 labels, images .3, 18"),
    (batch(labels=[1] * 5, data=np.zeros((5, 18), np.uint8)), "95 bytes, 76 wanted"),
    (pickle.dumps([1], 2), "a list is in it"), (b"\x80\x02cos\nsystem\n.", "it wants 'os system'"),
])  # fmt: skip
def test_broken_pickles_are_refused_by_name(tiny, tmp_path, content, sentence):
    put(tmp_path, {**pickled(tiny), "data_batch_3": content})
    with pytest.raises(DataUnavailable, match=f"data_batch_3 is no batch .*{sentence}"):
        load_cifar10(tmp_path, urls=())


def test_damaged_archives_are_refused_in_a_sentence_or_harmless(tiny):
    """Of 2,004 damaged ones, 1,381 once ended in a traceback out of tarfile."""
    rng, wanted = random.Random(0), cifar10.SPLITS["train"]
    links = {GOOD["data_batch_1.bin"]: "../x", "cifar-10-batches-bin/a": "data_batch_1.bin"}
    for packed in (archive({**links, **{GOOD[n]: tiny[n] for n in NAMES}}), python_archive(tiny)):
        plain = gzip.decompress(packed)
        right = cifar10._read_archive(wanted, io.BufferedReader(io.BytesIO(plain)))
        for count in range(150):
            damaged = bytearray(plain[: rng.choice([None, rng.randrange(len(plain))])])
            for _ in range(rng.randint(0, 4)):  # half of them in a header
                i = rng.randrange(0, max(1, len(damaged) - 512), 512) + rng.randrange(512)
                damaged[i % len(damaged)] = rng.choice([0, 55, 56, rng.randrange(256)])
            content = gzip.compress(damaged, 1) if count % 2 else bytes(damaged)
            try:
                stream = io.BufferedReader(io.BytesIO(content))
                assert cifar10._read_archive(wanted, stream) == right
            except ValueError as error:
                assert len(str(error)) < 300


def test_archives_are_read_no_further_than_they_can_be_right(tiny, tmp_path):
    large, many = tarfile.TarInfo(GOOD["data_batch_1.bin"]), bytes(30_000_000)
    large.size = (1 << 33) - 1
    put(tmp_path, {"cifar.tar": large.tobuf()})
    with pytest.raises(DataUnavailable, match="8,589,934,591 bytes is in it, too large"):
        load_cifar10(tmp_path, urls=())
    put(tmp_path, {"cifar.tar": gzip.compress(many, 1)})
    with pytest.raises(DataUnavailable, match="it is far too large"):
        load_cifar10(tmp_path, urls=())


def test_an_archive_may_be_as_long_as_is_expected_and_no_longer():
    plain = gzip.decompress(archive({"a": bytes(500)}))

    def read(most):
        stream = io.BufferedReader(io.BytesIO(plain))
        return list(cifar10.tar_files(stream, lambda path: True, len(plain), most))

    assert read(len(plain)) == [("a", bytes(500))]
    with pytest.raises(ValueError, match="it is far too large"):
        read(len(plain) - 1)


def test_every_cut_and_foreign_archives_are_refused_by_name(tiny, packed, tmp_path):
    whole = packed[cifar10.ARCHIVE]
    foreign = archive({"a": bytes(500)})
    others = [whole[:length] for length in range(0, len(whole), 97)]
    others += [foreign, foreign.ljust(len(whole), b"\0"), b"\0" * len(whole)]
    for content in others:
        put(tmp_path, {cifar10.ARCHIVE: content})
        with pytest.raises(DataUnavailable, match=f"{cifar10.ARCHIVE} is damaged .*no mirror is"):
            load_cifar10(tmp_path, urls=())


def test_without_files_and_network_it_says_what_to_put_where(tmp_path):
    with pytest.raises(DataUnavailable) as error:
        load_cifar10(tmp_path, urls=())
    for word in ("cifar-10-binary.tar.gz (170,052,171 bytes)", "data_batch_1.bin", "test_batch.bin",
                 "30,730,000 bytes each", str(tmp_path / "cifar10")):  # fmt: skip
        assert word in str(error.value)
    assert not any(tmp_path.iterdir())


def test_what_has_another_name_is_not_tried(tmp_path):
    put(tmp_path, {"cifar10.txt": b"notes", "photos.tar": b"of a cat"})
    with pytest.raises(DataUnavailable) as error:
        load_cifar10(tmp_path, urls=())
    assert "damaged" not in str(error.value)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'train' and 'test'"):
        load_cifar10(split="validation")
    with pytest.raises(ValueError, match="'cifar100' is not known: choose from mnist, cifar10"):
        load_dataset("cifar100")
