"""Every random number is a function of the seed, its purpose and two counters.

No generator lives longer than the piece of work that it was made for. So a resumed run draws what
the uninterrupted one would have drawn, and drawing a picture never changes the training.
"""

import numpy as np

from .device import random_generator

PURPOSES = (
    "weights",
    "order",
    "training",
    "digits",
    "noise",
    "sampling",
    "forward",
    "times",
    "spectrum",
)


def generator(seed, purpose, counter=0, part=0, xp=np):
    """A new random Generator for one of PURPOSES; the counters are a step and a micro-batch.

    xp         where to draw: see `random_generator`
    Raises     ValueError for a seed below 0
    """
    if seed < 0:
        raise ValueError(f"seed of {seed}: use 0 or more")
    return random_generator([seed, 1 + PURPOSES.index(purpose), counter, part], xp)
