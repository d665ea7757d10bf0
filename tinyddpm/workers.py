"""One batch over many cores: its micro-batches go to worker processes that share the weights.

Every worker adds to a gradient row of its own; the rows are summed in a fixed order, so a run gives
the same bytes each time for the same number of workers. Then each does its share of the update.
Under MPI every rank has workers, and their sums are summed over the ranks.
"""

import pickle

import numpy as np

from . import ranks
from .device import array_module, cache_chunks
from .shared import as_vectors, shared_memory
from .worker import Worker, WorkerDied, ctrl_c_held_back, pack


class Workers:
    """`count` processes that each hold a copy of `job` and call its methods on parts of a batch.

    A task is what one call gets besides the weights, a tuple: mostly a micro-batch. The attribute
    `vectors` has theta and the others where all processes see them: take those from now on. Any
    other theta is sent to every worker in each call, which takes a while.

    job        an object that can be pickled: job.gradient(theta, grad, *task) adds to
               grad (P,),
               its other methods are called as job.method(theta, *task)
    theta      the weights (P,), or an array like them
    others     more vectors like theta, for `update`
    count      how many processes; with 1 the job runs in this one and BLAS keeps its own threads,
               and so it does on a GPU whatever the count, which has cores enough of its own. Under
               MPI every rank has so many, and the attribute `count` says how many that are in all

    Raises     ValueError for a count below 1, a job that workers cannot load, or several ranks on
               GPUs; OSError if there is no room for them; WorkerDied

    Use it as a context manager: leaving it ends the processes. They also end by themselves when
    this process dies, and the shared memory has no name that could be left behind.
    """

    def __init__(self, job, theta, count=1, others=()):
        if count < 1:
            raise ValueError(f"{count} workers: use 1 or more")
        self.job, self.xp, (_, rank_count) = job, array_module(theta), ranks.which_rank()
        if rank_count > 1 and self.xp is not np:
            raise ValueError("several ranks compute on CPUs only: use --device cpu, or one rank")
        self.here = count if self.xp is np else 1
        self.count = self.here * rank_count
        self.vectors, self.workers = [theta, *others], []
        self.rows = [self.xp.zeros(theta.shape, theta.dtype)]
        if self.here > 1:
            try:
                self._start(theta.size, theta.dtype)
            except BaseException:
                self._end(patience=0)
                raise

    def _start(self, size, dtype):
        n_bytes = (len(self.vectors) + self.here) * size * np.dtype(dtype).itemsize
        with shared_memory(n_bytes) as (memory, key), ctrl_c_held_back():
            for i in range(self.here):
                self.workers.append(Worker(i, key))
        self.shared = as_vectors(memory, size, dtype)
        for vector, place in zip(self.vectors, self.shared):
            place[:] = vector
        self.vectors, self.rows = self.shared[: -self.here], self.shared[-self.here :]
        try:
            begin = "begin", self.job, key, n_bytes, size, dtype
            self._ask([(*begin, i, self.here) for i in range(self.here)])
        except (AttributeError, ImportError, pickle.PicklingError) as error:
            raise ValueError(
                f"workers cannot load this job ({error}): all that it consists of must stand in "
                "modules that can be imported, not in the main program"
            ) from error

    @ranks.together
    def gradient(self, theta, tasks):
        """job.gradient for every task; returns (answers, grad): in order, and summed up (P,).

        The gradient is the workers' memory: you may write to it; the next call overwrites it.
        Raises     as `map`
        """
        if self.here == 1:
            self.rows[0][:] = 0
            answers = [self.job.gradient(theta, self.rows[0], *task) for task in ranks.share(tasks)]
        else:
            answers = self._spread(theta, ranks.share(tasks), "gradient")
            self.update(_sum_up, self.rows)
        return ranks.merge(answers), ranks.add(self.rows[0])

    def update(self, function, *arguments):
        """function(*arguments, share) by every worker: together they change vectors in place.

        function   what has parts, and leaves out those that are not in `share`, a slice of them; or
                   a method: of its object each worker has a copy, and this process calls it without
                   any parts
        arguments  numbers, `vectors` and the gradient
        Raises     as `map`, and then some parts may be done; ValueError for other arrays
        """
        if self.here == 1:
            return function(*arguments)
        shared = set(map(id, self.shared))
        if any(isinstance(a, np.ndarray) and id(a) not in shared for a in arguments):
            raise ValueError("vectors of this process alone: take those in `vectors`")
        self._ask([("do", function, *arguments)] * self.here)
        function(*arguments, slice(0))

    @ranks.together
    def map(self, method, theta, tasks):
        """job.method(theta, *task) for every task; returns the answers in order.

        Raises     what a call raised, its traceback in the cause; WorkerDied
        """
        tasks = ranks.share(tasks)
        if self.here == 1:
            return ranks.merge([getattr(self.job, method)(theta, *task) for task in tasks])
        return ranks.merge(self._spread(theta, tasks, "call", method))

    @ranks.together
    def keep(self):
        """`vectors`; under MPI every rank has its own from now on: change them on all ranks."""
        ranks.keep(*self.vectors)
        return self.vectors

    def map_batch(self, method, theta, size, *arrays):
        """job.method(theta, *arrays) (N, ...), in micro-batches of at most `size` images.

        arrays     images (N, H, W, C), and more (N, ...) or None, which stays None
        Raises     as `map`
        """
        slices = self.micro_batches(len(arrays[0]), arrays[0].shape[1:], size)
        tasks = [[a if a is None else a[cut] for a in arrays] for cut in slices]
        return self.xp.concatenate(self.map(method, theta, tasks))

    def micro_batches(self, n, shape, size):
        """Slices of n images: at most `micro_batch_size` each, and at most a worker's share."""
        size = max(1, min(micro_batch_size(shape, size, self.xp), -(-n // self.count)))
        return [slice(i, i + size) for i in range(0, n, size)]

    def _spread(self, theta, tasks, *question):
        """Every `here`-th task to the same worker, so that a sum is always of the same tasks."""
        shares = [tasks[i :: self.here] for i in range(self.here)]
        return ranks.interleave(self._ask([(*question, theta, share) for share in shares]))

    def _ask(self, questions):
        """A question to each worker; returns their answers, or raises what one of them raised."""
        if not self.workers:
            raise WorkerDied("these workers have ended: make new ones")
        packed = [pack(question, self.shared) for question in questions]
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

    @ranks.together
    def close(self, patience):
        """End the processes on all ranks, by force after some seconds."""
        ranks.forget(self)
        self._end(patience)

    def __reduce__(self):
        """What another rank gets: the same with processes of its own."""
        return Workers, (self.job, self.vectors[0], self.here, self.vectors[1:])

    def __enter__(self):
        ranks.keep(self)
        return self

    def __exit__(self, *exception):
        self.close(0 if any(exception) else 5)


def _sum_up(rows, share=slice(None)):
    """Of gradient rows, the first becomes the sum of all."""
    for chunk in cache_chunks(rows[0])[share]:
        for row in rows[1:]:
            rows[0][chunk] += row[chunk]


def micro_batch_size(shape, size, xp):
    """`size`, or if it is 0 how many images of a shape (H, W, C) suit, a power of two.

    Of 32 × 32 pixels that is 16 for a CPU's cache, 256 for a GPU's cores; else as many pixels.
    """
    suit = (16 if xp is np else 256) * 32 * 32 // (shape[0] * shape[1])
    return size or 1 << max(0, suit.bit_length() - 1)
