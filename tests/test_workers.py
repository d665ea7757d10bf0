"""Workers do what one process does, say what went wrong, and leave nothing behind."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

import numpy as np
import pytest
from conftest import put

from tinyddpm import WorkerDied, Workers, cores
from tinyddpm.worker import Worker

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

    def read(self, theta, number):
        return theta.tolist()

    def threads(self, theta):
        return os.environ["OPENBLAS_NUM_THREADS"], os.getpid()

    def speak(self, theta):
        print("said by a worker")

    def take(self, theta, number):
        return np.ones(1 << number, np.uint8).sum()

    def odd(self, theta):
        class Odd(Exception):
            pass

        raise Odd("nobody else knows me")


class Heavy(Job):
    """A job larger than a pipe's buffer, that ends the process that loads it."""

    def __init__(self):
        self.ballast = bytes(1 << 20)

    def __setstate__(self, state):
        os._exit(3)


@pytest.fixture(scope="module")
def workers():
    with Workers(Job(), np.zeros(5, np.float32), count=2) as workers:
        yield workers


def test_processes_end_with_the_work():
    with Workers(Job(), np.zeros(5, np.float32), count=2) as workers:
        processes = [worker.process for worker in workers.workers]
        assert [process.poll() for process in processes] == [None, None]
    assert None not in [process.poll() for process in processes]


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
    "n, side, size, lengths",
    [
        (9, 28, 2, [2] * 4 + [1]), (9, 28, 16, [5, 4]), (1, 28, 4, [1]), (0, 28, 4, []),
        (33, 28, 0, [16, 16, 1]), (33, 32, 0, [16, 16, 1]), (130, 16, 0, [64, 64, 2]),
        (9, 64, 0, [4, 4, 1]), (3, 96, 0, [1, 1, 1]), (3, 200, 0, [1, 1, 1]), (9, 64, 5, [5, 4]),
    ],
)  # fmt: skip
def test_images_are_cut_into_parts_for_all_workers(workers, n, side, size, lengths):
    cuts = workers.micro_batches(n, (side, side, 3), size)
    assert [len(range(n)[cut]) for cut in cuts] == lengths
    assert [i for cut in cuts for i in range(n)[cut]] == list(range(n))


@pytest.mark.parametrize("parts", [[(0,), (1,)], [(1,), (0,)]])
def test_an_error_arrives_as_what_it_is_with_its_traceback_and_the_workers_live_on(workers, parts):
    with pytest.raises(ZeroDivisionError, match="^worker's own words$") as error:
        workers.map("fail", THETA, parts)
    where = f"(?s)in worker {parts.index((1,))}:.*in fail.*worker's own words"
    assert re.search(where, str(error.value.__cause__))
    assert workers.map("fail", THETA, [(5,), (6,), (7,)]) == [5, 6, 7]  # no stale answers


@pytest.mark.parametrize(
    "method, tasks, kind, words",
    [
        ("take", [(62,), (3,)], MemoryError, "Unable to allocate"),
        ("odd", [()], RuntimeError, "^Odd: nobody else knows me$"),
    ],
)
def test_memory_that_is_short_is_a_memory_error_and_what_cannot_be_sent_is_told(
    workers, method, tasks, kind, words
):
    with pytest.raises(kind, match=words):
        workers.map(method, THETA, tasks)


def test_what_a_job_prints_is_no_answer(workers):
    assert workers.map("speak", THETA, [(), ()]) == [None, None]


def test_a_part_without_a_worker_to_share_with_leaves_no_old_gradient(workers):
    workers.gradient(THETA, [(1,), (2,)])
    _, grad = workers.gradient(THETA, [(3,)])
    assert np.array_equal(grad, 3 * THETA)


def add_in_parts(vector, amount, share=slice(None)):
    """Whoever does a part says so: the parts are numbers, and what is added is who adds it."""
    vector[share] += amount * (1 + (share.start or 0))


class Counter:
    """Counts its calls, and changes vectors of which it has two."""

    def __init__(self, theta, m):
        self.theta, self.m, self.calls = theta, m, 0

    def step(self, share=slice(None)):
        self.calls += 1
        self.theta[share] += self.calls
        self.m[share] -= self.calls


def fall(vector, how, share=slice(None)):
    if share == slice(1, None, 2):
        os._exit(7) if how == "die" else 1 / 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_workers_share_vectors_and_together_change_all_of_them_once(count):
    others = [THETA + 10, THETA + 20]
    with Workers(Job(), THETA.copy(), count, others) as workers:
        theta, m, v = workers.vectors
        assert [vector[0] for vector in (theta, m, v)] == [0, 10, 20]
        counter = Counter(theta, m)
        for calls in (1, 2):
            workers.update(counter.step)
            assert counter.calls == calls
        assert np.array_equal(theta, THETA + 3) and np.array_equal(m, THETA + 7)
        workers.update(add_in_parts, v, 100)
        assert (v - THETA - 20).tolist() == [100 * (1 + i % count) for i in range(5)]
        assert workers.map("read", m, [(0,)] * 3) == [m.tolist()] * 3
    assert (v[:count] >= 120).all(), "they outlive the workers"


def test_weights_that_workers_do_not_share_are_sent_and_overwrite_none(workers):
    own = THETA + 5
    assert workers.map("read", own, [(0,), (1,)]) == [own.tolist()] * 2
    assert not workers.vectors[0].any()
    with pytest.raises(ValueError, match="vectors of this process alone: take those in `vectors`"):
        workers.update(add_in_parts, own, 1)


