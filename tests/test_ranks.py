"""Many ranks do what one machine does, say what went wrong, and leave nothing behind."""

import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import processes_with, put

from tinyddpm import cores, load_checkpoint

MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
ROOT = Path(__file__).parents[1]
TASK = "TINYDDPM_TEST_RANKS"  # marks the processes of a test

MPI = MPIEXEC and importlib.util.find_spec("mpi4py")
with_mpi = pytest.mark.skipif(not MPI, reason="no MPI here: pip install mpi4py mpich")

SCRIPT = """
import functools, os, signal, sys
import numpy as np
from tinyddpm import *
from tinyddpm.evaluation.classifier import Classifier, ClassifierConfig
from tinyddpm.evaluation.judge import train_classifier
from tinyddpm.nn.optim import Adam
from tinyddpm.pictures import gallery

gallery.SAMPLING = SamplingConfig(steps=4)
UNET = UNetConfig(
    image_size=8, base=4, multipliers=(1,), blocks=1, attention_at=(), groups=2, dropout=0.1,
    classes=3, outputs=2,
)

def stripes():
    labels = np.arange(20) % 3
    images = np.zeros((20, 8, 8, 1), np.uint8)
    images[labels == 1], images[labels == 2, 4:] = 255, 255
    return Dataset("stripes", images, labels)

def main():
    way, folder, workers, steps = sys.argv[1:]
    if way == "ask":
        return ask(folder, int(workers))
    changes = {"steps": int(steps), "workers": int(workers)}
    if way == "resume":
        run = Run.resume(folder, lambda name: stripes(), **changes)
    else:
        config = TrainConfig(
            batch=6, micro_batch=2, lr=3e-3, warmup=2, T=25, every=10, ema_decay=0.9, flips=0.5,
            loss="vlb", **changes,
        )
        run = Run.start(UNET, config, stripes(), folder)
    try:
        train(run)
    except KeyboardInterrupt:
        sys.exit(130)
    print("done", run.step, "with" if "mpi4py" in sys.modules else "without", "MPI")

def ask(folder, workers):
    trained, data = load_trained(folder), stripes()
    noise = np.random.default_rng(0).standard_normal((6, 8, 8, 1), np.float32)
    config = ClassifierConfig(8, 1, 3, base=8, features=4, epochs=2, batch=10)
    theta = train_classifier(Classifier(config), data, workers)
    judges = Workers(Classifier(config), theta, workers)
    with trained.predictor(workers) as eps_model, judges:
        predict = guided(eps_model, np.arange(6) % 3, 3, 0.5)
        steps = sample(SamplingConfig("dpm", 4), predict, trained.schedule, noise, None)
        images = final_images(steps)
        x0, rng = to_model_range(data.images[:6]), np.random.default_rng(1)
        bits = [term.bits for term in bound_terms(predict, x0, trained.schedule, rng)]
        seen = judges.map_batch("look", theta, 0, to_bytes(images))
    np.savez("answers", theta=theta, images=images, bits=bits, seen=seen)

def at(rank, step, act):
    update = Adam.update
    @functools.wraps(update)  # workers have the original of this name
    def acting(adam, theta, *arguments):
        update(adam, theta, *arguments)
        if which_rank()[0] == rank and adam.step == step:
            act(theta)
    Adam.update = acting

ADDED

if __name__ == "__main__":
    over_ranks(main)
"""
KILLED = "at({rank}, 16, lambda theta: os.kill(os.getpid(), signal.SIGKILL))"
RAISES = "at(1, 5, lambda theta: 1 / 0)"
DIFFERS = "at(1, 5, lambda theta: theta.__setitem__(0, 9))"
LOSES = "at(1, 5, lambda theta: os.system('kill -9 $(pgrep -P %d python)' % os.getpid()))"
SHOWS = """
at(0, 20, lambda theta: print('here', flush=True))
if os.environ.get("PMI_RANK") == "0":
    signal.signal(signal.SIGTERM, lambda *ignored: os.kill(os.getpid(), signal.SIGINT))
"""


class Launcher:
    """Starts programs in a folder, and knows which processes they leave behind."""

    def __init__(self, folder):
        self.folder, self.mark, self.started = folder, secrets.token_hex(), []

    def write(self, added):
        put(self.folder, {"script.py": SCRIPT.replace("ADDED", added).encode()})

    def start(self, ranks, *words, added="", **environment):
        self.write(added)
        command = [sys.executable, "script.py", *map(str, words)]
        if ranks > 1:
            command = [MPIEXEC, "-n", str(ranks), *command]
        return self.popen(command, **environment)

    def popen(self, command, **environment):
        more = {
            TASK: self.mark, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1",
            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        }  # fmt: skip
        process = subprocess.Popen(
            command, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **more, **environment}, start_new_session=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def train(self, ranks, folder, workers=1, steps=20, way="train", **named):
        process = self.start(ranks, way, folder, workers, steps, **named)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert way == "ask" or f"done {steps} {'with' if ranks > 1 else 'without'} MPI" in out
        return self.folder / folder

    def left(self):
        """The processes that still run."""
        return processes_with(f"{TASK}={self.mark}".encode())

    def check_nothing_is_left(self, seconds=10):
        end = time.monotonic() + seconds
        while left := self.left():
            if time.monotonic() > end:
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"processes {left} still ran")
            time.sleep(0.05)


@pytest.fixture
def launcher(tmp_path):
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.check_nothing_is_left()
    for process in launcher.started:
        process.communicate()


