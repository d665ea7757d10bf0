"""GroupNorm, and the SiLU behind it if there is one, on a few images at a time: they stay in cache.

With h half of what GroupNorm gives, which is GroupNorm with half the gain and bias,

    silu(2 h) = h (1 + tanh h)        its slope along h is (1 + tanh h) (1 + h (1 - tanh h))

Only the input and its statistics are kept: everything else is computed again on the way back.
"""

from functools import lru_cache

import numpy as np

from .. import norm, pairs
from .arithmetic import as_long_rows, sum_rows, tiled
from .memory import chunks, empty, scratch

CHUNK = 1 << 20  # bytes of images that are worked on at once: with half, a tenth more time
NUMBERS = 1 << 13  # with fewer, the plain way takes less time


class GroupNorm(norm.GroupNorm):
    """GroupNorm that keeps x, the mean and r."""

    def forward(self, x, tape):
        return forward(self, x, tape) if _pays(x) else super().forward(x, tape)

    def backward(self, dy, tape):
        return backward(self, dy, tape) if _pays(dy) else super().backward(dy, tape)


class NormSiLU(pairs.NormSiLU):
    """GroupNorm and SiLU in one go: keeps x, its mean and r."""

    def forward(self, x, tape):
        return forward(self.norm, x, tape, silu=True) if _pays(x) else super().forward(x, tape)

    def backward(self, dy, tape):
        return backward(self.norm, dy, tape, silu=True) if _pays(dy) else super().backward(dy, tape)


def _pays(x):
    """Whether x (N, H, W, C) is a NumPy array large enough for chunks to save time."""
    return isinstance(x, np.ndarray) and x.size >= NUMBERS


def forward(norm, x, tape, silu=False):
    """y (N, H, W, C), of a GroupNorm; remembers x, and mean and r (N, C)."""
    gain, bias = _halved(silu, norm.gain.of(tape.theta), norm.bias.of(tape.theta))
    images = as_long_rows(x.astype(np.result_type(x, gain), copy=False))
    mean_of, y = _group_means(x, norm.groups), empty(images.shape, images.dtype)
    mean, r = np.empty((2, len(x), x.shape[-1]), y.dtype)
    for cut in chunks(len(x), images[0].nbytes, CHUNK):
        chunk, out = images[cut], y[cut]
        mean[cut] = mean_of(_sums(chunk, x))
        h = np.subtract(chunk, tiled(mean[cut], chunk), out=_scratch(chunk))
        squares = np.multiply(h, h, out=out)
        r[cut] = (mean_of(_sums(squares, x)) + norm.tiny) ** -0.5
        h *= tiled(gain * r[cut], chunk)
        np.add(h, tiled(bias, chunk), out=h if silu else out)
        if silu:
            np.tanh(h, out=out)
            out += 1
            out *= h
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
    for cut in chunks(len(dx), images[0].nbytes, CHUNK):
        x, dh, out, scale = images[cut], dys[cut], dx[cut], gain * r[cut]
        own = _scratch(x)
        if silu:
            np.multiply(x, tiled(scale, x), out=own)
            own += tiled(bias - mean[cut] * scale, x)
            dh = _silu_backward(dh, own, out)
        sum_dh, dh_x = _sums(dh, dy), np.multiply(dh, x, out=out)
        sum_dh_x_hat = (_sums(dh_x, dy) - mean[cut] * sum_dh) * r[cut]
        dbias = dbias + sum_dh.sum(axis=0)
        dgain = dgain + sum_dh_x_hat.sum(axis=0)
        slope = mean_of(gain * sum_dh_x_hat) * r[cut] ** 2
        flat = mean_of(gain * sum_dh) * r[cut] - slope * mean[cut]
        scaled = np.multiply(dh, tiled(scale, x), out=own)
        np.multiply(x, tiled(slope, x), out=out)
        out += tiled(flat, x)
        np.subtract(scaled, out, out=out)
    for param, d in zip((norm.gain, norm.bias), _halved(silu, dgain, dbias)):
        param_gradient = param.of(tape.grad)
        param_gradient += d
    return dx.reshape(dy.shape)


def _silu_backward(dy, h, spare):
    """dh = dy (1 + tanh h) (1 + h (1 - tanh h)), in the place of h."""
    tanh = np.tanh(h, out=spare)
    rest = np.subtract(1, tanh, out=spare)
    h *= rest
    h += 1
    h *= np.subtract(2, rest, out=spare)  # arrays are written where they are read: a third faster
    h *= dy
    return h


def _halved(silu, *vectors):
    return [vector / 2 for vector in vectors] if silu else vectors


def _scratch(like):
    return scratch("norm", like.shape, like.dtype)


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
