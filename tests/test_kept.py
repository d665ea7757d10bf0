"""What a run's folder keeps is whole or refused in a sentence; it keeps two checkpoints."""

import builtins
import errno
import os
import shutil
import tracemalloc
from dataclasses import asdict

import numpy as np
import pytest
from conftest import old_checkpoint
from test_training import UNET, content, resume, start, stop_at

from tinyddpm import (
    files,
    load_checkpoint,
    load_trained,
    save_checkpoint,
    save_trained,
    train,
)
from tinyddpm.files import locked
from tinyddpm.training.kept import BEFORE, NEWEST, read_run

DEEP = {"base": 4096, "multipliers": [1] * 3, "blocks": 10**6, "image_size": 8}


@pytest.fixture
def run(tmp_path):
    """A run with two checkpoints, of steps 0 and 1."""
    run = start(tmp_path / "run")
    run.optimizer.step = 1
    run.save()
    return run


def damage(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def step_of(folder):
    return read_run(folder)[-1]["step"]


def test_the_last_two_are_kept_and_a_damaged_one_falls_back(run, capsys):
    assert step_of(run.folder) == 1 and load_checkpoint(run.folder / BEFORE).meta["step"] == 0
    assert not capsys.readouterr().out
    damage(run.folder / NEWEST)
    again = resume(run.folder)
    out = capsys.readouterr().out
    assert again.step == 0 and NEWEST in out and f"{BEFORE} is taken, of step 0" in out
    again.optimizer.step = 2
    again.save()  # the damaged one is not what is kept
    assert step_of(run.folder) == 2 and load_checkpoint(run.folder / BEFORE).meta["step"] == 0
    again.optimizer.step = 3
    again.save()
    assert load_checkpoint(run.folder / BEFORE).meta["step"] == 2
    damage(run.folder / NEWEST)
    damage(run.folder / BEFORE)
    with pytest.raises(ValueError, match=f"{NEWEST} is not a whole checkpoint"):
        resume(run.folder)


def test_a_run_whose_newest_checkpoint_is_damaged_ends_with_the_same_bytes(tmp_path, monkeypatch):
    train(start(tmp_path / "whole", steps=5, every=2))
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(start(tmp_path / "run", steps=5, every=2))
    damage(tmp_path / "run" / NEWEST)
    train(resume(tmp_path / "run"))
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_an_old_checkpoint_goes_on_and_the_next_one_is_new(run):
    arrays, meta = load_checkpoint(run.folder / NEWEST)
    old = old_checkpoint(run.folder / "checkpoint.npz", arrays, meta)
    for name in (NEWEST, BEFORE):
        os.remove(run.folder / name)
    again = resume(run.folder)
    assert again.step == 1 and np.array_equal(again.theta, run.theta)
    assert load_trained(old).step == 1
    again.optimizer.step = 2
    again.save()
    assert step_of(run.folder) == 2


def test_what_is_no_run_or_no_folder_is_refused_with_a_sentence(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="name the folder of a run"):
        resume(tmp_path)
    with pytest.raises(ValueError, match="alone cannot go on: name the folder of a run"):
        resume(run.folder / NEWEST)
    save_trained(tmp_path / NEWEST, load_trained(run.folder))
    with pytest.raises(ValueError, match="alone cannot go on: name the folder of a run"):
        resume(tmp_path)


@pytest.mark.parametrize("rows", [b"1;0.5;2;3", b"1,0.5", b"x,1,2,3", b"1,nan,2,3", b"1,2,3,\xff"])
def test_a_damaged_log_is_named_with_the_way_out(run, rows):
    (run.folder / "log.csv").write_bytes(b"step,loss,gradient,lr\n" + rows)
    with pytest.raises(ValueError, match="log.csv is damaged: .* take it away to go on without it"):
        resume(run.folder)
    (run.folder / "log.csv").unlink()
    assert resume(run.folder).step == 1


HOSTILE = {
    "a source of something else": ({"source": {"a": 1}}, "the source of the data should have"),
    "a path that is a number": ({"source": {"path": 1}}, "the source of the data should have"),
    "nobody knows the step": ({"step": None}, "step of None"),
    "no run": ({"unet": None, "train": None}, "UNetConfig of a NoneType"),
    "a list of settings": ({"train": [1]}, "TrainConfig of a list: give a dictionary"),
    "a text for a number": ({"unet": {"base": "32"}}, "base of '32': use a whole number"),
    "a list for a number": ({"train": {"lr": [1]}}, r"lr of \[1\]: use a number"),
    "true": ({"train": {"batch": True}}, "batch of True"),
    "NaN": ({"train": {"clip": float("nan")}}, "clip of nan"),
    "beyond all floats": ({"train": {"lr": 10**400}}, "too large"),
    "another word": ({"train": {"schedule": ["linear"]}}, "schedule of"),
    "no such setting": ({"train": {"step_count": 3}}, "'step_count'; the nearest is"),
    "a long name": ({"train": {"x" * 9000: 3}}, "TrainConfig has no setting"),
    "a network of another size": ({"unet": {**asdict(UNET), "base": 8}}, "should be float32"),
    "a giant": (
        {"unet": {**DEEP, "attention_at": [], "groups": 1, "classes": 3}},
        "too few weights",
    ),
    "a wide one": (
        {"unet": {**DEEP, "blocks": 1, "attention_at": [], "groups": 1, "classes": 3}},
        "too few weights",
    ),
    "step -1": ({"step": -1}, "step of -1"),
    "half a step": ({"step": 0.5}, "step of 0.5"),
    "no step": ({"step": float("nan")}, "step of nan"),
    "a path": ({"data": "../elsewhere/x"}, "the data's no path"),
    "no name": ({"data": 3}, "should be texts"),
    "labels": ({"learned_labels": {"a": 1}}, "should be lists"),
    "no such label": ({"learned_labels": [99]}, "a learned label of 99"),
    "label names": ({"label_names": [["a"]]}, "should be texts"),
    "variance": ({"variance": "none"}, "the variance should be one of"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_facts_of_a_wrong_kind_are_refused_before_anything_is_built(run, tmp_path, case):
    change, sentence = HOSTILE[case]
    arrays, meta = load_checkpoint(run.folder / NEWEST)
    save_checkpoint(path := tmp_path / "mine", arrays, {**meta, **change})
    tracemalloc.start()
    with pytest.raises(ValueError, match=sentence) as error:
        load_trained(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert str(error.value).startswith(f"{path}: ") and len(str(error.value)) < 300 + len(str(path))


ODD = {
    "another dtype": lambda a: a.astype(np.float64),
    "half": lambda a: a.astype(np.float16),
    "too short": lambda a: a[:-1],
    "a matrix": lambda a: a[None],
    "NaN": lambda a: np.where(np.arange(len(a)) == 3, np.float32(np.nan), a),
    "infinity": lambda a: np.where(np.arange(len(a)) == 3, np.float32(np.inf), a),
}


@pytest.mark.parametrize("name", ["theta", "ema", "m", "v"])
@pytest.mark.parametrize("case", ODD)
def test_arrays_of_a_wrong_kind_are_refused_by_name(run, tmp_path, name, case):
    arrays, meta = load_checkpoint(run.folder / NEWEST)
    save_checkpoint(tmp_path / NEWEST, {**arrays, name: ODD[case](arrays[name])}, meta)
    for load in (load_trained, resume):
        with pytest.raises(ValueError, match=f"{NEWEST}: {name} (should be float32|with numbers)"):
            load(tmp_path)


def test_a_missing_array_an_infinite_loss_and_old_kinds_are_refused(run, tmp_path):
    arrays, meta = load_checkpoint(run.folder / NEWEST)
    history = np.full_like(arrays["history"], np.inf)
    save_checkpoint(path := tmp_path / NEWEST, {**arrays, "history": history}, meta)
    with pytest.raises(ValueError, match="history with numbers"):
        load_trained(path)
    save_checkpoint(path, {name: arrays[name] for name in ("theta", "ema", "m")}, meta)
    with pytest.raises(ValueError, match="v should be float32 .*, but nothing came"):
        load_trained(path)
    save_checkpoint(path, arrays, {"mine": 1})
    with pytest.raises(ValueError, match="is no checkpoint of a run"):
        load_trained(path)
    for odd in (arrays["ema"].astype(">f4"), arrays["ema"].astype("U9"), arrays["ema"] + 0j):
        path = old_checkpoint(tmp_path / "old.npz", {**arrays, "ema": odd}, meta)
        with pytest.raises(ValueError, match="ema should be float32"):
            load_trained(path)


def test_a_trained_model_alone_is_small_and_the_same_in_half_precision(run, tmp_path):
    trained = load_trained(run.folder)._replace(variance="large", step=None)
    save_trained(path := tmp_path / "small.safetensors", trained)
    small = load_trained(path)
    assert path.stat().st_size < 2 * trained.theta.size + 2000
    assert small.theta.dtype == np.float32
    assert np.array_equal(small.theta, trained.theta.astype(np.float16))
    for name in ("config", "data", "step", "variance", "labels", "label_names"):
        assert getattr(small, name) == getattr(trained, name)
    assert small.unet.config == trained.unet.config
    with pytest.raises(ValueError, match="half-precision theta with numbers that are not finite"):
        save_trained(path, trained._replace(theta=1e6 * np.ones_like(trained.theta)))
    other = type(trained.schedule)(0.99 * trained.schedule.beta[1:])
    with pytest.raises(ValueError, match="a schedule of its own"):
        save_trained(path, trained._replace(schedule=other))
    assert np.array_equal(load_trained(path).theta, small.theta)


class Faults:
    """Counts the calls that touch files, and lets call number `at` fail, or all from it on."""

    def __init__(self, monkeypatch, at, code, for_ever):
        self.calls, self.at, self.code, self.for_ever = 0, at, code, for_ever
        for name in ("fsync", "replace", "unlink", "link", "mkdir", "open"):
            monkeypatch.setattr(os, name, self.failing(getattr(os, name)))
        monkeypatch.setattr(os, "fsync", self.failing(lambda handle: None))
        monkeypatch.setattr(files, "open", self.open, raising=False)

    def hit(self):
        self.calls += 1
        if self.calls == self.at or (self.for_ever and self.calls > self.at):
            raise OSError(self.code, os.strerror(self.code))

    def failing(self, function):
        def call(*arguments, **named):
            self.hit()
            return function(*arguments, **named)

        return call

    def open(self, *arguments):
        self.hit()
        return FaultyFile(builtins.open(*arguments), self.hit)


class FaultyFile:
    """An open file whose every call may fail; it is closed even then, as by the system."""

    def __init__(self, file, hit):
        self.file, self.hit = file, hit

    def __getattr__(self, name):
        def call(*arguments):
            self.hit()
            return getattr(self.file, name)(*arguments)

        return call

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()
        self.hit()


@pytest.mark.parametrize("for_ever", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_fault_at_any_file_call_of_a_save_loses_nothing(run, tmp_path, code, for_ever):
    whole = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    at, done = 0, False
    while not done:
        at += 1
        for name, saved in whole.items():
            (run.folder / name).unlink(missing_ok=True)  # it may be a second name of another one
            (run.folder / name).write_bytes(saved)
        run.optimizer.step, run.saved_step = 2, 1
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, at, code, for_ever)
            try:
                run.save()
            except OSError as error:
                assert error.errno == code
        done = faults.calls < at
        step = step_of(run.folder)
        assert step in (run.saved_step, 2) and (step == 2 or not done)
        left = [path.name for path in run.folder.iterdir() if path.name not in whole]
        assert for_ever or not left or faults.calls == at  # `unlink` itself may be what fails
        with locked(run.folder):
            assert {path.name for path in run.folder.iterdir()} <= whole.keys()
    assert at > 20


def test_a_copy_of_a_folder_goes_on(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "copy")
    assert resume(tmp_path / "copy").step == 1