def content(folder):
    """Every file of a run: {name: bytes}; the page says how fast it was."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".html"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_close(folder, other):
    """Weights and losses are the same to rounding."""
    some, others = (load_checkpoint(path / "checkpoint.safetensors") for path in (folder, other))
    assert some.meta["step"] == others.meta["step"]
    for name, array in some.arrays.items():
        np.testing.assert_allclose(array, others.arrays[name], 1e-3, 1e-4, err_msg=name)
    rows = (np.loadtxt(path / "log.csv", delimiter=",", skiprows=1) for path in (folder, other))
    np.testing.assert_allclose(*rows, rtol=1e-3)


@with_mpi
def test_two_ranks_learn_what_one_machine_with_two_workers_learns(launcher):
    twice = [content(launcher.train(2, folder, steps=50)) for folder in ("one", "two")]
    assert twice[0] == twice[1]
    assert_close(launcher.folder / "one", launcher.train(1, "alone", workers=2, steps=50))


@with_mpi
def test_a_run_goes_on_on_another_number_of_ranks(launcher):
    """Killed on three, it goes on on one; stopped on one, it goes on on three."""
    whole = launcher.train(1, "whole")
    process = launcher.start(3, "train", "killed", 1, 20, added=KILLED.format(rank=1))
    process.communicate(timeout=120)
    assert process.returncode
    launcher.check_nothing_is_left()
    assert load_checkpoint(launcher.folder / "killed/checkpoint.safetensors").meta["step"] == 10
    assert_close(launcher.train(1, "killed", way="resume"), whole)

    launcher.train(1, "stopped", steps=13)
    assert_close(launcher.train(3, "stopped", way="resume"), whole)


@with_mpi
@pytest.mark.parametrize(
    "added, workers, message",
    [
        (KILLED.format(rank=0), 1, ""),
        (RAISES, 1, "ZeroDivisionError: division by zero"),
        (DIFFERS, 1, "rank 1 has weights with the checksum .* but the first rank"),
        (LOSES, 2, "worker [01] died with exit code -9"),
    ],
)
def test_a_fault_on_one_rank_ends_all_with_its_own_message(launcher, added, workers, message):
    process = launcher.start(2, "train", "run", workers, 20, added=added)
    _, err = process.communicate(timeout=120)
    assert process.returncode and re.search(message, err), err


@with_mpi
@pytest.mark.parametrize("number, workers", [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_a_signal_to_mpiexec_reaches_the_first_rank_which_saves_once(launcher, number, workers):
    if "HYDRA" not in subprocess.run([MPIEXEC, "--version"], capture_output=True).stdout.decode():
        pytest.skip("this mpiexec keeps signals to itself")
    process = launcher.start(2, "train", "run", workers, 100_000, added=SHOWS)
    while "here" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and err.count("finishing this step") == 1, err
    assert load_checkpoint(launcher.folder / "run/checkpoint.safetensors").meta["step"] >= 20


@with_mpi
@pytest.mark.parametrize(
    "words, added, message",
    [
        ("5 6", "", "rank 1 has the arguments train run 1 6, but the first rank train run 1 5"),
        ("7 7", "if os.environ.get('ODD'): np.__version__ = '1.0'", "rank 1 has NumPy 1.0, but"),
    ],
)
def test_ranks_that_were_started_unlike_are_refused_before_the_first_step(
    launcher, words, added, message
):
    launcher.write(added)
    start = [sys.executable, "script.py", "train", "run", "1"]
    one, other = words.split()
    odd = ["env", "ODD=1", *start, other]
    process = launcher.popen([MPIEXEC, "-n", "1", *start, one, ":", "-n", "1", *odd])
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and message in err
    assert not (launcher.folder / "run").exists()


@with_mpi
def test_sampling_likelihood_and_a_judge_go_over_ranks(launcher):
    launcher.train(1, "run", steps=5)
    answers = []
    for ranks in (2, 1):
        launcher.train(ranks, "run", way="ask")
        with np.load(launcher.folder / "answers.npz") as found:
            answers.append(dict(found))
    for name, array in answers[0].items():
        np.testing.assert_allclose(array, answers[1][name], 1e-3, 1e-3, err_msg=name)


@pytest.mark.parametrize("flag", [[], ["--mpi"]])
def test_without_mpi4py_ranks_are_refused_in_a_sentence(launcher, flag):
    put(launcher.folder, {"mpi4py.py": b"raise ImportError('none here')"})
    more = {} if flag else {"SLURM_STEP_NUM_TASKS": "4"}
    more["PYTHONPATH"] = f"{launcher.folder}:{ROOT}"
    process = launcher.popen([sys.executable, ROOT / "examples/diagram.py", *flag], **more)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.startswith("error: MPI needs mpi4py (none here): type pip")


@with_mpi
def test_the_mpiexec_of_another_mpi_is_named_as_the_fault(launcher):
    """Each rank takes itself for the only one, and all would write into the same folder."""
    process = launcher.start(1, "train", "run", 1, 5, OMPI_COMM_WORLD_SIZE="2")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and "2 ranks, but mpi4py sees 1: use" in err
    assert not (launcher.folder / "run").exists()


def test_ranks_on_one_machine_share_its_cores(tmp_path, monkeypatch):
    """Unless each was given its own."""
    monkeypatch.setenv("MPI_LOCALNRANKS", "3")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for bound, count in ((8, 2), (4, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, n=bound: set(range(n)), False)
        assert cores(tmp_path) == count
