"""The examples as a user runs them, at toy size, without a network."""

import importlib.util
import io
import json
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import standin
from PIL import Image

from tinyddpm import (
    Dataset,
    Run,
    SamplingConfig,
    TrainConfig,
    UNetConfig,
    image_grid,
    load_trained,
    offline_digits,
)
from tinyddpm.files import locked

ROOT = Path(__file__).parents[1]
TOY = (
    "--steps 6 --batch 20 --micro-batch 10 --every 3 --base 4 --multipliers 1 2 --groups 2 "
    "--attention-at --T 6 --workers 2"
).split()


def run(folder, script, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environment):
    """Run an example in a folder whose name has a space, cut off from any network and cache."""
    folder = folder / "a folder"
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(ROOT / "examples" / script), *arguments]
    nowhere = "http://127.0.0.1:9"  # a proxy that is not there
    environment = {
        **os.environ, "HOME": str(folder), "https_proxy": nowhere, "http_proxy": nowhere,
        "XDG_CACHE_HOME": str(folder / "cache"), "TINYDDPM_DATA": "", **environment,
    }  # fmt: skip
    pipes = {"stdout": stdout, "stderr": stderr}
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, start_new_session=True, **pipes
    )


def finish(process, code=0):
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # and its workers
        raise
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


@pytest.fixture
def batch_files(tmp_path, monkeypatch):
    """A folder with batch files as CIFAR-10's, of 40 images each."""
    monkeypatch.setattr("tinyddpm.data.cifar10.RECORDS", 40)
    records = np.random.default_rng(0).integers(0, 256, (40, 3073), np.uint8)
    records[:, 0] = np.arange(40) % 10
    (tmp_path / "my files").mkdir()
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        (tmp_path / "my files" / name).write_bytes(records.tobytes())
    return ["--data-dir", "my files"]


def test_cifar10_learns_from_batch_files_and_says_that_they_are_a_copy(
    call, batch_files, tmp_path, capsys
):
    one = ["--workers", "1"]
    call("cifar10.py", *TOY, *one, "--every", "4", *batch_files)
    out = capsys.readouterr().out
    assert out.startswith("cifar10-copy: 200 images; a U-Net with")
    assert "Expect colours" in out and "At today's speed that takes less than two minutes" in out
    made = tmp_path / "runs/cifar10-copy"
    names = "samples/cifar10-copy-000004 samples/cifar10-copy-final cifar10-copy-spectrum"
    assert all((made / f"{name}.png").exists() for name in names.split())

    call("cifar10.py", "--resume", made, "--steps", "7", *batch_files)
    out = capsys.readouterr().out
    assert "7 steps" in out and "Expect" not in out
    call("sample.py", made, *one, "--steps", "2", "--count", "1", "--labels", "cat", "9")
    assert capsys.readouterr().out.endswith("cifar10-copy-grid.png\n")
    with pytest.raises(SystemExit, match="label cow: choose from 0, 1, .*, 9, airplane, auto"):
        call("sample.py", made, "--steps", "2", "--labels", "cow")
    call("likelihood.py", made, *batch_files, "--images", "1", "--steps", "2", *one)
    assert "1 test images, 2 steps" in capsys.readouterr().out


def test_cifar10_without_files_and_network_says_what_to_put_where(tmp_path):
    _, err = finish(run(tmp_path, "cifar10.py"), code=1)
    assert err.splitlines()[-1].startswith("error: cifar-10-binary.tar.gz could not be downloaded")
    assert "put cifar-10-binary.tar.gz (170,052,171 bytes) or its batch files" in err
    assert not (tmp_path / "a folder/runs").exists()
    assert not (tmp_path / "a folder/cache").exists()


def test_the_size_decides_what_the_flags_start_from(tmp_path):
    small, paper = (
        finish(run(tmp_path, "cifar10.py", "--help", "--size", size))[0]
        for size in ("small", "paper")
    )
    assert "channels of the first level (32)" in small and "batches to learn from (8000)" in small
    assert "channels of the first level (128)" in paper and "learn from (800000)" in paper
    _, err = finish(run(tmp_path, "cifar10.py", "--size", "large"), code=2)
    assert "choose from" in err


@pytest.mark.parametrize(
    "name, code, delay",
    [("INT", 130, 0), ("INT", 130, 0.1), ("INT", 130, 2), ("TERM", 143, 1), ("HUP", 129, 1)],
)
def test_a_signal_to_stop_saves_prints_how_to_go_on_and_sets_the_exit_code(
    tmp_path, name, code, delay, hangup
):
    """As a terminal sends it: to the example and its workers alike, while they start or work."""
    long = ["--steps", "100000", *TOY[2:], "--every", "100000", "--out", "my runs"]
    process = run(tmp_path, "mnist.py", *long)
    log = tmp_path / "a folder/my runs/offline-digits/log.csv"
    while "Ctrl-C saves and stops" not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read()
    time.sleep(delay)
    os.killpg(process.pid, getattr(signal, f"SIG{name}"))
    out, err = finish(process, code=code)
    saved = re.search(r"saved at step ([\d,]+); to go on: (.*)", out)
    command = shlex.split(saved[2])[2:]
    assert command[:2] == ["--resume", "my runs/offline-digits"]
    assert command[2:] == ["--micro-batch", "10", "--steps", "100000", "--workers", "2"]
    assert len(log.read_text().splitlines()) == int(saved[1].replace(",", "")) + 1


