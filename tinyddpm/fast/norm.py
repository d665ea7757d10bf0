"""GroupNorm, and the SiLU behind it if there is one, on a few images at a time: they stay in cache.

With h half of what GroupNorm gives, which is GroupNorm with half the gain and bias,

    silu(2 h) = h (1 + tanh h)        its slope along h is 1 + tanh h + h (1 - tanh² h)

Kept is the input alone, with its statistics: all else is computed again on the way back.
"""

from functools import lru_cache

import numpy as np

from ..device import sum_rows
from . import usable
from .arithmetic import in_runs, repeated
from .memory import empty, parts, scratch

PART = 1 << 19  # bytes of images that are worked on at once: a quarter of a core's cache


def suits(x):
    """Whether there is enough of x (N, H, W, C) to pay for cutting it into parts."""
    return x.size >= 1 << 13 and usable(x)


def forward(norm, x, tape, silu=False):
    """y (N, H, W, C), of a GroupNorm; remembers x, and mean and r (N, C)."""
    gain, bias = _halved(silu, norm.gain.of(tape.theta), norm.bias.of(tape.theta))
    images = in_runs(x.astype(np.result_type(x, gain), copy=False))
    mean_of, y = _group_means(x, norm.groups), empty(images.shape, images.dtype)
    mean, r = np.empty((2, len(x), x.shape[-1]), y.dtype)
    for cut in parts(len(x), images[0].nbytes, PART):
        part, h = images[cut], y[cut]
        mean[cut] = mean_of(_sums(part, x))
        centred = np.subtract(part, repeated(mean[cut], part), out=_scratch("a", part))
        squares = np.multiply(centred, centred, out=h)
        r[cut] = (mean_of(_sums(squares, x)) + norm.tiny) ** -0.5
        np.multiply(centred, repeated(gain * r[cut], part), out=h)
        h += repeated(bias, part)
        if silu:
            s = np.tanh(h, out=_scratch("a", part))
            s += 1
            h *= s
    tape.push(norm, (images, mean, r))
    return y.reshape(x.shape)


def backward(norm, dy, tape, silu=False):
    """dx (N, H, W, C); adds to the gradients of gain and bias.

    dx = scale dh - slope x - flat        scale, slope and flat (N, C)

    Sums are of dh x, not of dh (x - mean): one pass less, three times the plain rounding error.
    """
    images, mean, r = tape.pop(norm)
    gain, bias = _halved(silu, norm.gain.of(tape.theta), norm.bias.of(tape.theta))
    dys = dy.astype(images.dtype, copy=False).reshape(images.shape)
    mean_of = _group_means(dy, norm.groups)
    dx, dgain, dbias = empty(images.shape, images.dtype), 0, 0
    for cut in parts(len(dx), images[0].nbytes, PART):
        x, dh, out, scale = images[cut], dys[cut], dx[cut], gain * r[cut]
        if silu:
            h = np.multiply(x, repeated(scale, x), out=_scratch("a", x))
            h += repeated(bias - mean[cut] * scale, x)
            dh = _silu_backward(dh, h, out)
        sum_dh, dh_x = _sums(dh, dy), np.multiply(dh, x, out=out)
        sum_dh_x_hat = (_sums(dh_x, dy) - mean[cut] * sum_dh) * r[cut]
        dbias = dbias + sum_dh.sum(axis=0)
        dgain = dgain + sum_dh_x_hat.sum(axis=0)
        slope = mean_of(gain * sum_dh_x_hat) * r[cut] ** 2
        flat = mean_of(gain * sum_dh) * r[cut] - slope * mean[cut]
        np.multiply(dh, repeated(scale, x), out=out)
        away = np.multiply(x, repeated(slope, x), out=_scratch("a", x))
        away += repeated(flat, x)
        out -= away
    for param, d in zip((norm.gain, norm.bias), _halved(silu, dgain, dbias)):
        param_gradient = param.of(tape.grad)
        param_gradient += d
    return dx.reshape(dy.shape)


def _silu_backward(dy, h, spare):
    """dh = dy (1 + tanh h + h (1 - tanh² h)), in scratch."""
    tanh = np.tanh(h, out=spare)
    slope = np.multiply(tanh, tanh, out=_scratch("b", h))
    np.subtract(1, slope, out=slope)
    slope *= h
    slope += tanh
    slope += 1
    slope *= dy
    return slope


def _halved(silu, *vectors):
    return [vector / 2 for vector in vectors] if silu else vectors


def _scratch(name, like):
    return scratch(f"norm {name}", like.shape, like.dtype)


def _sums(runs, images):
    """(n, C): sums over all pixels of `runs` of images (N, H, W, C)."""
    return sum_rows(runs.reshape(len(runs), -1, images.shape[-1]))


def _group_means(x, groups):
    """A function from sums over pixels (n, C) to the means of groups (n, C), for every channel."""
    c, count = x.shape[-1], x[0].size / groups
    matrix = _same_group(c, groups, x.real.dtype)
    return lambda sums: sums @ matrix / count


@lru_cache
def _same_group(c, groups, dtype):
    """(C, C): 1 where two channels are of the same group, else 0."""
    return np.kron(np.eye(groups), np.ones((c // groups, c // groups))).astype(dtype)
