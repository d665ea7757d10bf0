"""What several test files need."""

import functools
import http.server
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tinyddpm import Layout


def pytest_configure(config):
    config.cuda_visible_devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `pytest &` in a script ignores it


def processes_with(mark):
    """The processes, on Linux, that have these bytes in their environment, as a list of numbers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.fixture(autouse=True)
def on_the_cpu(request, monkeypatch):
    """Tests compute on the CPU unless they ask for a GPU, so that they do the same everywhere."""
    if not {"xp", "a_gpu", "cupy"} & set(request.fixturenames):
        monkeypatch.setitem(sys.modules, "cupy", None)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for the processes that they start


@pytest.fixture
def hangup():
    """SIGHUP is not ignored, as it is under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def rng():
    return np.random.default_rng(2020)


@pytest.fixture
def layout():
    return Layout()


@pytest.fixture(params=["fsync", "replace"])
def full_disk(request, monkeypatch):
    """No file can be written to its end: it fails before it is on the disk, or under its name."""

    def fail(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, request.param, fail)


def random_theta(layout, rng, dtype=np.float64):
    """Weights that are nowhere zero, so that silent layers matter; nobody may write to them."""
    theta = (layout.init(rng, np.float64) + 0.2 * rng.standard_normal(layout.size)).astype(dtype)
    theta.flags.writeable = False
    return theta


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.fixture
def serve(tmp_path):
    """Starts a web server for {name: bytes} on this machine; gives its address."""
    servers = []

    def start(files):
        folder = tmp_path / f"server{len(servers)}"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

        handler = functools.partial(Quiet, directory=folder)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def old_checkpoint(path, arrays, meta):
    """A checkpoint as versions wrote it before there was safetensors; returns its path."""
    facts = {"format": 2, "arrays": list(arrays), "meta": meta}
    text = np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8)
    np.savez(path, facts=text, **arrays)
    return path


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def at_once(count, work):
    """What `count` calls of `work` give that begin at the same time."""
    results, gate = [], threading.Barrier(count)

    def call():
        gate.wait()
        results.append(work())

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count
    return results