DIGITS = cache(offline_digits)  # drawn once for all tests in this process


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs an example in this process, in an empty folder; no network can be reached."""

    def nobody(*arguments, **keywords):
        call.asked = True
        raise OSError("nobody answers")

    def call(script, *arguments):
        call.asked = False
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TINYDDPM_DATA", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", nobody)
    for room in ("tinyddpm", "tinyddpm.data"):
        monkeypatch.setattr(f"{room}.offline_digits", DIGITS)
    monkeypatch.syspath_prepend(ROOT / "examples")
    return call


MISTAKES = {
    "--base 8 --groups 5": "a level with 8 channels cannot be split into 5 groups",
    "--lr -1": "lr of -1.0: use a number above 0",
    "--image-size 32 --attention-at 8": "mnist has images of shape (28, 28, 1)",
    "--classes 5": "mnist has labels from 0 to 9, but the U-Net has 5 classes",
    "--batch 70000": "a batch of 70000 from 60000 images",
    "--loss vlb": "times 'middle' of loss 'vlb', which draws them by its losses: use 'uniform'",
    "--loss hybrid": "loss 'hybrid' of a U-Net with outputs=1",
    "--T 20 --schedule linear": "a linear schedule of 20 steps",
    "--out /dev/null/runs": "--out: /dev/null is no folder that can be written to",
    "--base 8 --groups 0": "groups of 0: use 1 or more",
    "--warmup -5": "warmup of -5: use 0 or more",
    "--T 1": "T of 1: use 2 to 100,000",
    "--clip nan": "clip of nan: use a number above 0",
    "--seed -1": "seed of -1: use 0 or more",
    "--batch 20000": "a batch of 20000 from 10000 images",
    "--device cuda": "device 'cuda': CuPy is not there",
    "--resume nothing": "there is no nothing/checkpoint.safetensors",
    "--resume nothing --batch 3": "batch cannot change when a run is resumed",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_are_answered_with_one_sentence(call, tmp_path, arguments):
    with pytest.raises(SystemExit, match="error: " + re.escape(MISTAKES[arguments])) as error:
        call("mnist.py", *arguments.split())
    assert "\n" not in str(error.value) and not (tmp_path / "runs").exists()
    assert not call.asked or arguments == "--batch 20000"  # nothing is fetched in vain


@pytest.mark.parametrize("script", ["mnist.py", "cifar10.py"])
@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_folder_that_was_named_and_holds_something_else_ends_it(
    call, monkeypatch, tmp_path, script, how
):
    """Not that somebody takes what was learned from other images for the wrong thing."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/my-cats.tar").write_bytes(b"cats")
    said = r"error: (mine holds|mine/)[ ]?my-cats.tar.*; .* could not be downloaded"
    named = ["--data-dir", "mine"]
    if how == "variable":
        monkeypatch.setenv("TINYDDPM_DATA", named.pop())
        named.pop()
    with pytest.raises(SystemExit, match=said):
        call(script, *named)
    with pytest.raises(SystemExit, match="error: mine/my-cats.tar is a file: name the folder that"):
        call(script, "--data-dir", "mine/my-cats.tar")
    assert os.listdir(tmp_path) == ["mine"] and os.listdir(tmp_path / "mine") == ["my-cats.tar"]


def test_a_run_that_another_process_trains_is_left_alone(call, checkpoint):
    with (
        locked(checkpoint),
        pytest.raises(SystemExit, match="error: another process is at work in"),
    ):
        call("mnist.py", "--resume", checkpoint, "--workers", "1")


def test_a_mistake_leaves_no_traceback(tmp_path):
    _, err = finish(run(tmp_path, "mnist.py", "--lr", "-1"), code=1)
    assert err == "error: lr of -1.0: use a number above 0\n"


PROGRAMS = [
    path.name for path in (ROOT / "examples").glob("*.py") if "console.run" in path.read_text()
]


@pytest.mark.parametrize("script", PROGRAMS)
def test_ctrl_c_while_modules_are_imported_is_silent(tmp_path, script):
    """The first one of them takes its time here."""
    (tmp_path / "numpy.py").write_text("import time; print('here', flush=True); time.sleep(60)")
    process = run(tmp_path, script, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_ctrl_c_is_silent_before_anything_is_imported_that_takes_time():
    program = "import os, signal, sys, warnings; loaded = set(sys.modules); import console; "
    program += "print(*sys.modules.keys() - loaded)"
    python = [sys.executable, "-S", "-c", program]
    done = subprocess.run(python, cwd=ROOT / "examples", capture_output=True, text=True)
    assert done.stdout == "console\n"


def test_examples_do_without_standard_streams(checkpoint, tmp_path):
    """Closed by whoever starts them; files and pipes that are opened then get their numbers."""
    words = [sys.executable, ROOT / "examples/sample.py", checkpoint, "--steps", "2"]
    command = shlex.join(map(str, [*words, "--count", "1", "--workers", "2"]))
    subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"], cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "offline-digits-grid.png").exists()


@pytest.mark.parametrize("streams", ["2>&-", ">/dev/full 2>&1"])
def test_training_does_without_streams_that_are_closed_or_full(tmp_path, streams):
    words = [sys.executable, ROOT / "examples/mnist.py", "--steps", "2", *TOY[2:]]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "TINYDDPM_DATA": ""}
    command = f"{shlex.join(map(str, words))} --out runs {streams}"
    proxies = {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment | proxies, check=True, timeout=300,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert (tmp_path / "runs/offline-digits/samples/offline-digits-final.png").exists()


def test_a_reader_that_goes_away_is_no_error(checkpoint, tmp_path):
    """`python likelihood.py ... | head -c 0`: the work is done, in silence."""
    reader, writer = os.pipe()
    os.close(reader)
    words = [str(checkpoint), *"--images 1 --steps 2 --workers 1".split()]
    _, err = finish(run(tmp_path, "likelihood.py", *words, stdout=writer))
    os.close(writer)
    assert "Broken" not in err and "Exception" not in err
    assert (tmp_path / "a folder/offline-digits-likelihood.png").exists()


def test_ctrl_c_saves_when_nobody_reads_any_more(tmp_path):
    """`python mnist.py 2>&1 | tee log`: Ctrl-C goes to both, and tee dies first."""
    reader, writer = os.pipe()
    long = ["--steps", "100000", *TOY[2:], "--every", "100000"]
    process = run(tmp_path, "mnist.py", *long, stdout=writer, stderr=writer)
    os.close(writer)
    with open(reader) as lines:
        while "loss" not in lines.readline():  # it has begun
            assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    log = (tmp_path / "a folder/runs/offline-digits/log.csv").read_text().splitlines()
    assert len(log) > 1


def test_characters_that_a_terminal_lacks_are_replaced(tmp_path):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    out, _ = finish(run(tmp_path, "cifar10.py", "--help", **plain))
    assert "photographs of 32 ? 32 pixels" in out


class Cell(io.TextIOBase):
    """Standard output in a notebook cell: it can be written to, and nothing else is promised."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def test_an_example_runs_in_a_notebook(call, monkeypatch):
    """plexe-ai/plexe#45: its stream cannot be reconfigured."""
    cell = Cell()
    monkeypatch.setattr(sys, "stdout", cell)
    with pytest.raises(SystemExit, match="lr of -1.0"):
        call("mnist.py", "--lr", "-1")
    call("diagram.py")
    assert cell.text == "unet.png\n" and sys.stdout is cell


def test_warnings_are_sentences(tmp_path):
    (tmp_path / "gap.py").write_text(
        "import console, warnings\n"
        "in_full = warnings.formatwarning\n"
        "console.run(lambda: warnings.warn('mind the gap'))\n"
        "assert warnings.formatwarning is in_full\n"
    )
    _, err = finish(run(tmp_path, tmp_path / "gap.py", PYTHONPATH=f"{ROOT / 'examples'}:{ROOT}"))
    assert err == "warning: mind the gap\n"


def test_help_names_every_setting(tmp_path):
    out, _ = finish(run(tmp_path, "mnist.py", "--help"))
    for flag in ("--resume FOLDER", "--data-dir", "--steps N", "--multipliers [N ...]", "--seed"):
        assert flag in out
    assert "Ctrl-C saves and stops" in out


def test_help_of_sampling_fits_on_a_screen(tmp_path):
    out, _ = finish(run(tmp_path, "sample.py", "--help"))
    lines = out.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 80
    for flag in ("--weights FOLDER", "--inpaint PICTURE MASK", "--times [N ...]", "progressive"):
        assert flag in out


def load(name):
    """An example as a module; what it imports stands beside it."""
    if str(ROOT / "examples") not in sys.path:
        sys.path.append(str(ROOT / "examples"))
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

    from tinyddpm.nn.gradcheck import jacobian_gap

    rng = np.random.default_rng(0)
    model = load("grid").OneHiddenLayer(n_pixels=6, n_time=4, n_hidden=5)
    t = np.array([1, 700])
    forward = lambda x, tape: model.forward(x, t, tape)  # noqa: E731
    x, theta = rng.standard_normal((2, 3, 2, 1)), random_theta(model.layout, rng)
    assert jacobian_gap(forward, model.backward, theta, x) <= 1e-12


def untrained(folder, loss, **changes):
    """The folder of a run that has learnt nothing."""
    shape = UNetConfig(base=4, multipliers=(1, 2), groups=2, attention_at=(), classes=10)
    unet = replace(shape, outputs=1 if loss == "simple" else 2)
    config = TrainConfig(T=25, steps=1, batch=1, schedule="cosine", predicts="v", loss=loss)
    config = replace(config, **changes)
    data = Dataset("offline-digits", np.zeros((10, 28, 28, 1), np.uint8), np.arange(10))
    return Run.start(unet, config, data, folder / "my run").folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("runs"), "hybrid")


