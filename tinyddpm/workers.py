"""One batch over many cores: its micro-batches go to worker processes that share the weights.

Every worker adds to a gradient row of its own; the rows are summed in a fixed order, so a run gives
the same bytes each time for the same number of workers.
"""

import multiprocessing
import os
import signal
import traceback
from contextlib import contextmanager
from multiprocessing import resource_tracker

import numpy as np

from .device import array_module


class WorkerDied(Exception):
    """A worker process ended unasked; the message has its exit code."""


class Workers:
    """`count` processes that each hold a copy of `job` and call its methods on parts of a batch.

    A task is what one call gets besides the weights, a tuple: mostly a micro-batch.

    job        an object that can be pickled: job.gradient(theta, grad, *task) adds to
               grad (P,),
               its other methods are called as job.method(theta, *task)
    like       an array with the length, the precision and the device of every theta and grad (P,)
    count      how many processes; with 1 the job runs in this one and BLAS keeps its own threads,
               and so it does on a GPU whatever the count, which has cores enough of its own

    Raises     ValueError for a count below 1

    Use it as a context manager: leaving it ends the processes. They also end by themselves when
    this process dies, and the shared memory has no name that could be left behind.
    """

    def __init__(self, job, like, count=1):
        if count < 1:
            raise ValueError(f"{count} workers: use 1 or more")
        self.job, self.xp = job, array_module(like)
        self.count = count if self.xp is np else 1
        self.rows = self.xp.zeros((1, like.size), like.dtype)
        self.processes, self.pipes = [], []
        if self.count > 1:
            self._start(like.size, like.dtype)

    def _start(self, size, dtype):
        context = multiprocessing.get_context("spawn")
        shared = context.RawArray("b", (1 + self.count) * size * np.dtype(dtype).itemsize)
        vectors = _vectors(shared, size, dtype)
        self.theta, self.rows = vectors[0], vectors[1:]
        with _as_workers_start():
            for row in range(1, 1 + self.count):
                here, there = context.Pipe()
                arguments = (self.job, shared, size, dtype, row, there)
                process = context.Process(target=_work, args=arguments, daemon=True)
                process.start()
                there.close()
                self.processes.append(process)
                self.pipes.append(here)

    def gradient(self, theta, tasks):
        """job.gradient for every task; returns (answers, grad): in order, and summed up (P,).

        grad is memory of the workers: the caller may write to it, the next call does.
        Raises     as `map`
        """
        if self.count == 1:
            self.rows[0] = 0
            answers = [self.job.gradient(theta, self.rows[0], *task) for task in tasks]
        else:
            answers = self._scatter_gather("gradient", theta, tasks)
        grad = self.rows[0]
        for row in self.rows[1:]:
            grad += row
        return answers, grad

    def map(self, method, theta, tasks):
        """job.method(theta, *task) for every task; returns the answers in order.

        Raises     RuntimeError with the worker's own traceback if a call failed there; WorkerDied
        """
        if self.count == 1:
            return [getattr(self.job, method)(theta, *task) for task in tasks]
        return self._scatter_gather(method, theta, tasks)

    def map_batch(self, method, theta, size, *arrays):
        """job.method(theta, *arrays) (N, ...), in micro-batches of at most `size` images.

        arrays     (N, ...) each, or None, which stays None
        Raises     as `map`
        """
        slices = self.micro_batches(len(arrays[0]), size)
        tasks = [[a if a is None else a[cut] for a in arrays] for cut in slices]
        return self.xp.concatenate(self.map(method, theta, tasks))

    def micro_batches(self, n, size):
        """Slices of n images: at most `micro_batch_size` each, and at most a worker's share."""
        size = max(1, min(micro_batch_size(size, self.xp), -(-n // self.count)))
        return [slice(i, i + size) for i in range(0, n, size)]

    def _scatter_gather(self, method, theta, tasks):
        """Every count-th task to the same worker, so that a sum is always of the same tasks."""
        self.theta[:] = theta
        for i in range(self.count):
            self._pipe(i, lambda pipe, i=i: pipe.send((method, tasks[i :: self.count])))
        messages = [self._pipe(i, lambda pipe: pipe.recv()) for i in range(self.count)]
        answers = [None] * len(tasks)
        for i, (some, error) in enumerate(messages):
            if error:
                raise RuntimeError(f"worker {i} failed:\n{error}")
            answers[i :: self.count] = some
        return answers

    def _pipe(self, i, use):
        """use(pipe to worker i), or WorkerDied if nobody is at its other end."""
        try:
            return use(self.pipes[i])
        except (EOFError, OSError):
            self.processes[i].join(timeout=5)
            code = self.processes[i].exitcode
            hint = (
                "; memory was short: use fewer workers or smaller micro-batches"
                if code == -9
                else ""
            )
            raise WorkerDied(f"worker {i} died with exit code {code}{hint}") from None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process, pipe in zip(self.processes, self.pipes):
            pipe.close()  # a worker that waits for work ends here
            process.join(timeout=0 if any(exception) else 5)
            process.kill()  # one that is lost in work, here
            process.join()


def micro_batch_size(size, xp):
    """`size`, or if it is 0 how many images suit: 16 for a CPU's cache, 256 for a GPU's cores."""
    return size or (16 if xp is np else 256)


def _work(job, shared, size, dtype, row, pipe):
    """The life of a worker: take a method and tasks, send answers, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where `_as_workers_start` cannot hold it back
    np.setbufsize(1024)  # NumPy copies what is not in one piece and shorter than its buffer
    vectors = _vectors(shared, size, dtype)
    theta, grad = vectors[0], vectors[row]
    while True:
        try:
            method, tasks = pipe.recv()
            pipe.send(_answers(job, theta, grad, method, tasks))
        except (EOFError, OSError):  # the parent is gone
            return


def _answers(job, theta, grad, method, tasks):
    """(answers, None), or (None, traceback) if a call failed."""
    try:
        if method == "gradient":
            grad[:] = 0
            return [job.gradient(theta, grad, *task) for task in tasks], None
        return [getattr(job, method)(theta, *task) for task in tasks], None
    except Exception:
        return None, traceback.format_exc()


def _vectors(shared, size, dtype):
    """The shared bytes as theta, grad of worker 0, grad of worker 1, ...: (1 + count, P)"""
    return np.frombuffer(shared, dtype).reshape(-1, size)


@contextmanager
def _as_workers_start():
    """While it lasts, new processes inherit what suits a worker.

    One BLAS thread each, because the cores are the workers'. Ctrl-C is held back: it is for the
    parent, which gets it afterwards and ends the workers.
    """
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(names, "1"))
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # first, as it would let Ctrl-C through when it starts
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def cores():
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
