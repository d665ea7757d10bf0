"""Right or wrong, by how much and where; and repairs so cheap that all of them are tried."""

from itertools import chain, combinations, permutations

import numpy as np

EXACT = 1e-9
IMAGE_AXES = ("image", "row", "column", "channel")


def same(a, b, size=0.0):
    """Whether two arrays are equal but for rounding; `size` is what 1e-9 is a part of at least."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype == object:
        return False
    odd = ~np.isfinite(b)
    if odd.any():  # nan is like nan, so that a mistake that makes it is recognised
        return np.array_equal(a[odd], b[odd], equal_nan=True) and same(a[~odd], b[~odd], size)
    with np.errstate(all="ignore"):
        largest = max(size, np.abs(b).max(initial=0))
        return bool(np.abs(a - b).max(initial=0) <= EXACT * largest)


def wrong(got, right):
    """The names of the results that are not right, in order."""
    size = 1e-3 * max(np.abs(a).max(initial=0) for a in right.values())
    return [n for n in right if n not in got or not same(got[n], right[n], size)]


def difference(name, got, right):
    """By how much a result is wrong, and where most: a phrase."""
    if got is None:
        return "nothing is returned"
    got = np.asarray(got)
    if got.dtype == object:
        return "not an array"
    if got.shape != right.shape:
        return f"its shape is {got.shape}, it should be {right.shape}"
    if name == "tape":
        return f"{int(got)} more things are on the tape than backward has popped"
    with np.errstate(all="ignore"):
        gaps = np.abs(got - right)
        if np.isnan(gaps).any():
            return f"{np.isnan(gaps).sum()} of {gaps.size} numbers are nan"
        place = np.unravel_index(gaps.argmax(), gaps.shape)
        size = gaps.max() / max(np.abs(right).max(), 1e-300)
    index = ", ".join(map(str, place))
    at = f"at [{index}]: " if index else ""
    return f"off by {size:.2g} of its size; most {at}{got[place]:.4g}, should be {right[place]:.4g}"


def repairs(name, got, right):
    """What has to be done to a wrong result, or what was done to it, if it is one thing: phrases.

    right is a dictionary of all that is right.
    """
    got, wanted = np.asarray(got), right[name]
    if got.dtype == object or np.isnan(got).any():
        return
    if not got.any():
        yield "it is zero everywhere: nothing was added to it, or to an array that is not it"
        return
    if got.shape != wanted.shape:
        yield from _reshaped(got, wanted, right)
        return
    for other, array in right.items():
        if other != name and array.size > 1 and same(got, array):
            yield f"it is {other}: two results are in each other's places"
    for axes in permutations(range(got.ndim)):
        if axes != tuple(range(got.ndim)) and got.transpose(axes).shape == wanted.shape:
            if same(got.transpose(axes), wanted):
                yield "it is right when it is transposed: an order is the other way round"
    for axes in _subsets(range(got.ndim)):
        if axes and same(np.flip(got, axes), wanted):
            yield f"it is right when it is reversed along {_axes(axes, got)}: once too often"
    for shift, axis in ((s, a) for s in (-1, 1) for a in range(got.ndim)):
        if got.shape[axis] > 1 and same(np.roll(got, shift, axis), wanted):
            yield f"it is right when it is shifted by one along {_axes([axis], got)}"
    for other, array in right.items():
        if other != name and array.shape == got.shape and not _multiple(array, wanted):
            c = _multiple(got - wanted, array)
            if c:
                much = f"{abs(c):.3g} times {other}"
                yield f"{much} is in it by mistake" if c > 0 else f"{much} is missing in it"
    for axes in _subsets(range(got.ndim)):
        if axes and same(got, np.broadcast_to(wanted.mean(axes, keepdims=True), got.shape)):
            yield f"it is averaged over {_axes(axes, got)}, where each has a gradient of its own"
        if axes and same(got, np.broadcast_to(wanted.sum(axes, keepdims=True), got.shape)):
            yield f"it is summed over {_axes(axes, got)}, where each has a gradient of its own"


def factor(got, wanted):
    """c if got = c · wanted, else None."""
    return _multiple(np.asarray(got), wanted) if np.shape(got) == wanted.shape else None


def factor_in_words(c, constants):
    """-0.5 as "-1/2", in the names of the constants that could make it."""
    for a, b in chain(((k, None) for k in constants), combinations(constants, 2)):
        for p in (1, -1, 0.5, -0.5):
            for q in (1, -1) if b else (0,):
                value = constants[a] ** p * (constants[b] ** q if b else 1)
                if abs(abs(c) - value) < 1e-9 * value:
                    words = _power(a, p) + (f" · {_power(b, q)}" if b else "")
                    return ("-" if c < 0 else "") + words
    return f"{c:.4g}"


def only_where(got, wanted):
    """A phrase about the places of wrong numbers if they are few, or None."""
    if np.shape(got) != wanted.shape or wanted.ndim == 0:
        return None
    off = ~(np.abs(got - wanted) <= EXACT * np.abs(wanted).max())
    for axis in range(off.ndim):
        lines = np.flatnonzero(off.any(axis=tuple(i for i in range(off.ndim) if i != axis)))
        if 0 < len(lines) < off.shape[axis]:
            if len(lines) > 6:
                return f"it is right in {off.shape[axis] - len(lines)} of {off.shape[axis]} places"
            which = ", ".join(map(str, lines))
            return f"it is wrong only where {_axes([axis], wanted)} is {which}"
    inner = off[:, 1:-1, 1:-1] if off.ndim == 4 else off
    if inner.size and not inner.any():
        return "it is wrong only at the border of the image"
    return None


def per_axis(got, wanted):
    """The axis along which got / wanted changes while it is constant along all others, or None."""
    if np.shape(got) != wanted.shape:
        return None
    with np.errstate(all="ignore"):
        ratio = got / wanted
    for axes in _subsets(range(ratio.ndim)):
        others = tuple(i for i in range(ratio.ndim) if i not in axes)
        if 0 < len(axes) < ratio.ndim and same(
            ratio, np.broadcast_to(ratio.mean(others, keepdims=True), ratio.shape)
        ):
            return f"it is right but for a factor that differs for each {_axes(axes, wanted)}"
    return None


def _reshaped(got, wanted, right):
    if got.size == wanted.size and same(got.ravel(), wanted.ravel()):
        yield f"reshape it to {wanted.shape}: the numbers are right (rule 1)"
    for axes in permutations(range(got.ndim)):
        if same(got.transpose(axes), wanted):
            yield "transpose it, and it is right (rule 1: a gradient has its variable's shape)"
    for axes in _subsets(range(got.ndim)):
        if axes and (same(got.sum(axes), wanted) or same(got.sum(axes, keepdims=True), wanted)):
            yield f"sum it over {_axes(axes, got)}: copied forward, summed backward (rule 3)"
    for axes in _subsets(range(wanted.ndim)):
        if axes and (same(got, wanted.sum(axes)) or same(got, wanted.mean(axes))):
            yield f"it has lost {_axes(axes, wanted)}: a gradient has its variable's shape (rule 1)"
    for name, array in right.items():
        if same(got, array):
            yield f"it is {name}: two results are in each other's places"
    if got.shape == right.get("y", wanted).shape != wanted.shape:
        yield "it has the shape of y: a gradient has the shape of its own variable (rule 1)"
    yield (
        f"a gradient has the shape of its variable (rule 1), {wanted.shape}: which axes of "
        f"{got.shape} are too many, too few or too long, and what should become of them?"
    )


def _multiple(a, b):
    """c if a = c · b for a c other than 0, else None."""
    square = float((b * b).sum())
    c = float((a * b).sum()) / square if square else 0.0
    return c if abs(c) > EXACT and same(a, c * b) else None


def _axes(axes, array):
    is_image = array.ndim == 4 and array.shape[:2] != (3, 3)  # no kernel
    names = IMAGE_AXES if is_image else [f"axis {i}" for i in range(array.ndim)]
    return " and ".join(names[i] for i in axes)


def _subsets(items):
    items = list(items)
    return chain.from_iterable(combinations(items, n) for n in range(len(items) + 1))


def _power(name, p):
    name = f"({name})" if " " in name and name[0] != "(" and p != 1 else name
    return {1: name, -1: f"1/{name}", 0.5: f"√{name}", -0.5: f"1/√{name}", 0: ""}[p]