@pytest.fixture
def a_gpu(monkeypatch):
    """What stands in for CuPy and a GPU."""
    standin.install(monkeypatch)


def test_examples_on_a_gpu(a_gpu, call, checkpoint, tmp_path, capsys):
    cuda = ["--device", "cuda"]
    for make in ("grid", "gif", "progressive", "guidance", "interpolation"):
        few = ["--steps", "3", "--labels", "1", "2", "--count", "1"]
        call("sample.py", checkpoint, "--make", make, *few, *cuda)
    call("likelihood.py", checkpoint, "--images", "2", "--steps", "3", *cuda)
    call("mnist.py", *TOY, "--every", "100", *cuda)
    assert "20 images on the GPU (a stand-in)." in capsys.readouterr().out
    load("grid").main(tmp_path / "grid.png", steps=3, count=5, device="cuda")
    pictures = {path.suffix for path in tmp_path.rglob("offline-digits-*")}
    assert pictures == {".png", ".gif"} and (tmp_path / "grid.png").exists()


def test_out_of_memory_says_what_to_try(a_gpu, call, monkeypatch):
    def too_much(*arguments):
        raise MemoryError("Out of memory allocating 512 bytes")

    monkeypatch.setattr("tinyddpm.training.denoiser.Denoiser.gradient", too_much)
    with pytest.raises(SystemExit) as error:
        call("mnist.py", *TOY[:4], *TOY[6:], "--device", "cuda")
    said, command = str(error.value).split(": python ")
    assert said == "error: out of memory; to go on with fewer images at once"
    resume = "--resume runs/offline-digits --device cuda --micro-batch 10 --steps 6 --workers 2"
    assert shlex.split(command)[1:] == resume.split()
    with pytest.raises(SystemExit, match="out of memory with one image at a time"):
        call("mnist.py", *TOY[:4], *TOY[6:], "--micro-batch", "1", "--device", "cuda")


@pytest.fixture
def digit(tmp_path):
    """A picture larger than the model's, and what the model is given of it, bytes (28, 28)."""
    bright = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(bright.repeat(2, axis=0).repeat(2, axis=1)).save(tmp_path / "digit.png")
    small = Image.open(tmp_path / "digit.png").convert("RGB").resize((28, 28), Image.BICUBIC)
    return np.asarray(small)[..., 0].astype(int)


def cells(path, columns, rows):
    """The images of a grid: bytes (rows, columns, 28, 28)."""
    with Image.open(path) as picture:
        sheet = np.asarray(picture.convert("L"))[::2, ::2].astype(int)
    assert sheet.shape == (30 * rows + 2, 30 * columns + 2)
    return sheet[2:, 2:].reshape(rows, 30, columns, 30).swapaxes(1, 2)[:, :, :28, :28]


def test_sample_fills_in_what_a_mask_hides(call, checkpoint, tmp_path, digit):
    hidden = np.zeros((28, 28), bool)
    hidden[:, 14:] = True
    Image.fromarray(np.uint8(255 * hidden)).save("mask.png")
    few = "--labels 1 2 --count 2 --steps 2 --workers 1 --inpaint digit.png".split()
    for mask in ("right", "mask.png"):
        call("sample.py", checkpoint, *few, mask, "--out", f"{mask}.png")
        images = cells(f"{mask}.png", columns=3, rows=2)
        assert np.abs(images[..., ~hidden] - digit[~hidden]).max() <= 1
        assert (images[:, 0][..., hidden] == 128).all()
        assert np.abs(images[:, 1] - images[:, 2])[..., hidden].max() > 20
    assert Path("right.png").read_bytes() == Path("mask.png.png").read_bytes()


