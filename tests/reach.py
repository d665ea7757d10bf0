"""Which tests enter which functions of the package? A plugin of pytest that mutate.py starts.

    REACH=reach.json python -m pytest -p reach      with tests/ in PYTHONPATH

It writes {test: [seconds, functions]}, a function as nn/conv.py:12, by the line that it begins in.
What a fixture enters once for many tests counts for every test of its file, as does the time that
it takes and what runs while it is imported. A test that starts a process has "*", as nobody looks
into the process. Tests that fail are left out.
"""

import inspect
import json
import os
import sys
import threading
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import pytest

PACKAGE = str(Path(__file__).resolve().parent.parent / "tinyddpm") + os.sep
PROCESSES = {"subprocess.Popen", "os.fork", "os.posix_spawn"}

known = {}
entered = defaultdict(set)  # by a test, a file of tests, or "" for what is nobody's
files, failed, working = {}, set(), [""]
seconds = defaultdict(float)  # of a test, and the longest that a test of a file prepares itself


def enter(frame, event, argument):
    """Python calls this whenever a function begins."""
    code = frame.f_code
    if id(code) not in known:  # kept with its name, so that no other gets its id
        known[id(code)] = code, name_of(code)
    if name := known[id(code)][1]:
        entered[working[-1]].add(name)


def name_of(code):
    """What is written for a function; None for classes, modules and what is not the package's."""
    if code.co_filename.startswith(PACKAGE) and code.co_flags & inspect.CO_OPTIMIZED:
        file = code.co_filename[len(PACKAGE) :].replace(os.sep, "/")
        return f"{file}:{code.co_firstlineno}"


def dare(event, arguments):
    """Python calls this before anything that can be dangerous."""
    if event in (PROCESSES or ()):  # which is None when Python ends
        entered[working[-1]].add("*")


sys.addaudithook(dare)
sys.settrace(enter)
threading.settrace(enter)


@contextmanager
def working_for(name):
    working.append(name)
    try:
        yield
    finally:
        working.pop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Each test begins with empty caches, as if it were the only one."""
    for module in [module for name, module in sys.modules.items() if name.startswith("tinyddpm")]:
        for value in vars(module).values():
            getattr(value, "cache_clear", int)()
    sys.settrace(enter)  # a test may have ended it
    files[item.nodeid] = str(item.path)
    with working_for(item.nodeid):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    with working_for(str(collector.path) if isinstance(collector, pytest.Module) else ""):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    now = working[-1]
    with working_for(now if fixturedef.scope == "function" else files.get(now, now)):
        return (yield)


def pytest_runtest_logreport(report):
    if report.failed:
        failed.add(report.nodeid)
    if report.when == "call":
        seconds[report.nodeid] = report.duration
    file = files[report.nodeid]
    seconds[file] = max(seconds[file], report.duration * (report.when == "setup"))


def pytest_sessionfinish():
    sys.settrace(None)
    threading.settrace(None)
    tests = {
        test: [
            round(seconds[test] + seconds[file], 3),
            sorted(entered[test] | entered[file] | entered[""]),
        ]
        for test, file in files.items()
        if test not in failed
    }
    Path(os.environ["REACH"]).write_text(json.dumps(tests), encoding="utf-8")
