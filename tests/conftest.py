"""What several test files need."""

import numpy as np
import pytest

from tinyddpm import Layout


@pytest.fixture
def rng():
    return np.random.default_rng(2020)


@pytest.fixture
def layout():
    return Layout()


def random_theta(layout, rng, dtype=np.float64):
    """Weights that are nowhere zero, so that silent layers matter; nobody may write to them."""
    theta = (layout.init(rng, np.float64) + 0.2 * rng.standard_normal(layout.size)).astype(dtype)
    theta.flags.writeable = False
    return theta


def read_only(array):
    array.flags.writeable = False
    return array