def test_a_mask_that_does_not_fit_its_picture_is_refused(call, checkpoint, tmp_path, digit):
    draw = ["sample.py", checkpoint, *"--labels 1 --count 1 --steps 2 --workers 1".split()]
    strokes = np.zeros((60, 60, 4), np.uint8)  # what one paints on nothing
    strokes[:, 30:] = 255
    for name, mask, sentence in (
        ("wide.png", np.full((30, 60), 255), "wide.png is 60 × 30 pixels, digit.png 56 × 56"),
        ("black.png", np.zeros((30, 30)), "nothing is white in black.png: paint white"),
        ("tiny.png", np.full((9, 9), 255), "tiny.png: too small: 9 × 9 pixels for 28 × 28"),
        ("strokes.png", strokes, None),
    ):
        Image.fromarray(np.uint8(mask)).save(name)
        if sentence:
            with pytest.raises(SystemExit, match=sentence):
                call(*draw, "--inpaint", "digit.png", name)
    call(*draw, "--inpaint", "digit.png", "strokes.png", "--out", "p.png")
    call(*draw, "--inpaint", "digit.png", "right", "--out", "q.png")
    assert Path("p.png").read_bytes() == Path("q.png").read_bytes()


def test_sample_begins_with_a_picture(call, checkpoint, tmp_path, digit):
    few = "--labels 1 2 --count 2 --workers 1 --spacing even --from digit.png --strength".split()
    off = []
    for strength in ("0.05", "1"):
        call("sample.py", checkpoint, *few, strength, "--out", f"{strength}.png")
        images = cells(f"{strength}.png", columns=3, rows=2)
        assert np.abs(images[:, 0] - digit).max() <= 1
        off.append(np.abs(images[:, 1:] - digit).mean())
    assert off[0] < 20 < 60 < off[1]


def test_own_learns_from_a_folder_and_goes_on_where_it_was_stopped(call, tmp_path, capsys):
    for label in ("cats", "dogs"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (40, 30), (90 * i, 0, 200)).save(
                tmp_path / "pets" / label / f"{i}.jpg"
            )
    (tmp_path / "pets/note.txt").write_text("no picture")
    small = "--image-size 8 --base 8 --workers 1 --T 6 --every 1000".split()
    call("own.py", "pets", *small, "--steps", "1", "--batch", "2")
    out = capsys.readouterr().out
    assert "1 of 7 files were left out: see " in out and "pets: 6 images; a U-Net" in out
    assert (tmp_path / "runs/pets/samples/pets-final.png").exists()
    call("own.py", "--resume", "runs/pets", "--steps", "2")
    assert "2 steps of 2 images" in capsys.readouterr().out
    config = json.loads((tmp_path / "runs/pets/config.json").read_text())
    assert config["unet"]["classes"] == 2 and config["label_names"] == ["cats", "dogs"]
    assert not (tmp_path / "pets/runs").exists()


PICTURES = {
    "--labels 3 --count 1 --steps 1 --dynamic 0.9": ("offline-digits-grid.png", (64, 64)),
    "--make denoising --times 25 9 3 --clip 0": ("offline-digits-denoising.png", None),
    "--labels 3 1 4 --count 2": ("offline-digits-grid.png", (2 * 60 + 4, 3 * 60 + 4)),
    "--make gif --labels 7 --count 2": ("offline-digits-gif.gif", None),
    "--make progressive --labels 0 1 --sampler ancestral": ("offline-digits-progressive.png", None),
    "--make denoising --sampler ddim --eta 0.5 --out a.png": ("a.png", None),
    "--make guidance --labels 5 --steps 4": ("offline-digits-guidance.png", None),
    "--make interpolation --labels 1 2 --count 1": ("offline-digits-interpolation.png", (664, 64)),
}


@pytest.mark.parametrize("arguments", PICTURES)
def test_sample_makes_every_kind_of_picture(checkpoint, tmp_path, arguments):
    command = [str(checkpoint), *arguments.split(), "--workers", "1"]
    if "--steps" not in command:
        command += ["--steps", "3"]
    out, _ = finish(run(tmp_path, "sample.py", *command))
    name, size = PICTURES[arguments]
    assert out == f"offline-digits, after 0 steps of training, drawn on the CPU: {name}\n"
    with Image.open(tmp_path / "a folder" / name) as picture:
        picture.load()
        assert size in (None, picture.size)
        assert name.endswith("png") or picture.n_frames == 4  # noise and three steps


PUBLISHED = ROOT / "tests/published"


def test_sample_draws_with_published_weights(tmp_path):
    few = ["--steps", "3", "--count", "2", "--workers", "2"]
    out, _ = finish(run(tmp_path, "sample.py", "--weights", str(PUBLISHED), *few))
    how_long, drawn = out.splitlines()
    how = "3 steps of sde-dpm at times of ours, not of its scheduler"
    assert re.fullmatch(f"published: {how}; an image takes about [0-9.e-]+ s", how_long)
    assert drawn == "published, drawn on the CPU: published-grid.png"
    file = PUBLISHED / "diffusion_pytorch_model.safetensors"
    more = ["--sampler", "ancestral", "--variance", "large", "--make", "progressive"]
    out, _ = finish(run(tmp_path, "sample.py", "--weights", str(file), *few, *more))
    assert out.endswith("published, drawn on the CPU: published-progressive.png\n")
    said = "--schedule cosine --predicts v --T 60 --image-size 4".split()
    shutil.copytree(PUBLISHED, tmp_path / "alone")
    (tmp_path / "alone/scheduler_config.json").unlink()
    (tmp_path / "alone/checkpoint-500").mkdir()  # as their own training script leaves them
    alone = ["sample.py", "--weights", str(tmp_path / "alone"), "--steps", "2"]
    assert "say it (--schedule, --predicts, --T)" in finish(run(tmp_path, *alone), 1)[1]
    finish(run(tmp_path, *alone, *said, "--count", "3"))
    with Image.open(tmp_path / "a folder/alone-grid.png") as picture:
        assert picture.size[0] == 2 * (3 * (2 * 4 + 2) + 2)  # two grey channels, side by side


