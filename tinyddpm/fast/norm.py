"""GroupNorm, and the SiLU behind it if there is one, on a few images at a time: they stay in cache.

With h half of what GroupNorm gives, which is GroupNorm with half the gain and bias,

    silu(2 h) = h (1 + tanh h)        its slope along h is 1 + tanh h + h (1 - tanh² h)

Kept is the input alone, with its statistics: all else is computed again on the way back.
"""

from functools import lru_cache

import numpy as np

from ..device import sum_rows
from . import usable
from .arithmetic import along_rows
from .memory import empty, parts, scratch

PART = 1 << 18  # bytes of images that are worked on at once: an eighth of a core's cache


def suits(x):
    """Whether there is enough of x (N, H, W, C) to pay for cutting it into parts."""
    return x.size >= 1 << 13 and usable(x)


def forward(norm, x, tape, silu=False):
    """y (N, H, W, C), of a GroupNorm; remembers x, and mean and r (N, C)."""
    gain, bias = _halved(silu, norm.gain.of(tape.theta), norm.bias.of(tape.theta))
    x = x.astype(np.result_type(x, gain), copy=False)
    pixels, mean_of = _pixels(x), _group_means(x, norm.groups)
    y = empty(pixels.shape, x.dtype)
    mean, r = np.empty((2, len(x), x.shape[-1]), x.dtype)
    for cut in parts(len(pixels), pixels[0].nbytes, PART):
        part, h = pixels[cut], y[cut]
        mean[cut] = mean_of(sum_rows(part))
        centred = along_rows(np.subtract, part, mean[cut], _scratch("a", part))
        squares = np.multiply(centred, centred, out=_scratch("b", part))
        r[cut] = (mean_of(sum_rows(squares)) + norm.tiny) ** -0.5
        along_rows(np.multiply, centred, gain * r[cut], h)
        along_rows(np.add, h, bias, h)
        if silu:
            s = np.tanh(h, out=_scratch("b", part))
            s += 1
            h *= s
    tape.push(norm, (pixels, mean, r))
    return y.reshape(x.shape)


def backward(norm, dy, tape, silu=False):
    """dx (N, H, W, C); adds to the gradients of gain and bias.

    dx = scale dh - slope (x - mean) - flat        scale, slope and flat (N, C)

    Sums are of dh x, not of dh (x - mean): one pass less, three times the plain rounding error.
    """
    pixels, mean, r = tape.pop(norm)
    gain, bias = _halved(silu, norm.gain.of(tape.theta), norm.bias.of(tape.theta))
    dys, mean_of = _pixels(dy.astype(pixels.dtype, copy=False)), _group_means(dy, norm.groups)
    dx, dgain, dbias = empty(pixels.shape, pixels.dtype), 0, 0
    for cut in parts(len(pixels), pixels[0].nbytes, PART):
        x, dh, out, scale = pixels[cut], dys[cut], dx[cut], gain * r[cut]
        if silu:
            h = along_rows(np.multiply, x, scale, _scratch("a", x))
            along_rows(np.add, h, bias - mean[cut] * scale, h)
            dh = _silu_backward(dh, h, out)
        sum_dh, dh_x = sum_rows(dh), np.multiply(dh, x, out=out)
        sum_dh_x_hat = (sum_rows(dh_x) - mean[cut] * sum_dh) * r[cut]
        dbias = dbias + sum_dh.sum(axis=0)
        dgain = dgain + sum_dh_x_hat.sum(axis=0)
        slope = mean_of(gain * sum_dh_x_hat) * r[cut] ** 2
        flat = mean_of(gain * sum_dh) * r[cut] - slope * mean[cut]
        along_rows(np.multiply, dh, scale, out)
        out -= along_rows(np.multiply, x, slope, _scratch("a", x))
        along_rows(np.subtract, out, flat, out)
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


def _pixels(x):
    return x.reshape(len(x), -1, x.shape[-1])


def _scratch(name, like):
    return scratch(f"norm {name}", like.shape, like.dtype)


def _group_means(x, groups):
    """A function from sums over pixels (n, C) to the means of groups (n, C), for every channel."""
    c, count = x.shape[-1], x[0].size / groups
    matrix = _same_group(c, groups, x.real.dtype)
    return lambda sums: sums @ matrix / count


@lru_cache
def _same_group(c, groups, dtype):
    """(C, C): 1 where two channels are of the same group, else 0."""
    return np.kron(np.eye(groups), np.ones((c // groups, c // groups))).astype(dtype)
