"""Every random number is a function of the seed, its purpose and two counters.

No generator lives longer than the piece of work that it was made for. So a resumed run draws what
the uninterrupted one would have drawn, and drawing a picture never changes the training.
"""

import numpy as np

PURPOSES = ("weights", "order", "training", "digits", "noise", "sampling", "forward", "times")


def generator(seed, purpose, counter=0, part=0):
    """A new NumPy Generator for one of PURPOSES; the counters are a step and a micro-batch.

    Raises     ValueError for a seed below 0
    """
    if seed < 0:
        raise ValueError(f"seed of {seed}: use 0 or more")
    return np.random.default_rng([seed, 1 + PURPOSES.index(purpose), counter, part])
