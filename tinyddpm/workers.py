"""One batch over many cores: its micro-batches go to worker processes that share the weights.

Every worker adds to a gradient row of its own; the rows are summed in a fixed order, so a run gives
the same bytes each time for the same number of workers.
"""

import pickle

import numpy as np

from .device import array_module
from .shared import as_vectors, shared_memory
from .worker import Worker, WorkerDied, ctrl_c_held_back, pack


class Workers:
    """`count` processes that each hold a copy of `job` and call its methods on parts of a batch.

    A task is what one call gets besides the weights, a tuple: mostly a micro-batch.

    job        an object that can be pickled: job.gradient(theta, grad, *task) adds to
               grad (P,),
               its other methods are called as job.method(theta, *task)
    like       an array with the length, the precision and the device of every theta and grad (P,)
    count      how many processes; with 1 the job runs in this one and BLAS keeps its own threads,
               and so it does on a GPU whatever the count, which has cores enough of its own

    Raises     ValueError for a count below 1, or a job that workers cannot load; OSError if there
               is no room for them; WorkerDied

    Use it as a context manager: leaving it ends the processes. They also end by themselves when
    this process dies, and the shared memory has no name that could be left behind.
    """

    def __init__(self, job, like, count=1):
        if count < 1:
            raise ValueError(f"{count} workers: use 1 or more")
        self.job, self.xp = job, array_module(like)
        self.count = count if self.xp is np else 1
        self.rows = self.xp.zeros((1, like.size), like.dtype)
        self.workers = []
        if self.count > 1:
            try:
                self._start(like.size, like.dtype)
            except BaseException:
                self._end(patience=0)
                raise

    def _start(self, size, dtype):
        n_bytes = (1 + self.count) * size * np.dtype(dtype).itemsize
        with shared_memory(n_bytes) as (memory, key), ctrl_c_held_back():
            for i in range(self.count):
                self.workers.append(Worker(i, key))
        vectors = as_vectors(memory, size, dtype)
        self.theta, self.rows = vectors[0], vectors[1:]
        rows = range(1, 1 + self.count)
        try:
            self._ask([("begin", self.job, key, n_bytes, size, dtype, row) for row in rows])
        except (AttributeError, ImportError, pickle.PicklingError) as error:
            raise ValueError(
                f"workers cannot load this job ({error}): all that it consists of must stand in "
                "modules that can be imported, not in the main program"
            ) from error

    def gradient(self, theta, tasks):
        """job.gradient for every task; returns (answers, grad): in order, and summed up (P,).

        The gradient is the workers' memory: you may write to it; the next call overwrites it.
        Raises     as `map`
        """
        if self.count == 1:
            self.rows[0] = 0
            answers = [self.job.gradient(theta, self.rows[0], *task) for task in tasks]
        else:
            answers = self._spread(theta, tasks, "gradient")
        grad = self.rows[0]
        for row in self.rows[1:]:
            grad += row
        return answers, grad

    def map(self, method, theta, tasks):
        """job.method(theta, *task) for every task; returns the answers in order.

        Raises     what a call raised, its traceback in the cause; WorkerDied
        """
        if self.count == 1:
            return [getattr(self.job, method)(theta, *task) for task in tasks]
        return self._spread(theta, tasks, "call", method)

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

    def _spread(self, theta, tasks, *question):
        """Every count-th task to the same worker, so that a sum is always of the same tasks."""
        if not self.workers:
            raise WorkerDied("these workers have ended: make new ones")
        self.theta[:] = theta
        answers, shares = (
            [None] * len(tasks),
            [slice(i, None, self.count) for i in range(self.count)],
        )
        for share, some in zip(shares, self._ask([(*question, tasks[share]) for share in shares])):
            answers[share] = some
        return answers

    def _ask(self, questions):
        """A question to each worker; returns their answers, or raises what one of them raised."""
        packed = [pack(question) for question in questions]
        try:
            for worker, question in zip(self.workers, packed):
                worker.send(question)
            replies = [worker.receive() for worker in self.workers]
        except BaseException:  # answers may be on their way that nobody must take for later ones
            self._end(patience=0)
            raise
        for i, (_, error, where) in enumerate(replies):
            if error:
                raise error from RuntimeError(f"in worker {i}:\n{where}")
        return [answer for answer, _, _ in replies]

    def _end(self, patience):
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.dismiss()
        for worker in workers:
            worker.end(patience)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._end(patience=0 if any(exception) else 5)


def micro_batch_size(size, xp):
    """`size`, or if it is 0 how many images suit: 16 for a CPU's cache, 256 for a GPU's cores."""
    return size or (16 if xp is np else 256)
