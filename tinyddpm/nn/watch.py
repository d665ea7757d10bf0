"""Which layer made the first NaN or infinity? Looks at all that goes in and out of them."""

import sys
from contextlib import contextmanager

from ..device import array_module
from .tape import Param, _describe


@contextmanager
def watched(where=""):
    """Meanwhile the first number that is not finite is an error that names the layer; it is slow.

        with watched():
            y = unet.forward(x_t, t, tape)

    Python itself says when a function begins and when it returns. Is it the forward or backward of
    a layer, its first argument, then the tape is at hand, too: what comes in is looked at together
    with the weights, what comes out together with the gradients.
    where      what the error's message begins with
    Raises     FloatingPointError
    """

    def look(frame, event, result):
        trip = frame.f_code.co_name
        if event not in ("call", "return") or trip not in ("forward", "backward"):
            return
        here = frame.f_locals
        layer = next(iter(here.values()), None)
        if "tape" in here and hasattr(layer, trip):
            for name, array in _seen(layer, event, here, result):
                if hasattr(array, "dtype") and not array_module(array).isfinite(array).all():
                    way = "into" if event == "call" else "out of"
                    raise FloatingPointError(
                        f"{where}the first number that is not finite is in {name}, which comes "
                        f"{way} the {trip} of {_describe(layer)}"
                    )

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)


def _seen(layer, event, here, result):
    """(name, array) of all that comes into a layer with these local variables, or out of it."""
    vector, seen = here["tape"].theta, here.items()
    if event == "return":
        parts = result if isinstance(result, tuple) else [result]
        vector, seen = here["tape"].grad, [("the result", part) for part in parts]
    params = [value for value in vars(layer).values() if isinstance(value, Param)]
    return [(p.name, p.of(vector)) for p in params if vector is not None] + [*seen]
