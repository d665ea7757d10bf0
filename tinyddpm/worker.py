"""One worker process: how it is started, asked and ended, and what it does.

A worker is a Python that imports this file and nothing of the main program, be that a script, a
notebook or a pipe. It reads questions from its standard input and writes answers to its standard
output. So both sides see it when the other one dies: nothing more can be read, or written.
"""

import io
import os
import pickle
import signal
import subprocess
import sys
import traceback
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from .shared import WINDOWS, as_vectors, open_memory

BEGIN = "import sys; sys.path[:] = {path!a}; from {module} import work; work()"
ONE_THREAD = dict.fromkeys(  # the cores are for the workers
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)

STOPS = {getattr(signal, name, signal.SIGINT) for name in ("SIGINT", "SIGTERM", "SIGHUP")}


class WorkerDied(Exception):
    """A worker process ended unasked; the message has its exit code."""


class Worker:
    """Worker number `i`, seen from its parent; `key` is that of the `shared_memory`.

    Raises     OSError if there can be no more processes
    """

    def __init__(self, i, key):
        self.i = i
        path = [*map(str, sys.path), str(Path(__file__).parents[1])]  # if the folder has changed
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", BEGIN.format(path=path, module=__name__)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **ONE_THREAD},
                pass_fds=[] if WINDOWS else [key],
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows' Ctrl-C
            )
        except OSError as error:
            raise OSError(f"worker {i} could not be started ({error}): use fewer workers") from None

    def send(self, packed):
        """Send a question, as bytes; WorkerDied if nobody reads it."""
        try:
            _send(self.process.stdin, packed)
        except OSError:
            raise self._death() from None

    def receive(self):
        """The next answer: (what came out, the error or None, where that happened); WorkerDied."""
        try:
            return pickle.load(self.process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise self._death() from None

    def _death(self):
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        code, hint = self.process.returncode, ""
        if code == -9:
            hint = "; memory was short: use fewer workers or smaller micro-batches"
        return WorkerDied(f"worker {self.i} died with exit code {code}{hint}")

    def dismiss(self):
        """Tell it that nothing more will be asked: it ends when it has nothing to do."""
        with suppress(OSError):
            self.process.stdin.close()

    def end(self, patience):
        """Wait some seconds until it has ended, then end it by force."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=patience)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def work():
    """The life of a worker: answer one question after the other until the parent is gone."""
    questions, answers = sys.stdin.buffer, open(1, "wb", closefd=False)
    sys.stdout = sys.stderr  # what a job prints must not get between the answers
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    np.setbufsize(1024)  # NumPy copies what is not in one piece and shorter than its buffer
    desk, in_step = _Desk(), True
    while in_step and questions.peek(1):  # here it waits; a parent that is gone sends nothing
        in_step = False
        try:
            method, *arguments = unpack(questions, desk.vectors)
            in_step = True  # else nobody knows where the next question begins
            answer = pack((getattr(desk, method)(*arguments), None, ""))
        except Exception as error:
            answer = pack((None, _portable(error), traceback.format_exc()))
        try:
            _send(answers, answer)
        except OSError:
            break
    os._exit(0)  # without a last word into a pipe that nobody reads


class _Desk:
    """What a worker has before it: its copy of the job, and the vectors that all can see."""

    vectors = ()

    def begin(self, job, key, n_bytes, size, dtype, i, count):
        self.job, self.share = job, slice(i, None, count)
        self.vectors = as_vectors(open_memory(key, n_bytes), size, dtype)
        self.grad = self.vectors[i - count]

    def gradient(self, theta, tasks):
        self.grad[:] = 0
        return [self.job.gradient(theta, self.grad, *task) for task in tasks]

    def call(self, method, theta, tasks):
        return [getattr(self.job, method)(theta, *task) for task in tasks]

    def do(self, function, *arguments):
        function(*arguments, self.share)


def pack(message, known=()):
    """A message as bytes; of what the reader has as well, its number in `known` is enough."""
    file, numbers = io.BytesIO(), {id(thing): number for number, thing in enumerate(known)}
    pickler = pickle.Pickler(file, pickle.HIGHEST_PROTOCOL)
    pickler.persistent_id = lambda thing: numbers.get(id(thing))
    pickler.dump(message)
    return file.getvalue()


def unpack(file, known=()):
    """The next message that `pack` made; `known` are the reader's own things."""
    unpickler = pickle.Unpickler(file)
    unpickler.persistent_load = known.__getitem__
    return unpickler.load()


def _send(pipe, packed):
    pipe.write(packed)
    pipe.flush()


def _portable(error):
    """The error, or one that says the same if it cannot be sent."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


@contextmanager
def ctrl_c_held_back():
    """Processes that start meanwhile never feel a signal to stop: this one does, and ends them.

    This process gets it afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
