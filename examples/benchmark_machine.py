"""What a benchmark ran on, in a few lines: a figure without that says nothing."""

import ctypes
import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

HOLDS_BACK = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS")
NAMES = ("scipy_openblas_get_corename64_", "openblas_get_corename64_", "openblas_get_corename")


def machine(workers):
    """The header of a benchmark; a line more for each variable that holds one side back."""
    lines = [
        f"{processor()}, {os.cpu_count()} cores, {workers} workers; {platform.system()}, Python "
        f"{platform.python_version()}",
        f"NumPy {np.__version__} with {blas()}{others()}",
    ]
    for name in HOLDS_BACK:
        if name in os.environ:
            lines.append(
                f"warning: {name}={os.environ[name]} chooses kernels for one side only; unset it"
            )
    return "\n".join(lines)


def processor():
    """The processor's name, as the system calls it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # no Linux
        return platform.processor() or platform.machine()
    names = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def blas():
    """What multiplies NumPy's matrices, and for which processors its kernels were written.

    OpenBLAS chooses them when it is loaded; only the library itself knows which.
    """
    name = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    folders = Path(np.__file__).parents[1] / "numpy.libs", Path(np.__file__).parent / ".dylibs"
    for path in (path for folder in folders for path in folder.glob("*openblas*")):
        library = ctypes.CDLL(str(path))  # the one that NumPy has loaded
        for function in (getattr(library, name, None) for name in NAMES):
            if function:
                function.restype = ctypes.c_char_p
                return f"{name}, its kernels for {function().decode()}"
    return name


def others():
    """Versions of those that are there: they have kernels of their own and choose by themselves."""
    text = ""
    for name, package in (("PyTorch", "torch"), ("ONNX Runtime", "onnxruntime")):
        with suppress(PackageNotFoundError):
            text += f"; {name} {version(package)}"
    return text
