"""What computes. Arrays live in this computer's memory with NumPy or, with CuPy, on a GPU.

CuPy is an extra, cuda13 or cuda12, and is imported when it is asked for: here, and by the kernels
in nn/fast. All others take the module from the arrays that they are given, and the same lines run
on both. What has been run on what stands in nn/fast/README.md.
"""

import math
import os
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np

DEVICES = ("auto", "cpu", "cuda")
NEIGHBOURS = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")  # how many ranks are on this machine
INSTALL = "type pip install -e '.[cuda13]', or cuda12 for an older driver"


def array_module(x):
    """The module whose functions take `x`: `numpy`, or `cupy` for an array on a GPU."""
    if type(x).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy
    return np


def cache_chunks(vector):
    """Slices of a flat vector that a processor's cache holds; one slice if it is on a GPU."""
    size = 1 << 15 if array_module(vector) is np else len(vector)
    return [slice(i, i + size) for i in range(0, len(vector), size)]


def module_for(device):
    """`numpy` for "cpu", `cupy` for "cuda", for "auto" `cupy` if it finds a GPU.

    Raises     ValueError for another device, or that says what "cuda" lacks
    """
    if device not in DEVICES:
        raise ValueError(f"device {device!r}: choose from {', '.join(DEVICES)}")
    if device == "cpu":
        return np
    try:
        import cupy

        matrix = cupy.ones((2, 2))  # of vectors, a product would not want cuBLAS
        float((matrix @ matrix)[0, 0])  # wants a GPU, its driver and CUDA's libraries
        return cupy
    except ModuleNotFoundError:
        lack = f"CuPy is not there: {INSTALL}."
    except Exception as error:  # what is missing can be said in many ways
        reason = str(error).strip().partition("\n")[0]
        lack = f"CuPy cannot compute ({reason}). It needs a GPU, and CUDA's libraries: {INSTALL}."
        if device == "auto":
            warnings.warn(f"{lack} Computing on the CPU", stacklevel=1)  # once, whoever asks
    if device == "auto":
        return np
    raise ValueError(f"device 'cuda': {lack} Or use the device 'cpu'")


def device_name(xp):
    """What `module_for` has chosen, in words: "the CPU", "the GPU (NVIDIA H100)"."""
    if xp is np:
        return "the CPU"
    return f"the GPU ({xp.cuda.runtime.getDeviceProperties(0)['name'].decode()})"


def to_host(x):
    """`x` as a NumPy array; if x is on a GPU this copies it, and waits until the GPU has it."""
    return x if isinstance(x, (np.ndarray, np.generic)) else x.get()


def cores(root="/"):
    """How many cores this process may use: fewer than there are, if a container has a quota.

    Ranks of MPI on one machine that nobody has bound to some of the cores share them.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    unbound = NEIGHBOURS if count == os.cpu_count() else ()
    neighbours = max([1, *(int(os.environ.get(name, 1)) for name in unbound)])
    try:
        groups = Path(root, "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        groups = []
    for group in groups:
        _, controllers, path = group.split(":", 2)  # version 2 of control groups names none
        if not controllers or "cpu" in controllers.split(","):
            place = Path(root, "sys/fs/cgroup", controllers and "cpu", path.lstrip("/"))
            for folder in (place, *place.parents):  # a group has no more than those around it
                count = min(count, _quota(folder))
    return max(1, math.ceil(count) // neighbours)


def _quota(folder):
    """How many cores' time a control group may take: its cpu.max, or cpu.cfs_* in version 1."""
    for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        with suppress(OSError, ValueError):
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            return int(quota) / int(period) if quota not in ("max", "-1") else math.inf
    return math.inf
