"""The examples as a user runs them, at toy size, without a network."""

import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
TOY = ("--steps 6 --batch 4 --micro-batch 2 --every 3 --base 8 --T 30 --workers 2").split()


def run(folder, script, *arguments, **environment):
    """Run an example in a folder whose name has a space, cut off from any network and cache."""
    folder = folder / "a folder"
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(ROOT / "examples" / script), *arguments]
    nowhere = "http://127.0.0.1:9"  # a proxy that is not there
    environment = {
        **os.environ, "HOME": str(folder), "https_proxy": nowhere, "http_proxy": nowhere,
        "XDG_CACHE_HOME": str(folder / "cache"), "TINYDDPM_DATA": "", **environment,
    }  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, start_new_session=True, **pipes
    )


def finish(process, code=0):
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out, err


def test_mnist_without_a_network_says_so_and_learns_drawn_digits(tmp_path):
    out, _ = finish(run(tmp_path, "mnist.py", *TOY))
    assert re.match("Learning from digits drawn with a font instead of MNIST: train-images", out)
    assert "put train-images-idx3-ubyte.gz (9,912,422 bytes) and train-labels" in out
    made = tmp_path / "a folder/runs/offline-digits"
    for name in (
        "samples/offline-digits-000003",
        "samples/offline-digits-final",
        "offline-digits-forward",
    ):
        assert (made / f"{name}.png").exists()
    assert not (tmp_path / "a folder/cache").exists()

    more = ["--resume", "runs/offline-digits", "--steps", "7"]
    resumed, _ = finish(run(tmp_path, "mnist.py", *more))
    assert "7 steps" in resumed and (made / "log.csv").read_text().splitlines()[-1].startswith("7,")


@pytest.mark.parametrize("delay", [0, 0.1, 0.3, 2])
def test_ctrl_c_saves_prints_how_to_go_on_and_exits_with_130(tmp_path, delay):
    """As a terminal sends it: to the example and its workers alike, while they start or work."""
    long = ["--steps", "100000", *TOY[2:], "--every", "100000", "--out", "my runs"]
    process = run(tmp_path, "mnist.py", *long)
    log = tmp_path / "a folder/my runs/offline-digits/log.csv"
    while not log.with_name("checkpoint.npz").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    out, err = finish(process, code=130)
    saved = re.search(r"saved at step ([\d,]+); to go on: (.*)", out)
    assert shlex.split(saved[2])[2:] == ["--resume", "my runs/offline-digits"]
    assert len(log.read_text().splitlines()) == int(saved[1].replace(",", "")) + 1


MISTAKES = {
    "--base 8 --groups 5": "a level with 8 channels cannot be split into 5 groups",
    "--lr -1": "lr of -1.0: use a number above 0",
    "--image-size 32 --attention-at 8": "offline-digits has images of shape (28, 28, 1)",
    "--base 8 --groups 0": "UNetConfig(",
    "--seed -1": "seed of -1: use 0 or more",
    "--batch 20000": "a batch of 20000 from 10000 images",
    "--resume nothing": "there is no nothing/checkpoint.npz",
    "--resume nothing --batch 3": "batch cannot change when a run is resumed",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_are_answered_with_one_sentence(tmp_path, arguments):
    _, err = finish(run(tmp_path, "mnist.py", *arguments.split()), code=1)
    assert err.startswith(f"error: {MISTAKES[arguments]}") and err.count("\n") == 1
    assert not (tmp_path / "a folder/runs").exists()


def test_help_names_every_setting(tmp_path):
    out, _ = finish(run(tmp_path, "mnist.py", "--help"))
    for flag in ("--resume FOLDER", "--data-dir", "--steps N", "--multipliers [N ...]", "--seed"):
        assert flag in out
    assert "Ctrl-C saves and stops" in out


def load(name):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_grid_runs_and_writes_its_picture(tmp_path):
    grid = load("grid")
    grid.main(tmp_path / "grid.png", steps=5, count=10)
    assert (tmp_path / "grid.png").stat().st_size > 1000


def test_grid_knows_a_checkerboard_from_noise():
    grid, rng = load("grid"), np.random.default_rng(0)
    boards = grid.checkerboards(50, rng)
    assert grid.flawless(boards) == 1
    assert grid.flawless(boards + rng.normal(0, 0.1, boards.shape).astype(np.float32)) == 1
    assert grid.flawless(0.4 * boards) == 0  # grey
    boards[:10, 3, 3] *= -1
    assert grid.flawless(boards) == 0.8
    assert grid.flawless(rng.standard_normal(boards.shape).astype(np.float32)) == 0


def test_the_hidden_layers_gradients_are_right():
    from conftest import random_theta

    from tinyddpm.gradcheck import jacobian_gap

    rng = np.random.default_rng(0)
    model = load("grid").OneHiddenLayer(n_pixels=6, n_time=4, n_hidden=5)
    t = np.array([1, 700])
    forward = lambda x, tape: model.forward(x, t, tape)  # noqa: E731
    x, theta = rng.standard_normal((2, 3, 2, 1)), random_theta(model.layout, rng)
    assert jacobian_gap(forward, model.backward, theta, x) <= 1e-12
