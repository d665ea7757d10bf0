"""Memory that several processes see, and that leaves nothing behind when they end or are killed."""

import ctypes
import mmap
import os
import secrets
import tempfile
from contextlib import contextmanager, suppress

import numpy as np

WINDOWS = os.name == "nt"


@contextmanager
def shared_memory(n_bytes):
    """Zeros, and the key by which processes that are started meanwhile open them.

    The key is an open file without a name; on Windows it is a name that goes with the last process.
    Raises     OSError unless there is room for all of it
    """
    try:
        key = secrets.token_hex() if WINDOWS else _nameless_file(n_bytes)
        memory = open_memory(key, n_bytes)
    except OSError as error:
        raise OSError(
            f"no room for the {n_bytes / 1e6:,.1f} MB that workers share ({error}): use fewer, or "
            "--workers 1"
        ) from None
    try:
        yield memory, key
    finally:
        if not WINDOWS:
            os.close(key)


def _nameless_file(n_bytes):
    """A file of zeros, in memory if that can be, where the size of /dev/shm does not matter."""
    import fcntl  # is not on Windows

    try:
        file = open(os.memfd_create("tinyddpm"), "w+b")
    except (AttributeError, OSError):
        file = tempfile.TemporaryFile()
    with file:
        _fill(file, n_bytes)
        return fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3)  # 0 to 2 are a worker's own


def _fill(file, n_bytes):
    """Write zeros: who only sets the length dies by SIGBUS later, where there is no room for it."""
    zeros = bytes(1 << 20)
    for start in range(0, n_bytes, len(zeros)):
        file.write(zeros[: n_bytes - start])
    file.flush()


def open_memory(key, n_bytes):
    """The memory that `shared_memory` gave this key."""
    return mmap.mmap(-1, n_bytes, tagname=key) if WINDOWS else mmap.mmap(key, n_bytes)


def as_vectors(memory, size, dtype):
    """Its bytes as vectors (P,), a list: first what all share, then a gradient of each worker."""
    return list(np.frombuffer(memory, dtype).reshape(-1, size))


def return_freed_memory():
    """Give the system back what this process has freed, which nn/fast has the C library keep."""
    with suppress(AttributeError, OSError, TypeError):  # only glibc keeps it
        ctypes.CDLL(None).malloc_trim(0)
