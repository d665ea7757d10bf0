"""Files are whole or not there, names have one owner, and so have the folders of runs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import at_once

from tinyddpm import Dataset, Run, TrainConfig, UNetConfig, free_path, train
from tinyddpm.files import atomic_write, locked

ROOT = Path(__file__).parents[1]
HOLD = "import sys; from tinyddpm.files import locked\nwith locked(sys.argv[1]): print(); input()"


@pytest.mark.parametrize("links", [True, False])
def test_what_many_write_at_once_is_whole_and_of_one(tmp_path, monkeypatch, links):
    """scikit-learn/scikit-learn#21833: one temporary name for all. FAT knows no links."""
    if not links:
        monkeypatch.delattr(os, "link")
        monkeypatch.setattr(os, "link", lambda *paths: os.stat("/no such file"), raising=False)
    contents = iter([bytes([i]) * 100_000 for i in range(8)])

    def write(new):
        try:
            with atomic_write(tmp_path / "name", new=new) as file:
                file.write(next(contents))
            return True
        except FileExistsError:
            return False

    assert sum(at_once(4, lambda: write(True))) == 1
    assert all(at_once(4, lambda: write(False)))
    content = (tmp_path / "name").read_bytes()
    assert len(content) == 100_000 and len(set(content)) == 1
    assert os.listdir(tmp_path) == ["name"]


def test_everybody_who_asks_gets_another_name(tmp_path):
    (tmp_path / "a.png").mkdir()
    paths = at_once(8, lambda: free_path(tmp_path / "a.png"))
    assert {path.name for path in paths} == {f"a-{n}.png" for n in range(2, 10)}


def test_a_name_is_free_again_if_nothing_could_be_written(tmp_path, full_disk):
    path = free_path(tmp_path / "folder" / "a.png")
    with pytest.raises(OSError, match="No space left"):
        with atomic_write(path) as file:
            file.write(b"half")
    assert not any(path.parent.iterdir())


def test_a_folder_has_one_owner_until_its_process_dies(tmp_path):
    (tmp_path / ".checkpoint.safetensors.0a1b2c3d.part").write_bytes(b"half")
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as owner:
        owner.stdout.readline()
        assert not any(tmp_path.glob("*")), "what was left half written is gone"
        with pytest.raises(BlockingIOError, match="another process is at work in"):
            with locked(tmp_path):
                raise AssertionError
        owner.kill()
        owner.wait()
        with locked(tmp_path):
            pass
    with locked(tmp_path):  # and again
        pass


def test_one_run_is_trained_by_one(tmp_path):
    dataset = Dataset("dots", np.zeros((4, 4, 4, 1), np.uint8), np.zeros(4, int))
    unet = UNetConfig(
        image_size=4, image_channels=1, base=4, multipliers=(1,), blocks=1, attention_at=(),
        groups=2,
    )  # fmt: skip
    run = Run.start(unet, TrainConfig(steps=2, batch=2, every=2, T=30), dataset, tmp_path / "run")
    with locked(run.folder), pytest.raises(BlockingIOError, match="another process is at work"):
        train(run)
    assert run.step == 0
