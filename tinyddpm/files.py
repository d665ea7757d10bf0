"""Files that are whole or not there at all, names that nobody else has, folders with one owner."""

import os
import secrets
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


@contextmanager
def atomic_write(path, new=False):
    """A binary file to write into: `path` gets all of it or, whatever happens, stays as it was.

        with atomic_write("picture.png") as file: ...

    What is written goes into a file beside it, whose name nobody else has, onto the disk, and only
    then under the name. Missing folders are made.
    new        with it, a file that is there already, or appears meanwhile, is left alone
    Raises     OSError if that fails (FileExistsError with `new`); nothing is left behind, nor an
               empty file with which `free_path` took the name
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        (_put_new if new else os.replace)(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        if not new and path.is_file() and not path.stat().st_size:
            path.unlink()  # it only held the name
        raise
    with suppress(OSError, AttributeError):  # not every system can
        _sync_folder(path.parent)


def _put_new(beside, path):
    """Like os.replace, but FileExistsError if there is such a file."""
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # this disk knows no second names: an empty file takes it
        open(path, "xb").close()
        os.replace(beside, path)
    else:
        os.unlink(beside)


def keep_as(path, before):
    """Give a file a second name, under which it stays when another one gets the first name.

    What had the second name goes. On a disk that knows no second names nothing is kept.
    """
    with suppress(OSError):
        Path(before).unlink(missing_ok=True)
        os.link(path, before)


def numbered(path):
    """`path`, then the same with -2, -3, ... before its ending."""
    path = Path(path)
    yield path
    for number in count(2):
        yield path.with_stem(f"{path.stem}-{number}")


def free_path(path):
    """`path`, or the first of -2, -3, ... that is free. An empty file takes the name at once.

    So of several programs that ask at the same time, each one gets another name.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    for free in numbered(path):
        with suppress(FileExistsError):
            free.open("xb").close()
            return free


@contextmanager
def locked(folder):
    """While it lasts, nobody else gets past this for the same folder.

    The system takes the lock away when the process ends, however it ends. What an owner before it
    left half written (see `atomic_write`) is cleared away.
    Raises     BlockingIOError, with a sentence, if somebody else has the folder
    """
    if fcntl:
        handle = os.open(folder, os.O_RDONLY)
    else:
        handle = os.open(Path(folder) / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        if not _lock(handle):
            raise BlockingIOError(
                f"another process is at work in {folder}: let it end, or stop it, before you go on"
            )
        for left in Path(folder).rglob(".*.part"):
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


def _lock(handle):
    """Lock what is open until it is closed; False if another process has."""
    try:
        if fcntl:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        return fcntl is not None and not isinstance(error, BlockingIOError)  # a disk without locks
    return True


def _sync_folder(folder):
    """Bring the names in a folder onto the disk."""
    handle = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