def test_the_same_seed_draws_the_same_picture_on_any_number_of_workers(checkpoint, tmp_path):
    pictures = []
    for more in ("--workers 1", "--workers 2", "--workers 1 --seed 1"):
        command = f"--labels 2 --count 2 --steps 2 --out p.png {more}".split()
        finish(run(tmp_path, "sample.py", str(checkpoint), *command))
        with Image.open(tmp_path / "a folder/p.png") as picture:
            pictures.append(np.asarray(picture).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert np.abs(pictures[0] - pictures[2]).max() > 20


def test_a_picture_that_is_there_is_left_alone(checkpoint, tmp_path):
    """By those, too, who began before it was there."""
    command = [str(checkpoint), *"--labels 2 --count 1 --steps 2 --workers 1".split()]
    at_once = [run(tmp_path, "sample.py", *command) for _ in range(3)]
    names = {finish(process)[0].split()[-1] for process in at_once}
    assert names == {f"offline-digits-grid{number}.png" for number in ("", "-2", "-3")}
    assert names == {path.name for path in (tmp_path / "a folder").iterdir()}


def test_likelihood_prints_bits_and_draws_the_curve(checkpoint, tmp_path):
    bits = []
    for more, variance in (("", "learned"), ("--variance large", "large"), ("--seed 1", "learned")):
        command = [str(checkpoint), *f"--images 2 --steps 10 --workers 1 {more}".split()]
        out, _ = finish(run(tmp_path, "likelihood.py", *command))
        assert f"2 test images, 10 steps, {variance} variances" in out
        numbers = map(float, re.findall(r"[\d.]+(?= bits| rate| distortion)", out))
        total, rate, distortion = numbers
        assert total == pytest.approx(rate + distortion, abs=0.002)
        bits.append(total)
    assert len(set(bits)) == 3 and min(bits) > 1
    assert (tmp_path / "a folder/offline-digits-likelihood-3.png").stat().st_size > 1000


class Copyist:
    """A trained model that draws the image of the label asked for, and knows what it was asked."""

    def __init__(self, trained, images):
        self.trained, self.images, self.asked = trained, images, []

    def eps_model(self, x_t, t, label):
        self.asked.append(label)
        table = np.concatenate([self.images, 0 * self.images[:1]])  # null: grey
        a = self.trained.schedule.alpha_bar[t].reshape(-1, 1, 1, 1) ** 0.5
        return ((x_t - a * table[label]) / (1 - a * a) ** 0.5).astype(np.float32)


@pytest.fixture
def copyist(checkpoint):
    images = np.random.default_rng(0).uniform(-0.5, 0.5, (10, 28, 28, 1))
    return Copyist(load_trained(checkpoint), images)


def test_sample_draws_the_labels_and_the_guidance_asked_for(copyist):
    module = load("artist")
    sampling = SamplingConfig(steps=4, guidance=0.0)
    artist = module.Artist(copyist.trained, copyist.eps_model, sampling, [7, 2], 3, 0)
    wanted = np.repeat(copyist.images[[7, 2]], 3, axis=0)
    difference = np.asarray(artist.grid()).astype(int) - np.asarray(image_grid(wanted, 3))
    assert np.abs(difference).max() <= 1
    rows = np.asarray(artist.guidance().convert("L")).astype(int)
    for k, weight in enumerate(module.WEIGHTS):  # away from grey: (1 + w) times the contrast
        wanted = np.asarray(image_grid((1 + weight) * copyist.images[[7, 2]], 2))
        shown = rows[64 * k : 64 * (k + 1), -wanted.shape[1] :]
        assert np.abs(shown[4:60, 4:60] - wanted[4:60, 4:60]).max() <= 1
    assert {7, 2, 10} == set(np.concatenate(copyist.asked))


def test_the_interpolation_begins_and_ends_with_its_images(copyist):
    """A network for which all images are the null label's: noise in between gives grey."""
    module = load("artist")
    sampling = SamplingConfig("dpm", steps=4, guidance=1.5, guided_share=1.0)
    artist = module.Artist(copyist.trained, copyist.eps_model, sampling, [7, 2], 1, 0)
    picture = np.asarray(artist.interpolation()).astype(int)
    for place, label in ((0, 7), (10, 2)):
        wanted = np.asarray(image_grid(np.clip(2.5 * copyist.images[[label]], -1, 1), 1))
        shown = picture[:, 60 * place :][:64, :64]
        assert np.abs(shown[4:60, 4:60] - wanted[4:60, 4:60]).max() <= 1
    assert set(copyist.asked[-1]) == {10}


def test_compare_reads_what_a_model_draws(copyist, capsys):
    """The judge knows the ten images that the model copies, and nothing else."""
    module, rng = load("compare"), np.random.default_rng(0)
    known = copyist.images.reshape(10, -1)

    def judge(images):
        pixels = images.reshape(len(images), -1) / 127.5 - 1
        gaps = ((pixels[:, None] - known) ** 2).sum(axis=2)
        return pixels[:, :20], (gaps == gaps.min(axis=1)[:, None]).astype(float)

    test = Dataset("mnist", rng.integers(0, 256, (200, 28, 28, 1), np.uint8), np.arange(200) % 10)
    arguments = type("Arguments", (), {"images": 50, "guidance": 0.0, "seed": 0})
    cases = [module.chosen_sampler(text, copyist.trained, 0.0) for text in ("ddim:3", "dpm:2")]
    module.compare(copyist.trained, copyist.eps_model, cases, arguments, judge, test)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "offline-digits, on the CPU" and len(lines) == 7
    assert all("| 100% |" in line for line in lines[4:6]) and "| 100% |" not in lines[6]
    assert lines[4].startswith("| ddim | 3 |") and lines[6].startswith("| (test images) |  |  |")


MISUSES = {
    "sample.py": "name the folder of a run, or --weights with that of published weights",
    "sample.py RUN --weights RUN": "name the folder of a run, or --weights",
    "sample.py --weights nothing": "there is no nothing: name the folder of a published network",
    "sample.py --weights RUN": "RUN is the folder of a run: leave out --weights",
    "benchmark.py --device cuda": "device 'cuda': CuPy is not there",
    "grid.py --device cuda": "device 'cuda': CuPy is not there",
    "grid.py --out a.txt": "a.txt: its ending names no kind of picture; use .png",
    "grid.py --out /dev/null/a.png": "--out: /dev/null is no folder",
    "sample.py RUN --out /dev/null/a.png": "--out: /dev/null is no folder",
    "benchmark.py --rounds 0": "rounds of 0: use 1 or more",
    "benchmark.py --against onnxruntime --profile": "ONNX Runtime samples on the CPU: leave out",
    "likelihood.py RUN --workers 0": "0 workers: use 1 or more",
    "likelihood.py RUN --seed -1": "seed of -1: use 0 or more",
    "sample.py RUN --predicts v": "a run knows its process and size: leave out",
    "sample.py RUN --image-size 0": "a run knows its process and size: leave out",
    "sample.py nothing": "there is no nothing/checkpoint.safetensors: name the folder of a run",
    "sample.py RUN --labels 10": "label 10: choose from 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
    "sample.py RUN --count 0": "count of 0: use 1 or more",
    "sample.py RUN --steps 26": "26 of 25 steps: choose from 1 to 25",
    "sample.py RUN --sampler ddim --eta 2": "eta of 2.0: use a number from 0 to 1",
    "sample.py RUN --out a.txt": "a.txt: its ending names no kind of picture; use .png",
    "sample.py RUN --out a.gif": "a.gif: a picture of --make grid wants the ending .png",
    "sample.py RUN --make gif --out a.png": "a.png: a picture of --make gif wants the ending .gif",
    "sample.py RUN --guidance -1": "guidance of -1.0: use 0 or more",
    "likelihood.py RUN --out a.b": "a.b: its ending names no kind of picture; use .png",
    "sample.py RUN --out a.psd": "a.psd: its ending names no kind of picture; use .png",
    "sample.py RUN --workers 0": "0 workers: use 1 or more",
    "sample.py RUN --seed -1": "seed of -1: use 0 or more",
    "likelihood.py RUN --images 0": "images of 0: use 1 or more",
    "likelihood.py RUN --images 1001": "images of 1001: use 1 to 1,000",
    "likelihood.py RUN --steps 0": "0 of 25 steps: choose from 1 to 25",
    "likelihood.py RUN --variance tiny": "variance 'tiny': choose from large, small, learned",
    "sample.py RUN --strength 0.5": "--strength is for --from: name a picture to begin with",
    "sample.py RUN --from nowhere.png": "there is no picture nowhere.png",
    "sample.py RUN --from FILE": "FILE: empty, or no picture of a kind that is read here",
    "sample.py RUN --inpaint nowhere.png left": "there is no picture nowhere.png",
    "sample.py RUN --from FILE --make gif": "--from or --inpaint, one of them, can make grid and",
    "sample.py RUN --from FILE --inpaint FILE left": "--from or --inpaint, one of them",
    "sample.py RUN --times 7 26": "t from 7 to 26: use 1 to 25",
    "sample.py RUN --times 0": "times of 0: use 1 or more",
    "sample.py RUN --clip -1": "clip of -1.0: use 0 or more",
    "sample.py RUN --dynamic 2": "dynamic of 2.0: use a number from 0 to 1",
    "own.py": "name your pictures, or --resume with the folder of a run",
    "own.py nowhere": "there is no folder",
    "own.py nowhere --steps 0": "steps of 0: use 1 or more",
    "own.py . --out runs": "--out: ",
    "own.py FILE": "FILE holds no images and labels, or is damaged: name a folder of",
    "compare.py RUN": "RUN is no model of MNIST that can be guided",
    "evaluate.py nothing": "there is no nothing/checkpoint.safetensors: name the folder of a run",
    "evaluate.py RUN --steps 5 --images 99": "images of 99: use 100 or more",
    "evaluate.py RUN --steps 26": "26 of 25 steps: choose from 1 to 25",
}


@pytest.mark.parametrize("command", MISUSES)
def test_misuse_of_a_checkpoint_is_answered_with_one_sentence(call, checkpoint, command):
    this = {"RUN": str(checkpoint), "FILE": str(checkpoint / "log.csv")}
    script, *arguments = [this.get(word, word) for word in command.split()]
    sentence = "error: " + MISUSES[command].replace("RUN", this["RUN"]).replace(
        "FILE", this["FILE"]
    )
    with pytest.raises(SystemExit, match=re.escape(sentence)):
        call(script, *arguments)
    assert not call.asked


def test_variances_that_were_not_learned_are_not_offered(tmp_path):
    simple, options = untrained(tmp_path, "simple"), "--steps 2 --workers 1".split()
    options += "--labels 1 --count 1 --sampler ancestral".split()
    finish(run(tmp_path, "sample.py", str(simple), *options))
    learned = [*options, "--variance", "learned"]
    _, err = finish(run(tmp_path, "sample.py", str(simple), *learned), code=1)
    sentence = "this network has learned no variances: choose 'small' or 'large'"
    assert err.endswith(f"error: {sentence}\n")
    out, _ = finish(run(tmp_path, "likelihood.py", str(simple), "--images", "1", "--steps", "2"))
    assert "2 steps, small variances" in out


def test_a_process_of_few_steps_is_drawn_with_the_usual_settings(call, tmp_path, capsys):
    folder = untrained(tmp_path, "simple", T=5)
    call("sample.py", folder, "--labels", "1", "--count", "1", "--workers", "1")
    assert (tmp_path / "offline-digits-grid.png").exists()
    cases = load("compare").usual_samplers
    assert (
        cases(5) == ["ancestral:5", "ddim:5", "dpm:5", "sde-dpm:5"]
        and cases(1000)[0] == "ancestral:1000"
    )


NEVER = {  # label_drop: {command: sentence}
    1.0: {
        "sample.py RUN --labels 3": "this model was trained without labels: leave out --labels",
        "sample.py RUN --make guidance": "this model was not trained with labels and without",
        "compare.py RUN": "is no model of MNIST that can be guided",
        "sample.py RUN": None,
        "likelihood.py RUN --images 1 --steps 2": None,
    },
    0.0: {
        "sample.py RUN --make interpolation": "this model was trained with labels only",
        "sample.py RUN --guidance 1": "this model was not trained with labels and without",
        "sample.py RUN": None,
    },
}


@pytest.mark.parametrize("label_drop", NEVER)
def test_examples_ask_only_for_rows_that_were_trained(call, tmp_path, monkeypatch, label_drop):
    folder, asked = untrained(tmp_path, "simple", label_drop=label_drop), set()

    def spy(self, theta, x_t, t, label):
        asked.update([None] if label is None else label.tolist())
        return 0 * x_t

    monkeypatch.setattr("tinyddpm.training.denoiser.Denoiser.predict", spy)
    for command, sentence in NEVER[label_drop].items():
        words = [folder if word == "RUN" else word for word in command.split()]
        if sentence:
            with pytest.raises(SystemExit, match=re.escape(sentence)):
                call(*words)
        else:
            call(*words, "--workers", "1")
    assert asked == ({None} if label_drop else set(range(10)))


def test_weights_that_answer_no_numbers_make_no_picture_and_no_bits(call, tmp_path, capsys):
    folder = untrained(tmp_path, "simple")
    run = Run.resume(folder, lambda name: DIGITS())
    run.ema *= 1e30
    run.save()
    few = "--workers 1 --steps 2".split()
    for command in (["sample.py", folder], ["likelihood.py", folder, "--images", "1"]):
        with np.errstate(all="ignore"), pytest.raises(SystemExit, match="that are not finite"):
            call(*command, *few)
    assert "bits" not in capsys.readouterr().out and not list(tmp_path.glob("*.png"))


def test_numbers_gone_bad_end_in_a_sentence_that_says_how_to_find_them(call, monkeypatch):
    def train(run, detect_nan):
        raise FloatingPointError("step 2: the loss is nan")

    monkeypatch.setattr("training.train", train)
    sentence = "step 2: the loss is nan. The checkpoint in runs/offline-digits is of step 0; .*"
    with pytest.raises(SystemExit, match=f"{sentence}--resume runs/offline-digits .*--detect-nan"):
        call("mnist.py", *TOY)
    with pytest.raises(SystemExit, match="is of step 0$"):  # who has asked is not told to ask
        call("mnist.py", *TOY, "--detect-nan")


class Script:
    """A pipe that asks for one task after another, and keeps the answers."""

    def __init__(self, *tasks):
        self.tasks, self.answers = [*tasks, None], []

    def recv(self):
        return self.tasks.pop(0)

    def send(self, answer):
        self.answers.append(answer)


TOY_NETWORK = UNetConfig(
    image_size=8, base=8, multipliers=(1, 2), blocks=1, attention_at=(4,), groups=4
)


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    module = load("benchmark")
    monkeypatch.setattr(module, "NETWORKS", {"a": (TOY_NETWORK, 4)})
    return module


def test_benchmark_measures_each_task(benchmark):
    script = Script("check", "train", "train", "sample", "memory")
    benchmark.ours(script, "a", "cpu", workers=1, micro_batch=2)
    (loss, grad), first, second, answers, memory = [result for result, _ in script.answers]
    assert 0.5 < loss < 3 and np.isfinite(grad).all() and grad.any()
    assert first > 0 and second > 0 and answers.shape == (4, 8, 8, 1) and memory > 1e7
    assert all(seconds > 0 for _, seconds in script.answers)


def test_benchmark_on_a_gpu_finds_the_same_loss_and_gradient(benchmark, a_gpu, monkeypatch):
    """And it sends the schedule's tables once, as training does."""
    sent, asarray = [], standin.cupy.asarray
    monkeypatch.setattr(standin.cupy, "asarray", lambda x, *a: sent.append(x) or asarray(x, *a))
    scripts = [Script("check", "train", "sample", "memory") for _ in range(2)]
    for script, device in zip(scripts, ("cpu", "cuda")):
        benchmark.ours(script, "a", device, workers=2 if device == "cuda" else 1, micro_batch=2)
    (loss, grad), (gpu_loss, gpu_grad) = [script.answers[0][0] for script in scripts]
    assert gpu_loss == pytest.approx(loss, rel=1e-5)
    assert np.linalg.norm(grad - gpu_grad) < 1e-4 * np.linalg.norm(grad)
    assert scripts[1].answers[3][0] == 1 << 30  # what the memory pool says
    assert 0 < sum(isinstance(x, np.ndarray) and x.shape == (1001,) for x in sent) <= 10


def test_benchmark_says_what_it_ran_on(benchmark, monkeypatch):
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS"):
        monkeypatch.delenv(name, raising=False)
    text = benchmark.machine(workers=3)
    assert f"NumPy {np.__version__} with " in text and "3 workers" in text
    assert "warning" not in text
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert "warning: OPENBLAS_CORETYPE=Haswell chooses" in benchmark.machine(workers=3)


def test_benchmark_asks_nvidia_smi_how_busy_the_gpu_is(benchmark, monkeypatch, tmp_path):
    asked, program = [], tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 97 %\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    player = type("Player", (), {"ask": lambda self, task: asked.append(task)})()
    assert benchmark.busy_share(player, seconds=0.01) == "97 %"
    assert asked and set(asked) == {"train"}


def test_benchmark_ends_when_a_player_dies(benchmark):
    player = benchmark.Player(sys.exit)
    assert not player.process.daemon  # it may have workers
    with pytest.raises(SystemExit, match="died at its task 'train'"):
        player.ask("train")


def test_benchmark_reports_ratios_to_the_faster_opponent(benchmark, capsys):
    names = "us", "PyTorch, A", "PyTorch, B"
    figures = {"train": (30, 10, 15), "sample": (50, 100, 80), "memory": (1e8, 4e8, 5e8)}
    measured = {column: dict(zip(names, some)) for column, some in figures.items()}
    figures = benchmark.report("a", measured)
    assert figures["train_ratio_a"] == 2 and figures["sample_ratio_a"] == 0.5
    assert figures["memory_ratio_a"] == 0.25 and figures["train_a"] == 30
    out = capsys.readouterr().out
    assert (
        "| us | 30.0 | 50.0 | 100.0 |" in out
        and "| tinyddpm / PyTorch | 2.00 | 0.50 | 0.25 |" in out
    )
    figures = benchmark.report("a", {"sample": {"us": 50, "ONNX Runtime": 40}})
    assert figures == {"sample_a": 50, "sample_ratio_a": 1.25}
    assert "| tinyddpm / ONNX Runtime | 1.25 |" in capsys.readouterr().out


def test_benchmark_stops_if_the_gradients_differ(benchmark):
    class Answers:
        def __init__(self, loss, grad):
            self.answer = (loss, np.array(grad)), 0

        def ask(self, task):
            return self.answer

        def end(self):
            pass

    one, same, other = Answers(1.0, [1.0, 2]), Answers(1.0, [1.0, 2.0001]), Answers(1.0, [1.0, 2.1])
    benchmark.agree({"a": one, "b": same}, "check")
    with pytest.raises(SystemExit, match="answers to 'check' are 4.5e-02 apart"):
        benchmark.agree({"a": one, "b": other}, "check")


def test_benchmark_profiles_by_layer(benchmark, capsys):
    """Layers are charged for themselves: with their parts, shares would add up to more than all."""
    benchmark.profile("a", 2, None)
    out = capsys.readouterr().out
    rows = re.findall(r"\| (\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)% \|", out)
    names = {name for name, *_ in rows}
    assert {"Conv3x3", "UpsampleConv", "NormSiLU", "GroupNorm", "Linear", "Attention"} <= names
    assert sum(float(share) for *_, share in rows) == pytest.approx(100, abs=0.05 * len(rows))
    total = float(re.search(r"all \| (\d+) in both", out)[1])
    assert sum(float(way) + float(back) for _, way, back, _ in rows) == pytest.approx(total, abs=1)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells")
def test_benchmark_counts_once_what_processes_share():
    script = """
import mmap, os, signal, benchmark
memory, (asked, answered) = mmap.mmap(-1, 100_000_000), os.pipe()
memory.write(bytes(100_000_000))
alone = benchmark.peak_memory()
if os.fork() == 0:
    memory[:]  # now it is held by two
    os.write(answered, b".")
    signal.pause()  # until the other one ends both
os.read(asked, 1)
print(alone - benchmark.peak_memory(), flush=True)
os.killpg(0, 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT / "examples", capture_output=True, text=True,
        start_new_session=True, timeout=60,
    )  # fmt: skip
    assert 45e6 < float(done.stdout) < 100e6, done.stderr


def test_benchmark_measures_a_step_and_says_when_more_machines_do_not_pay(benchmark, capsys):
    script = load("benchmark_scaling")
    one = script.needs(TOY_NETWORK, batch=4, workers=1, rounds=1)
    assert one.step > one.update > 0 and one.sum > 0
    script.on_paper(one, workers=1)
    assert "| 1,024 |" in capsys.readouterr().out

    ideal = script.Needs(step=16.0, sum=0.0, update=0.0, batch=16, parameters=1_000_000_000 // 32)
    seconds = [script.step_seconds(ideal, 2, machines, 16, speed=1) for machines in (1, 2, 8, 64)]
    sums = [2 * (n - 1) / n + 2 * np.log2(n) * script.LATENCY for n in (1, 2, 8, 64)]
    np.testing.assert_allclose(seconds, np.add([16, 8, 2, 2], sums))  # a core needs 2 s an image
    assert script.smallest_batch(ideal, 2, machines=64, speed=1) == 64 * 18
    assert script.smallest_batch(ideal, 2, machines=64, speed=0.1) == 64 * 178


def test_the_network_in_pytorch_is_the_same(benchmark):
    pytest.importorskip("torch", reason="PyTorch is only the benchmark's opponent")
    scripts = [Script("check"), Script("check", "train", "sample"), Script("check")]
    benchmark.ours(scripts[0], "a", "cpu", 1, 2)
    for script, channels_last in zip(scripts[1:], (False, True)):
        benchmark.theirs(script, "a", "cpu", 1, channels_last)
    (loss, grad), *others = [script.answers[0][0] for script in scripts]
    for other_loss, other_grad in others:
        assert other_loss == pytest.approx(loss, rel=1e-5)
        assert np.linalg.norm(grad - other_grad) < 1e-4 * np.linalg.norm(grad)


def test_the_network_in_onnx_runtime_is_the_same(benchmark):
    for package in ("torch", "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="ONNX Runtime is only the benchmark's opponent")
    scripts = [Script("sample"), Script("sample")]
    benchmark.ours(scripts[0], "a", "cpu", 1, 2)
    benchmark.deployed(scripts[1], "a", 1)
    ours, theirs = [script.answers[0][0] for script in scripts]
    assert theirs.shape == ours.shape
    assert np.linalg.norm(ours - theirs) < 1e-5 * np.linalg.norm(ours)


def test_an_opponent_that_is_not_there_is_named(benchmark, monkeypatch):
    for missing, against in (("torch", "torch"), ("onnxscript", "onnxruntime")):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, missing=missing: name != missing or None
        )
        monkeypatch.setattr(sys, "argv", ["benchmark.py", "--against", against])
        with pytest.raises(ValueError, match=f"--against {against}: type pip install {missing}"):
            benchmark.main()


def test_each_mistake_leaves_its_mark_in_the_spectrum(rng):
    module = load("grid_noise")
    shapes = rng.standard_normal((80, 24, 24, 3)).cumsum(axis=1).cumsum(axis=2)
    images = np.tanh(shapes / shapes.std() + rng.standard_normal((80, 1, 1, 3))).astype(np.float32)
    wanted = {"wrong order": (3, 50), "transposed": (2, 50)}
    for name, (with_it, without) in module.mistakes(images).items():
        powers = module.power_spectrum(with_it).power / module.power_spectrum(without).power
        if name == "betas":  # grain: too much of all that is fine, and too little of the rest
            assert powers[0] < 1 and 1.2 < powers[6:].min() and powers.max() < 2
        else:
            period, strength = wanted[name]
            assert powers.argmax() == 24 / period and powers.max() > strength
    assert module.picture(images).width > 720


def test_see_draws_what_needs_no_training_and_says_what_one_sees(tmp_path):
    out, _ = finish(run(tmp_path, "see.py", "schedule", "norm"))
    for name, words in (("schedule", "erased the image well before T"), ("norm", "the variance")):
        with Image.open(tmp_path / "a folder/see" / f"{name}.png") as picture:
            assert min(picture.size) > 200
        assert words in out
    _, error = finish(run(tmp_path, "see.py", "flow"), 1)
    assert "name the folder of a run" in error
    _, error = finish(run(tmp_path, "see.py", "runs/none", "mistake"), 1)
    assert error.startswith("error: mistake is no picture: choose from schedule, arrows")
