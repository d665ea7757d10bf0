"""Folders of pictures of every kind, .npz files and pairs of IDX files; the network that fits."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tinyddpm import (
    DataUnavailable,
    TrainConfig,
    UNetConfig,
    load_dataset,
    load_folder,
    load_own,
    read_picture,
)
from tinyddpm.training.run import Run

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))


def halves(width=60, height=40):
    """Red at the left, blue at the right, black and white at the lower corners of the middle."""
    image = Image.new("RGB", (width, height), (255, 0, 0))
    ImageDraw.Draw(image).rectangle((width // 2, 0, width, height), (0, 0, 255))
    return image


READ_ONE = """
import re, sys, tinyddpm
most = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
before = most()
tinyddpm.read_picture(sys.argv[1], 64)
print((most() - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells how much it was")
@pytest.mark.parametrize("mode, most", [("RGB", 5), ("P", 6), ("I;16", 12), ("RGBA", 13)])
def test_a_picture_takes_a_few_bytes_for_each_pixel(tmp_path, mode, most):
    """Pillow needs 4; with what one can see through they are three pictures, not four."""
    Image.new(mode, (3000, 3000)).save(path := tmp_path / "x.png")
    program = [sys.executable, "-c", READ_ONE, path]
    took = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert 3000 * 3000 <= int(took) < most * 3000 * 3000


def gradient(dtype, top):
    """A grey ramp from 0 to `top`, left to right."""
    return np.tile(np.linspace(0, top, 40), (40, 1)).round().astype(dtype)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where data sets are kept; Pillow's limit is lower, so that bombs are quickly made."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    monkeypatch.setenv("TINYDDPM_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def colours(picture):
    """Of the middle of the left half and of the right half."""
    size = len(picture)
    return picture[size // 2, [size // 4, -size // 4]].astype(int)


RED_BLUE = np.array([[255, 0, 0], [0, 0, 255]])


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tif", "gif", "ppm"])
def test_every_kind_of_file_is_read(ending, tmp_path):
    halves().save(tmp_path / f"x.{ending}")
    picture = read_picture(tmp_path / f"x.{ending}", 16)
    assert picture.shape == (16, 16, 3) and picture.dtype == np.uint8
    assert np.abs(colours(picture) - RED_BLUE).max() <= 12  # JPEG is not exact


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK"])
def test_every_colour_mode_is_read(mode, tmp_path):
    halves().convert(mode).save(tmp_path / "x.tif")
    assert np.abs(colours(read_picture(tmp_path / "x.tif", 16)) - RED_BLUE).max() <= 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "I"])
def test_every_grey_mode_is_read(mode, tmp_path):
    image = Image.fromarray(gradient(np.uint8, 255))
    if mode[0] == "I":
        image = Image.fromarray(gradient({"I": np.int32}.get(mode, np.uint16), 65535))
    else:
        image = image.convert(mode)
    image.save(tmp_path / "x.tif")
    picture = read_picture(tmp_path / "x.tif", 40)
    assert (picture == picture[..., :1]).all()
    wanted = np.asarray(image.convert("L")) if mode == "1" else gradient(np.uint8, 255)
    assert np.abs(picture[..., 0].astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(turn, tmp_path):
    """The eight ways in which a camera can be held: stored turned, shown upright."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    image = halves(48, 48)
    stored = image.transpose(back[turn]) if turn in back else image
    exif = stored.getexif()
    exif[0x112] = turn
    stored.save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "x.png", 48), np.asarray(image))


@pytest.mark.parametrize("mode, name", [("RGBA", "x.png"), ("LA", "x.png"), ("P", "x.gif")])
def test_what_one_can_see_through_lies_on_the_background(mode, name, tmp_path):
    if mode == "P":
        image = Image.new("P", (20, 20), 3)
        image.save(tmp_path / name, transparency=3)
    else:
        Image.new(mode, (20, 20), 0).save(tmp_path / name)
    assert (read_picture(tmp_path / name, 8) == 255).all()
    assert (read_picture(tmp_path / name, 8, "#00f") == [0, 0, 255]).all()
    if mode == "RGBA":
        Image.new("RGBA", (20, 20), (255, 255, 255, 51)).save(tmp_path / name)  # a fifth white
        assert (read_picture(tmp_path / name, 8, "black") == 51).all()


def test_the_middle_square_is_taken_and_scaled_without_moire(tmp_path):
    stripes = np.zeros((64, 128, 3), np.uint8)
    stripes[:, 32:96:2] = 255  # every other column of the middle; black beside it
    Image.fromarray(stripes).save(tmp_path / "x.png")
    picture = read_picture(tmp_path / "x.png", 16)
    assert (np.abs(picture[:, 1:-1].astype(int) - 127.5) < 10).all()  # grey, not stripes
    same = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    Image.fromarray(same).save(tmp_path / "same.png")
    assert np.array_equal(read_picture(tmp_path / "same.png", 9), same)


def mixed(home, count=3):
    """A folder of good and bad pictures: what of it is to be left out, and why."""
    rng = np.random.default_rng(0)
    for label in ("cats", "Möwen"):
        for folder in (home / label, home / label / "more"):
            folder.mkdir(parents=True)
            for i in range(count):
                noise = rng.integers(0, 256, (20 + i, 30, 3), np.uint8)
                Image.fromarray(noise).save(folder / f"{i}.png")
    cats = home / "cats"
    halves(60, 60).save(cats / "cut.jpg")
    content = (cats / "cut.jpg").read_bytes()
    (cats / "cut.jpg").write_bytes(content[: len(content) // 2])
    (cats / "empty.png").touch()
    (cats / "text.png").write_text("no picture\n" * 50)
    halves(40, 15).save(cats / "small.png")
    Image.new("1", (100, 60)).save(cats / "huge.png")
    Image.new("1", (200, 60)).save(cats / "bomb.png")
    Image.fromarray(np.zeros((20, 20), np.float32)).save(cats / "float.tif")
    halves().convert("RGB").save(cats / "program.eps")
    (cats / ".hidden.png").write_bytes(b"not looked at")
    (home / ".trash").mkdir()
    (home / ".trash/x.png").write_bytes(b"not looked at")
    with suppress(OSError):
        (home / "nowhere.png").symlink_to(home / "not there")
    return {
        "cut.jpg": "damaged", "empty.png": "empty", "text.png": "empty, or no picture",
        "small.png": "too small: 40 × 15 pixels for 16 × 16", "huge.png": "too large",
        "bomb.png": "too large",
        "float.tif": "neither 8 nor 16 bits", "program.eps": "EPS is not read",
    }  # fmt: skip


def state(folder):
    return {
        str(path): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in [folder, *folder.rglob("*")]
        if path.exists()
    }


def test_a_folder_of_mixed_pictures_is_a_data_set(tmp_path, cache, capsys):
    wrong = mixed(tmp_path / "my pets")
    before = state(tmp_path / "my pets")
    data = load_folder(tmp_path / "my pets", 16)
    assert data.name == "my pets" and data.label_names == ("Möwen", "cats")
    assert data.images.shape == (12, 16, 16, 3) and isinstance(data.images, np.memmap)
    assert data.labels.tolist() == [0] * 6 + [1] * 6
    assert state(tmp_path / "my pets") == before
    out = capsys.readouterr().out
    assert out.startswith("8 of 20 files were left out: see ")
    listed = Path(out.split("see ")[1].strip()).read_text(encoding="utf-8").splitlines()
    reasons = dict(line.split(": ", 1) for line in listed)
    assert reasons.keys() == {f"cats/{name}" for name in wrong}
    for name, why in wrong.items():
        assert reasons[f"cats/{name}"].startswith(why), name
    wanted = read_picture(tmp_path / "my pets/Möwen/0.png", 16)
    assert np.array_equal(data.images[0], wanted)
    assert load_folder(tmp_path / "my pets", 16, labels=None).label_names == ()


def test_what_was_kept_is_used_again_unless_something_changed(tmp_path, cache, monkeypatch):
    home, asked = tmp_path / "pets", []
    mixed(home, 1)
    real = read_picture
    monkeypatch.setattr(
        "tinyddpm.data.own.read_picture", lambda path, *a: asked.append(path) or real(path, *a)
    )
    first = load_folder(home, 16)
    count = len(asked)
    assert count == 12
    again = load_folder(home, 16)
    assert len(asked) == count and np.array_equal(first.images, again.images)
    assert first.label_names == again.label_names and np.array_equal(first.labels, again.labels)
    (folder,) = (cache / "pictures").iterdir()
    for name, spoil in (
        ("images", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        ("images", lambda content: content[:100]),
        ("pictures.json", lambda content: content[:50]),
        ("pictures.json", lambda content: b"null"),
        ("pictures.json", lambda content: b"{}"),
    ):
        content = (folder / name).read_bytes()
        (folder / name).unlink()  # `first` still looks at the old one
        (folder / name).write_bytes(spoil(content))
        assert np.array_equal(load_folder(home, 16).images, first.images)
        count += 12
        assert len(asked) == count, name
    halves().save(home / "cats/0.png")
    assert not np.array_equal(load_folder(home, 16).images, first.images)
    assert load_folder(home, 8).images.shape == (5, 8, 8, 3)
    assert load_folder(home, 16, background="red").images.shape == first.images.shape
    assert len(list((cache / "pictures").iterdir())) == 4


def test_a_place_that_cannot_be_written_is_named_with_the_way_out(tmp_path):
    mixed(tmp_path / "pets", 1)
    (tmp_path / "file").touch()
    with pytest.raises(DataUnavailable, match=r"pets-16.*; name another --data-dir"):
        load_folder(tmp_path / "pets", 16, cache=tmp_path / "file/cache")


def test_grey_pictures_have_one_channel_and_those_beside_folders_a_label(tmp_path, cache):
    (tmp_path / "grey/a").mkdir(parents=True)
    for i, name in enumerate(("0.png", "a/1.png", "a/2.jpg")):
        Image.new("L", (9, 9), 50 * i).convert("RGB").save(tmp_path / "grey" / name)
    data = load_folder(tmp_path / "grey", 8)
    assert data.images.shape == (3, 8, 8, 1) and data.images[:, 0, 0, 0].tolist() == [0, 50, 100]
    assert data.label_names == ("a", "grey") and data.labels.tolist() == [1, 0, 0]


def test_folders_that_cannot_be_are_refused(tmp_path, cache):
    with pytest.raises(DataUnavailable, match="there is no folder .*nowhere with files"):
        load_folder(tmp_path / "nowhere", 8)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.png").write_text("text")
    with pytest.raises(DataUnavailable, match="has no picture that can be used: see .*left-out"):
        load_folder(tmp_path / "bad", 8)
    with pytest.raises(ValueError, match="would lie among the pictures"):
        load_folder(tmp_path, 8)
    with pytest.raises(ValueError, match="background .gelb.: name a colour"):
        load_folder(tmp_path / "bad", 8, background="gelb")
    for size in (0, 2.5):
        with pytest.raises(ValueError, match="size of"):
            load_folder(tmp_path / "bad", size)
    with pytest.raises(ValueError, match="labels of 'names'"):
        load_folder(tmp_path / "bad", 8, labels="names")


def idx(array):
    array = np.asarray(array, np.uint8)
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
LABELS = np.array([1, 2, 3, 1, 2, 3])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("prefix", ["", "emnist-letters-"])
def test_a_pair_of_idx_files_is_a_data_set(pack, prefix, tmp_path):
    home = tmp_path / "FashionMNIST"
    home.mkdir()
    images = home / f"{prefix}train-images-idx3-ubyte.gz"
    images.write_bytes(pack(idx(IMAGES)))
    (home / f"{prefix}train-labels-idx1-ubyte.gz").write_bytes(pack(idx(LABELS)))
    (home / "t10k-images-idx3-ubyte.gz").write_bytes(pack(idx(IMAGES[:2])))
    for path in (home, images):
        data = load_own(path)
        wanted = IMAGES.transpose(0, 2, 1) if prefix else IMAGES
        assert np.array_equal(data.images[..., 0], wanted) and data.images.shape == (6, 8, 8, 1)
        assert data.labels.tolist() == [0, 1, 2, 0, 1, 2] and data.label_names == ("1", "2", "3")
        assert data.name == (prefix[:-1] or "FashionMNIST")


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
@pytest.mark.parametrize("labels", [None, (6,), (6, 1)])
def test_an_npz_is_a_data_set(channels, labels, tmp_path):
    images = IMAGES[..., None].repeat(*channels, axis=3) if channels else IMAGES
    arrays = {"x": images, "scale": np.array(2.0), "val_x": images[:4], "val_y": LABELS[:4]}
    if labels:
        arrays["y"] = LABELS.reshape(labels) - 1
    np.savez(tmp_path / "cells.npz", **arrays)
    data = load_own(tmp_path / "cells.npz")
    assert data.name == "cells" and data.label_names == ()
    assert np.array_equal(data.images, images.reshape(6, 8, 8, *(channels or (1,))))
    assert data.labels.tolist() == ([0, 1, 2, 0, 1, 2] if labels else [0] * 6)


def test_files_that_hold_no_images_are_refused_in_a_sentence(tmp_path):
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    images.write_bytes(idx(IMAGES))
    with pytest.raises(ValueError, match="No such file.*train-labels-idx1-ubyte"):
        load_own(images)
    labels.write_bytes(idx(LABELS))
    assert len(load_own(tmp_path).images) == 6
    with pytest.raises(ValueError, match="or the file with all images"):
        load_own(labels)
    for content in (b"", idx(IMAGES)[:100], gzip.compress(idx(IMAGES))[:100], b"<html>" * 20):
        images.write_bytes(content)
        with pytest.raises(ValueError, match="holds no images and labels, or is damaged"):
            load_own(images)
    images.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)  # it says that it is enormous
    with pytest.raises(ValueError, match="holds no images and labels"):
        load_own(images)
    (tmp_path / "emnist-train-images-idx3-ubyte").touch()
    with pytest.raises(ValueError, match="emnist-train-images-idx3-ubyte, .*: name one of them"):
        load_own(tmp_path)
    path = tmp_path / "x.npz"
    for arrays, sentence in (
        ({"x": IMAGES / 255, "y": LABELS}, "images of float64: give bytes"),
        ({"x": IMAGES[0], "y": LABELS}, "keep one array of images.*it has x uint8"),
        ({"x": IMAGES, "y": LABELS, "z": LABELS}, "y int64 .*z int64"),
        ({"x": np.array([None])}, "allow_pickle"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=sentence):
            load_own(path)
    path.write_bytes(b"PK" + bytes(50))
    with pytest.raises(ValueError, match="holds no images and labels, or is damaged"):
        load_own(path)


def test_a_data_set_comes_again_from_its_source(tmp_path, cache):
    home = tmp_path / "pets"
    mixed(home, 1)
    data = load_own(home, 8)
    source = json.loads(json.dumps(data.source))
    again = load_dataset(data.name, cache, **source)
    assert np.array_equal(again.images, data.images) and again.source == data.source
    shutil.rmtree(cache)
    assert np.array_equal(load_dataset("pets", cache, **source).images, again.images)
    os.rename(home / "cats/0.png", home / "Möwen/8.png")  # the same pictures, another label
    with pytest.raises(DataUnavailable, match="does not hold what the run began with"):
        load_dataset("pets", cache, **source)


def test_a_run_of_your_own_pictures_resumes(tmp_path, cache):
    mixed(tmp_path / "pets", 1)
    data = load_own(tmp_path / "pets", 8)
    unet = UNetConfig(
        8, 3, base=8, multipliers=(1,), blocks=1, attention_at=(), groups=8, classes=2
    )
    run = Run.start(unet, TrainConfig(steps=2, batch=2), data, tmp_path / "run")
    again = Run.resume(tmp_path / "run", load_dataset)
    assert (
        np.array_equal(again.images, run.images) and again.dataset.label_names == data.label_names
    )


@pytest.mark.parametrize(
    "size, channels, sizes, base",
    [(28, 1, [28, 14, 7], 16), (32, 3, [32, 16, 8, 4], 32), (64, 3, [64, 32, 16, 8, 4], 16),
     (256, 3, [256, 128, 64, 32, 16, 8, 4], 8), (27, 3, [27], 32), (4, 1, [4], 16)],
)  # fmt: skip
def test_the_network_fits_the_images(size, channels, sizes, base):
    from own import network

    config = network(size, channels, 7)
    assert len(config.multipliers) == len(sizes) and config.base == base
    assert config.attention_at == tuple(side for side in sizes if side <= 8)[:1]
    assert config.image_shape == (size, size, channels) and config.classes == 7
