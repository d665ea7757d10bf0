"""Workers do what one process does, say what went wrong, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from tinyddpm.workers import WorkerDied, Workers

THETA = np.arange(5, dtype=np.float32)


class Job:
    """Picklable work with a gradient that depends on the part."""

    def gradient(self, theta, grad, number):
        grad += number * theta
        return number, float(theta.sum()), grad.flags.writeable

    def fail(self, theta, number):
        if number == 1:
            raise ZeroDivisionError("worker's own words")
        return number

    def die(self, theta):
        os._exit(7)

    def threads(self, theta):
        return os.environ["OPENBLAS_NUM_THREADS"], os.getpid()


@pytest.fixture(scope="module")
def workers():
    with Workers(Job(), np.zeros(5, np.float32), count=2) as workers:
        yield workers


def test_answers_come_in_order_and_gradients_are_summed(workers):
    with Workers(Job(), np.zeros(5, np.float32), count=1) as alone:
        for parts in ([(1,), (2,), (3,), (4,), (5,)], [(7,)]):
            for some in (workers, alone):
                answers, grad = some.gradient(THETA, parts)
                assert [number for number, _, _ in answers] == [number for (number,) in parts]
                assert all(total == 10 for _, total, _ in answers)
                assert np.array_equal(grad, sum(number for (number,) in parts) * THETA)


def test_workers_are_two_processes_with_one_blas_thread_each(workers):
    answers = workers.map("threads", THETA, [(), ()])
    assert {threads for threads, _ in answers} == {"1"}
    assert len({os.getpid(), *(pid for _, pid in answers)}) == 3


@pytest.mark.parametrize(
    "n, size, lengths", [(9, 2, [2] * 4 + [1]), (9, 16, [5, 4]), (1, 4, [1]), (0, 4, [])]
)
def test_images_are_cut_into_parts_for_all_workers(workers, n, size, lengths):
    cuts = workers.micro_batches(n, size)
    assert [len(range(n)[cut]) for cut in cuts] == lengths
    assert [i for cut in cuts for i in range(n)[cut]] == list(range(n))


@pytest.mark.parametrize("parts", [[(0,), (1,)], [(1,), (0,)]])
def test_an_exception_comes_back_with_its_traceback_and_the_workers_live_on(workers, parts):
    said = f"(?s)worker {parts.index((1,))} failed.*in fail.*worker's own words"
    with pytest.raises(RuntimeError, match=said):
        workers.map("fail", THETA, parts)
    assert workers.map("fail", THETA, [(5,), (6,), (7,)]) == [5, 6, 7]  # no stale answers


def test_a_part_without_a_worker_to_share_with_leaves_no_old_gradient(workers):
    workers.gradient(THETA, [(1,), (2,)])
    _, grad = workers.gradient(THETA, [(3,)])
    assert np.array_equal(grad, 3 * THETA)


def test_a_worker_that_dies_is_reported_with_its_exit_code():
    with Workers(Job(), np.zeros(5, np.float32), count=2) as workers:
        with pytest.raises(WorkerDied, match="worker 0 died with exit code 7"):
            workers.map("die", THETA, [()])
        processes = workers.processes
    assert not any(process.is_alive() for process in processes)


PARENT = """
    import numpy as np, sys, time
    sys.path.insert(0, {tests!r})
    from test_workers import Job
    from tinyddpm.workers import Workers

    if __name__ == "__main__":
        with Workers(Job(), np.zeros(5, np.float32), count=2) as workers:
            answers = workers.map("threads", np.zeros(5, np.float32), [(), ()])
            print(*(pid for _, pid in answers), flush=True)
            time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(tmp_path, number):
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT.format(tests=os.path.dirname(__file__))))
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    parent.send_signal(number)
    parent.wait(timeout=20)
    parent.stdout.close()
    assert len(pids) == 2
    for _ in range(200):
        if not any(_lives(pid) for pid in pids):
            return
        time.sleep(0.05)
    raise AssertionError(f"workers {pids} still run")


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # a process that ended but that nobody has asked for yet
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return os.path.exists("/proc") is False
