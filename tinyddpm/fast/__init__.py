"""Other ways to the same numbers on a CPU, equal by test to the plain layers, and faster.

A layer chooses one by shape, in one line. TINYDDPM_FAST=0 in the environment turns all of them off.
"""

import os

import numpy as np

from .memory import keep_freed_memory

ON = os.environ.get("TINYDDPM_FAST") != "0"
if ON:
    keep_freed_memory()


def usable(x):
    """Whether speed paths are on, and x is an array that they can take."""
    return ON and isinstance(x, np.ndarray)
