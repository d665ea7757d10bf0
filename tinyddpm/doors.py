"""What public functions look at before they compute: arrays of images, times and labels, numbers.

What would come out silently wrong is converted (lists become arrays, labels and times int64) or
refused in a sentence. Of an array on a GPU only dtype and shape are looked at: to read its numbers
is to wait for them.
"""

import math
import numbers

import numpy as np

from .device import array_module


def brief(said):
    """What an error says, or a file, on one line: of a long text its beginning and its end."""
    text = "".join(c if c.isprintable() else " " for c in str(said))
    return text if len(text) <= 190 else f"{text[:100]} ... {text[-85:]}"


class NotFinite(ValueError, FloatingPointError):
    """NaN or infinity: a ValueError for who gave it, a FloatingPointError for who computed it."""


def images(**arrays):
    """Arrays of one shape (N, ...), given by name, as a list of arrays.

    Raises     ValueError unless they are float32, float64 or complex, and of the same shape
    """
    arrays = {name: _array(x) for name, x in arrays.items()}
    first, like = next(iter(arrays.items()))
    for name, x in arrays.items():
        if x.dtype.kind not in "fc" or x.dtype.itemsize < 4:
            raise ValueError(
                f"{name} of {x.dtype}: give float32 or float64 numbers, images from -1 to 1; "
                "to_model_range makes them of bytes"
            )
        if not x.ndim or not len(x):
            raise ValueError(f"{name} of shape {x.shape}: give one image or more")
        if x.shape != like.shape:
            raise ValueError(f"{name} of shape {x.shape}, but {first} of {like.shape}: give alike")
    return list(arrays.values())


def times(t, count, T=math.inf, first=1):
    """Times, one for each of `count` images, as int64 (count,).

    Raises     ValueError unless they are whole numbers from `first` to T
    """
    return _whole_numbers("t", t, count, first, T)


def labels(label, count, classes):
    """Labels, one for each of `count` images, as int64 (count,).

    Raises     ValueError unless they are whole numbers from 0 to `classes`, the null label
    """
    return _whole_numbers("label", label, count, 0, classes)


def as_bytes(images):
    """Images of any whole numbers from 0 to 255 as an array; ValueError for other numbers."""
    images = _array(images)
    if images.dtype.kind not in "iu":
        raise ValueError(f"images of {images.dtype}: give bytes, 0 to 255")
    if images.dtype != np.uint8 and array_module(images) is np and images.size:
        if not 0 <= images.min() <= images.max() <= 255:
            raise ValueError(f"images from {images.min()} to {images.max()}: give bytes, 0 to 255")
    return images


def in_model_range(x0):
    """ValueError unless images x0 are what `to_model_range` makes of bytes: from -1 to 1."""
    if array_module(x0) is np and not -1 <= x0.min() <= x0.max() <= 1:
        raise ValueError(f"images from {x0.min()} to {x0.max()}: use -1 to 1, see to_model_range")


def finite(name, x):
    """`x`, an array in this computer's memory; NotFinite if there is NaN or infinity in it."""
    if not np.isfinite(x).all():
        raise NotFinite(
            f"{name} with numbers that are not finite: the weights behind them are of no use; "
            "train with a smaller learning rate"
        )
    return x


def whole(name, value, low, high=math.inf):
    """`value` as an int; ValueError unless it is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} of {value!r}: use a whole number")
    if not low <= value <= high:
        raise ValueError(f"{name} of {value}: use {_limits(low, high)}")
    return int(value)


def _whole_numbers(name, values, count, low, high):
    values = _array(values)
    if values.shape != (count,):
        raise ValueError(f"{name} of shape {values.shape} for {count} images: give one for each")
    if values.dtype.kind not in "iu":
        raise ValueError(f"{name} of {values.dtype}: give whole numbers")
    if array_module(values) is np and not low <= values.min() <= values.max() <= high:
        came = f"{name} from {values.min()} to {values.max()}"
        raise ValueError(f"{came}: use {_limits(low, high)}")
    return values.astype(np.int64, copy=False)


def _limits(low, high):
    return f"{low} or more" if high == math.inf else f"{low} to {high:,}"


def _array(x):
    """`x` itself if it is on a GPU, else as a NumPy array."""
    return x if array_module(x) is not np else np.asarray(x)
