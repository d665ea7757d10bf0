"""One batch over many cores: parts of a batch go to worker processes that share the weights.

Every worker adds to a gradient row of its own; the rows are summed in a fixed order, so a run gives
the same bytes each time for the same number of workers.
"""

import multiprocessing
import os
import signal
import traceback

import numpy as np


class Workers:
    """`count` processes that each hold a copy of `job` and call its methods on parts of a batch.

    job        an object that can be pickled. A method that is called through `run` takes
               (theta, grad, *part), may add to grad (P,), and returns something that can be pickled
    size       P, the length of theta and grad; `dtype` is theirs
    count      how many processes; with 1 the job runs in this one and BLAS keeps its own threads

    Use it as a context manager: leaving it ends the processes. They also end by themselves when
    this process dies, and the shared memory has no name that could be left behind.
    """

    def __init__(self, job, size, count=1, dtype=np.float32):
        self.job, self.count = job, count
        self.rows = np.zeros((1, size), dtype)
        self.processes, self.pipes = [], []
        if count > 1:
            self._start(size, dtype)

    def _start(self, size, dtype):
        context = multiprocessing.get_context("spawn")
        shared = context.RawArray("b", (1 + self.count) * size * np.dtype(dtype).itemsize)
        vectors = _vectors(shared, size, dtype)
        self.theta, self.rows = vectors[0], vectors[1:]
        with _one_blas_thread():
            for row in range(1, 1 + self.count):
                here, there = context.Pipe()
                arguments = (self.job, shared, size, dtype, row, there)
                process = context.Process(target=_work, args=arguments, daemon=True)
                process.start()
                there.close()
                self.processes.append(process)
                self.pipes.append(here)

    def run(self, method, theta, parts):
        """Call job.method(theta, grad, *part) for every part; returns (answers, grad).

        answers    in the order of `parts`; grad (P,) is the sum of what the calls added
        Raises     RuntimeError with the worker's own traceback if a call failed there, or with its
                   exit code if it died
        """
        if self.count == 1:
            self.rows[0] = 0
            answers = [getattr(self.job, method)(theta, self.rows[0], *part) for part in parts]
            return answers, self.rows[0]
        self.theta[:] = theta
        for i in range(self.count):
            self._ask(i, (method, parts[i :: self.count]))
        answers = [None] * len(parts)
        for i in range(self.count):
            answers[i :: self.count] = self._answer(i)
        return answers, self.rows.sum(axis=0)

    def _ask(self, i, message):
        try:
            self.pipes[i].send(message)
        except OSError:
            raise self._death(i) from None

    def _answer(self, i):
        try:
            answers, error = self.pipes[i].recv()
        except (EOFError, OSError):
            raise self._death(i) from None
        if error:
            raise RuntimeError(f"worker {i} failed:\n{error}")
        return answers

    def _death(self, i):
        self.processes[i].join(timeout=5)
        return RuntimeError(
            f"worker {i} died with exit code {self.processes[i].exitcode}; "
            "if that is -9, memory was short: use fewer workers or smaller parts"
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process, pipe in zip(self.processes, self.pipes):
            pipe.close()  # a worker that waits for work ends here
            process.join(timeout=0 if any(exception) else 5)
            process.kill()  # one that is lost in work, here
            process.join()


def _work(job, shared, size, dtype, row, pipe):
    """The life of a worker: take a method and parts, send the answers, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the workers
    vectors = _vectors(shared, size, dtype)
    theta, grad = vectors[0], vectors[row]
    while True:
        try:
            method, parts = pipe.recv()
        except EOFError:
            return
        grad[:] = 0
        try:
            message = [getattr(job, method)(theta, grad, *part) for part in parts], None
        except Exception:
            message = None, traceback.format_exc()
        try:
            pipe.send(message)
        except OSError:
            return


def _vectors(shared, size, dtype):
    """The shared bytes as theta, grad of worker 0, grad of worker 1, ...: (1 + count, P)"""
    return np.frombuffer(shared, dtype).reshape(-1, size)


class _one_blas_thread:
    """While it lasts, new processes start with one BLAS thread each: the cores are the workers'."""

    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

    def __enter__(self):
        self.before = {name: os.environ.get(name) for name in self.names}
        os.environ.update(dict.fromkeys(self.names, "1"))

    def __exit__(self, *exception):
        for name, value in self.before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def cores():
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
