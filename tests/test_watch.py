"""The first number that is not finite is found, and the layer that made it is named."""

import sys

import numpy as np
import pytest

from tinyddpm import Layout, Linear, Tape, UNet, UNetConfig
from tinyddpm.nn.watch import watched

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
X = np.ones((2, 3), np.float32)


@pytest.fixture
def two():
    """Two layers, one after the other, and their weights: forward, backward, Params, theta."""
    layout = Layout()
    a, b = Linear(layout, "a", 3, 3), Linear(layout, "b", 3, 3)
    theta = layout.init(np.random.default_rng(0))
    return a, b, layout.params, theta


def there_and_back(a, b, theta, x, dy):
    tape = Tape(theta, np.zeros_like(theta))
    b.forward(a.forward(x, tape), tape)
    a.backward(b.backward(dy, tape), tape)


BAD = {
    "what comes in": ("x", np.nan, r"x, which comes into the forward of Linear \(a.W\)"),
    "weights": ("b.W", np.inf, r"b.W, which comes into the forward of Linear \(b.W\)"),
    "forward": ("all W", 1e25, r"the result, which comes out of the forward of Linear \(b.W\)"),
    "what comes back": ("dy", np.nan, r"d\w*, which comes into the backward of Linear \(b.W\)"),
    "backward": ("x and dy", 1e25, r"b.W, which comes out of the backward of Linear \(b.W\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_the_layer_that_made_the_first_one_is_named(two, case):
    where, bad, sentence = BAD[case]
    a, b, params, theta = two
    x, dy = X * (bad if "x" in where else 1), X * (bad if "dy" in where else 1)
    for param in params:
        if param.name == where or where == "all W" and param.name.endswith("W"):
            param.of(theta)[...] = bad
    with pytest.raises(FloatingPointError, match=f"^here: the first number .* in {sentence}"):
        with watched("here: "):
            there_and_back(a, b, theta, x.astype(np.float32), dy.astype(np.float32))
    assert sys.getprofile() is None


@pytest.mark.parametrize("side, base", [(8, 4), (16, 16)])  # too small for fast layers, and not
def test_all_layers_of_a_network_can_be_watched(side, base):
    unet = UNet(UNetConfig(side, 1, base, (1, 2), attention_at=(side // 2,), groups=2))
    theta = unet.layout.init(np.random.default_rng(1))
    x_t, t = np.ones((4, side, side, 1), np.float32), np.array([3, 4, 5, 6])
    with watched():
        tape = Tape(theta, np.zeros_like(theta))
        unet.backward(unet.forward(x_t, t, tape), tape)
        unet.forward(x_t, t, Tape(theta))  # without a gradient
    for param in unet.layout.params[::3]:
        broken = theta.copy()
        param.of(broken)[...] = np.nan
        with pytest.raises(FloatingPointError, match=f"in {param.name}, which comes into the forw"):
            with watched():
                unet.forward(x_t, t, Tape(broken))