def test_an_error_in_an_update_arrives_with_its_traceback(workers):
    with pytest.raises(ZeroDivisionError) as error:
        workers.update(fall, workers.vectors[0], "raise")
    assert re.search("(?s)in worker 1:.*in fall", str(error.value.__cause__))
    assert workers.map("fail", THETA, [(5,), (6,)]) == [5, 6]


def test_a_worker_that_dies_in_an_update_is_reported_and_all_have_ended():
    with Workers(Job(), THETA.copy(), count=2) as workers:
        with pytest.raises(WorkerDied, match="worker 1 died with exit code 7"):
            workers.update(fall, workers.vectors[0], "die")
        with pytest.raises(WorkerDied, match="these workers have ended"):
            workers.update(fall, workers.vectors[0], "no more")


def test_gradients_longer_than_a_chunk_are_summed_in_the_order_of_the_workers():
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(100_000, np.float32)
    with Workers(Job(), theta, count=3) as workers:
        numbers = [1.1, 2.3, 3.7]
        _, grad = workers.gradient(theta, [(np.float32(number),) for number in numbers])
        one, two, three = (np.float32(number) * theta for number in numbers)
        assert np.array_equal(grad, (one + two) + three)
        assert not np.array_equal(grad, one + (two + three))


def test_a_worker_that_dies_is_reported_with_its_exit_code():
    with Workers(Job(), np.zeros(5, np.float32), count=2) as workers:
        crew = workers.workers
        with pytest.raises(WorkerDied, match="worker 0 died with exit code 7"):
            workers.map("die", THETA, [()])
    assert all(worker.process.returncode is not None for worker in crew)


def test_a_worker_that_dies_while_it_starts_is_reported():
    """And nobody waits for it for ever: python/cpython#118981."""
    with pytest.raises(WorkerDied, match="worker 0 died with exit code 3"):
        Workers(Heavy(), THETA, count=2)


def test_a_job_of_the_main_program_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(Job, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Job", Job, raising=False)
    with pytest.raises(ValueError, match="cannot load this job .*not in the main program"):
        Workers(Job(), THETA, count=2)


def test_an_answer_to_an_interrupted_question_is_not_given_to_the_next(monkeypatch):
    def press_ctrl_c(worker):
        raise KeyboardInterrupt

    with Workers(Job(), THETA, count=2) as workers:
        with monkeypatch.context() as patch:
            patch.setattr(Worker, "receive", press_ctrl_c)
            with pytest.raises(KeyboardInterrupt):
                workers.map("fail", THETA, [(5,), (6,)])
        with pytest.raises(WorkerDied, match="these workers have ended"):
            workers.map("fail", THETA, [(7,), (8,)])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_memory_that_has_no_room_is_refused_with_its_size(monkeypatch):
    """As where /dev/shm and the temporary folder are small, and nothing else is there.

    Elsewhere that is death by SIGBUS: pytorch/pytorch#5040.
    """
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "r+b", buffering=0))
    with pytest.raises(OSError, match=r"no room for the 12\.0 MB .*No space left.*--workers 1"):
        Workers(Job(), np.zeros(1_000_000, np.float32), count=2)


def test_shared_memory_can_be_a_file_on_the_disk(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with Workers(Job(), np.zeros(5, np.float32), count=2) as workers:
        _, grad = workers.gradient(THETA, [(1,), (2,)])
        assert np.array_equal(grad, 3 * THETA)


@pytest.mark.parametrize(
    "groups, files, count",
    [
        ("0::/", {"cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "1000 100000"}, 1),
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("4:cpuset:/\n3:cpu,cpuacct:/docker/x", {
            "cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "50000",
        }, 4),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("3:memory:/", {"cpu.max": "100000 100000"}, 8),
        ("", {}, 8),
    ],
)  # fmt: skip
def test_cores_are_as_many_as_a_container_may_use(tmp_path, monkeypatch, groups, files, count):
    """A host has 32 cores, and a container there may use two of them: python/cpython#80235."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    put(tmp_path / "proc/self", {"cgroup": groups.encode()})
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        put(path.parent, {path.name: content.encode() + b"\n"})
    assert cores(tmp_path) == count
    assert cores(tmp_path / "no Linux") == 8
    monkeypatch.delattr(os, "sched_getaffinity")  # as on a Mac, where some say nothing at all
    for known, count in ((5, 5), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda known=known: known)
        assert cores(tmp_path / "no Linux") == count


SCRIPT = """
import sys
import numpy as np
from tinyddpm import Dataset, Run, TrainConfig, UNetConfig, train

unet = UNetConfig(image_size=8, base=4, multipliers=(1,), attention_at=(), groups=2)
config = TrainConfig(steps=2, batch=4, every=4, T=25, workers=2)
images = Dataset("grey", np.zeros((9, 8, 8, 1), np.uint8), np.zeros(9, int))
run = Run.start(unet, config, images, "run")
train(run)
print("trained", run.step)
"""


@pytest.mark.parametrize("way", ["a script", "standard input", "an argument", "the prompt"])
def test_training_needs_no_main_guard_nor_a_main_program(tmp_path, way):
    """Other programs hang: python/cpython#118981."""
    put(tmp_path, {"script.py": SCRIPT.encode()})
    how = {"a script": ["script.py"], "standard input": ["-"], "an argument": ["-c", SCRIPT]}
    command = [sys.executable, *how.get(way, ["-i"])]
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}
    told = None if way in ("a script", "an argument") else SCRIPT
    done = subprocess.run(
        command, input=told, cwd=tmp_path, env=environment, text=True, capture_output=True,
        timeout=120,
    )  # fmt: skip
    assert "trained 2" in done.stdout and "Error" not in done.stderr


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
