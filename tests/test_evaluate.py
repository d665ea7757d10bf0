"""examples/evaluate.py: samples are kept and the same again, and its numbers say what is true."""

import importlib
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyddpm import Dataset, Run, SamplingConfig, TrainConfig, UNetConfig, load_trained
from tinyddpm import offline_digits as drawn_digits
from tinyddpm.evaluation import judge as judging
from tinyddpm.evaluation.classifier import ClassifierConfig

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("evaluate")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The folder of a run that has learnt nothing."""
    unet = UNetConfig(base=4, multipliers=(1, 2), groups=2, attention_at=(), classes=10)
    config = TrainConfig(T=6, steps=1, batch=1, schedule="cosine", predicts="v")
    data = Dataset("offline-digits", np.zeros((1, 28, 28, 1), np.uint8), np.zeros(1, int))
    return Run.start(unet, config, data, tmp_path_factory.mktemp("runs") / "my run").folder


@pytest.fixture
def draw(module, checkpoint, tmp_path, monkeypatch):
    """drawn() with some settings, and the numbers of the parts that it drew."""
    monkeypatch.setattr(module, "PART", 8)
    part = module.part

    def noted(k, *arguments):
        draw.parts.append(k)
        return part(k, *arguments)

    def draw(images, seed=0, **sampling):
        arguments = type("Arguments", (), {"images": images, "seed": seed, "workers": 1})
        draw.parts = []
        settings = SamplingConfig(**{"sampler": "ancestral", "steps": 3, "guidance": 0, **sampling})
        return module.drawn(load_trained(checkpoint), settings, arguments, tmp_path)

    monkeypatch.setattr(module, "part", noted)
    return draw


def test_samples_are_kept_and_more_can_be_asked_for(draw):
    few = draw(12)
    assert few.shape == (12, 28, 28, 1) and few.dtype == np.uint8 and draw.parts == [0, 1]
    more = draw(20)
    assert draw.parts == [2] and np.array_equal(more[:12], few)
    assert np.array_equal(draw(12), few) and draw.parts == []
    assert len({image.tobytes() for image in more}) == 20  # no part repeats another's noise


def test_what_was_interrupted_goes_on_with_the_same_samples(draw, module, tmp_path, monkeypatch):
    whole = draw(24)
    for path in (tmp_path / "parts").iterdir():
        path.unlink()
    part = module.part

    def interrupted(k, *arguments):
        for step in part(k, *arguments):
            if k == 1 and step.t < 5:
                raise KeyboardInterrupt
            yield step

    monkeypatch.setattr(module, "part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw(24)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["00000.safetensors"]
    monkeypatch.setattr(module, "part", part)
    assert np.array_equal(draw(24), whole)


def test_a_damaged_part_is_drawn_again(draw, tmp_path, capsys):
    whole = draw(16)
    path = tmp_path / "parts/00001.safetensors"
    path.write_bytes(path.read_bytes()[:-99])
    assert np.array_equal(draw(16), whole) and draw.parts == [1]
    assert "00001.safetensors cannot be read as safetensors" in capsys.readouterr().out


@pytest.mark.parametrize("other", [{"seed": 1}, {"steps": 4}, {"guidance": 0.5}])
def test_samples_of_other_settings_are_not_taken_for_these(draw, other):
    draw(8)
    with pytest.raises(
        ValueError, match="00000.safetensors has samples of another model or other sett"
    ):
        draw(8, **other)


def by_pixels(images):
    """A judge for which an image is its first 4 × 4 pixels, and its class the first one's value."""
    features = images[:, :4, :4].reshape(len(images), -1).astype(np.float32)
    return features, np.eye(10)[images[:, 0, 0, 0] // 26]


@pytest.fixture(params=[1, 3])
def data(request, rng):
    """Two Datasets (train, test) of noise, with the class that `by_pixels` sees as label."""
    images = rng.integers(0, 256, (1000, 8, 8, request.param), np.uint8)
    every = Dataset("noise", images, images[:, 0, 0, 0] // 26)
    return every._replace(images=images[:600], labels=every.labels[:600]), every._replace(
        images=images[600:], labels=every.labels[600:]
    )


def numbers(table):
    """{row: [number of each column]}"""
    rows = re.findall(r"\| ([^|]+) \| ([^|]+) \| ([^|]+) \|", table)
    return {name: [float(re.match(r"-?[\d.]+", v.strip())[0]) for v in values]
            for name, *values in rows if re.match(r"-?[\d.]+", values[0])}  # fmt: skip


def test_copies_are_found_out(module, data, tmp_path):
    """Also those that are mirrored, of photographs; of digits a mirrored one is another image."""
    (train, test), copied = data, np.random.default_rng(1).permutation(600)[:150]
    samples = train.images[copied].copy()
    samples[::2] = samples[::2, :, ::-1]
    table = module.evaluated(samples, train.labels[copied], train, test, by_pixels, 0, tmp_path)
    found = numbers(table)
    share = 100 if samples.shape[-1] == 3 else 50
    for name in ("pixels", "features"):
        assert found[f"{name}: smallest distance"][0] == 0 < found[f"{name}: smallest distance"][1]
        closer = next(values for row, values in found.items() if row.startswith(f"{name}: closer"))
        assert abs(closer[0] - share) <= 3 and closer[1] <= 2
    for name in ("samples", "nearest-pixels", "nearest-features", "spectrum"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            picture.load()


def test_real_images_reach_the_floor_and_others_do_not(module, data, tmp_path):
    train, test = data
    real, rest = test._replace(images=test.images[:200], labels=test.labels[:200]), slice(200, None)
    unseen = test._replace(images=test.images[rest], labels=test.labels[rest])
    found = numbers(
        module.evaluated(real.images, real.labels, train, unseen, by_pixels, 0, tmp_path)
    )
    made, floor = found["Fréchet classifier distance"]
    assert 0.5 * floor < made < 2 * floor
    assert found["recognised as asked"] == [100, 100]
    dark = numbers(
        module.evaluated(real.images // 4, real.labels, train, unseen, by_pixels, 0, tmp_path)
    )
    assert dark["Fréchet classifier distance"][0] > 10 * floor
    assert dark["kernel classifier distance"][0] > 100 * abs(dark["kernel classifier distance"][1])
    assert dark["recall"][0] < 0.1 < dark["recall"][1] and dark["recognised as asked"][0] < 50


def test_inception_adds_its_own_rows(module, data, tmp_path):
    (train, test), by_more_pixels = data, lambda images: by_pixels(images // 2 + images[::-1] // 2)
    ask = partial(module.evaluated, test.images[:100], None, train, test, by_pixels, 0, tmp_path)
    without, added = numbers(ask()), numbers(ask(by_more_pixels))
    assert {name: added[name] for name in without} == without
    assert added.keys() - without.keys() == {"FID", "KID", "Inception score"}
    assert added["FID"] != added["Fréchet classifier distance"] and added["FID"][1] > 0


def test_a_model_without_labels_is_not_asked_for_any(module, data, tmp_path):
    train, test = data
    table = module.evaluated(test.images[:100], None, train, test, by_pixels, 0, tmp_path)
    assert "recognised as asked" not in table and "| 100 training images: the floor |" in table


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_drawn(
    module, checkpoint, monkeypatch
):
    monkeypatch.setattr(module, "load_dataset", lambda *_: drawn_digits(100))
    flags = "--images 100 --out /dev/null/here".split()
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(checkpoint), *flags])
    with pytest.raises(ValueError, match="--out: /dev/null is no folder that can be written to"):
        module.main()


def test_from_the_checkpoint_to_the_table(module, checkpoint, tmp_path, monkeypatch, capsys):
    small = ClassifierConfig(base=4, features=16, groups=2, epochs=2, batch=50, lr=1e-2)
    monkeypatch.setattr(judging.ClassifierConfig, "of", lambda dataset: small)
    quick = partial(judging.train_classifier, count=1)
    monkeypatch.setattr(judging, "train_classifier", quick)
    sets = {"train": drawn_digits(400), "test": drawn_digits(150, seed=1)}
    monkeypatch.setattr(module, "load_dataset", lambda name, folder, split: sets[split])
    flags = "--images 101 --steps 2 --guidance 0 --workers 1 --data-dir".split()
    monkeypatch.setattr(module, "PART", 60)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(checkpoint), *flags, str(tmp_path)])
    module.main()
    out = capsys.readouterr().out
    assert out.startswith(
        "# offline-digits after 0 steps: sde-dpm with 2 steps, guidance 0, seed 0\n"
    )
    made = checkpoint / "evaluation-0-sde-dpm-2-0"
    assert (made / "evaluation.md").read_text(encoding="utf-8") in out
    assert len(list(made.glob("*.png"))) == 4 and len(list((made / "parts").iterdir())) == 2
    found = numbers(out)
    noise, floor = found["Fréchet classifier distance"]
    assert noise > 2 * floor and "| 101 samples | 101 training images: the floor |" in out
