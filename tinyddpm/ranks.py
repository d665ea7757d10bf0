"""Several machines: under MPI the first rank runs the program, and the others work for it.

A function that is `together` runs on every rank when the first one calls it. What it is called with
is sent to the others; of what they keep a copy (see `keep`), only a number is sent. So the first
rank alone decides, reads, prints and writes, and in training little more than sums goes about.

The only file that says `mpi4py`; it is imported under mpiexec or srun with more than one rank.
"""

import atexit
import functools
import hashlib
import io
import os
import platform
import signal
import sys
import time
from pathlib import Path

import numpy as np

from .worker import STOPS, pack, unpack

SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")  # what launchers say


class _Team:
    """All ranks, seen from this one; alone until `connect` has found the others."""

    def __init__(self):
        self.rank, self.count = 0, 1
        self.together = False  # whether all ranks are in the same call now
        self.kept = [np]  # of what every rank has a copy; a module cannot be sent

    def connect(self, wanted):
        """Meet the others, who must be `wanted` in all, unless that is None."""
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:  # it is not there, or MPI itself is not
            raise ValueError(f"MPI needs mpi4py ({error}): type pip install -e '.[mpi]'") from None
        self.mpi, self.comm = MPI, MPI.COMM_WORLD
        self.rank, self.count = self.comm.rank, self.comm.size
        if wanted not in (None, self.count):
            raise ValueError(f"{wanted} ranks, but mpi4py sees {self.count}: use its MPI's mpiexec")

    def meet(self):
        """Wait until every rank is here, and leave the cores to who still computes."""
        request = self.comm.Ibarrier()
        while not request.Test():
            time.sleep(1e-4)

    def tell(self, order):
        """From the first rank to the others: (function, arguments), or None when all is done."""
        packed = pack(order, self.kept)
        self.meet()
        self.comm.bcast(packed)

    def serve(self):
        """The life of another rank: do what the first one tells it until all is done."""
        for number in STOPS:  # are for the first rank, which saves
            signal.signal(number, signal.SIG_IGN)
        self.together = True
        while True:
            self.meet()
            if not (order := unpack(io.BytesIO(self.comm.bcast(None)), self.kept)):
                return
            function, arguments = order
            function(*arguments)


_team = _Team()


def over_ranks(main, always=False):
    """Call main(): under mpiexec or srun on the first rank alone, while the others work for it.

    always     ask MPI even if no launcher that is known here has started this program
    Raises     ValueError if mpi4py is not there, or the ranks' arguments or versions differ. Where
               anything is raised while others wait, MPI ends them when this process ends
    """
    wanted = next((int(os.environ[name]) for name in SIZES if name in os.environ), 1)
    if wanted == 1 and not always:
        return main()
    _team.connect(wanted if wanted > 1 else None)
    try:
        different = difference(_facts())
        if _team.rank:
            return _team.serve()
        if different:
            raise ValueError(f"{different}: start all of them alike")
        main()
    except BaseException as error:
        if _team.rank or _team.together:
            code = getattr(error, "code", 130 if isinstance(error, KeyboardInterrupt) else 1)
            code = code if isinstance(code, int) else 1  # or a message, which comes before the end
            atexit.register(_team.comm.Abort, code)
            atexit.register(time.sleep, 0.5)  # before it: launchers lose what was said last
        raise
    finally:
        if not _team.together:
            _team.tell(None)


def which_rank():
    """(rank, count): which of how many ranks this is; (0, 1) without MPI."""
    return _team.rank, _team.count


def together(function):
    """`function`, which runs on all ranks at once when the first rank calls it."""

    @functools.wraps(function)
    def call(*arguments):
        if _team.together or _team.count == 1:
            return function(*arguments)
        _team.together = True
        _team.tell((call, arguments))
        result = function(*arguments)
        _team.together = False  # not if something was raised: others may wait for this rank
        return result

    return call


@together
def keep(*things):
    """Have a copy of these things on every rank, which stands for them in calls from now on."""
    _team.kept.extend(things)


@together
def forget(thing):
    """Let go of it on every rank, and of all that was kept after it."""
    for i, kept in enumerate(_team.kept):
        if kept is thing:
            del _team.kept[i:]
            break


def share(tasks):
    """Those of the tasks that are this rank's: every count-th."""
    return tasks[_team.rank :: _team.count]


def merge(answers):
    """All ranks' answers, in the order of the tasks of which each did its `share`; a list."""
    if _team.count == 1:
        return answers
    _team.meet()
    return interleave(_team.comm.allgather(answers))


def interleave(shares):
    """A list with one of each share (a list) in turn: the opposite of tasks[i::count]."""
    merged = [None] * sum(map(len, shares))
    for i, some in enumerate(shares):
        merged[i :: len(shares)] = some
    return merged


def add(grad):
    """`grad` (P,), which becomes the sum of all ranks' grad, the same bits everywhere."""
    if _team.count > 1:
        _team.comm.Allreduce(_team.mpi.IN_PLACE, grad)
    return grad


def difference(facts):
    """What a rank has other than the first one, of facts {name: value}: a sentence, or nothing."""
    first, *others = merge([facts])
    for rank, theirs in enumerate(others, 1):
        for name, value in theirs.items():
            if value != first[name]:
                return f"rank {rank} has {name} {value}, but the first rank {first[name]}"


def _facts():
    """What must be alike on all ranks; the data and the settings come from the first one."""
    source = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    return {
        "the arguments": " ".join(sys.argv[1:]) or "none",
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "a tinyddpm with the digest": hashlib.sha256(source).hexdigest()[:8],
    }
