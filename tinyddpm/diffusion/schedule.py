"""How much noise at which time: every table of the papers, for t = 0 .. T."""

import copy
import math
import warnings

import numpy as np

from .. import doors
from ..device import array_module
from .spacings import spaced


class Schedule:
    """The tables that follow from β_1 .. β_T. Entry 0 means clean, so ᾱ_{t-1} is alpha_bar[t - 1].

        alpha[t]      α_t = 1 - β_t               the share of the signal's power that step t keeps
        alpha_bar[t]  ᾱ_t = α_1 α_2 ... α_t       what is left of it after t steps; ᾱ_0 = 1
        posterior_variance[t]  β̃_t = β_t (1 - ᾱ_{t-1}) / (1 - ᾱ_t)   of x_{t-1} given x_t and x_0
        posterior_x0_coef[t], posterior_x_t_coef[t]   what x_0 and x_t count in the posterior's mean
        log_beta[t], log_posterior_variance[t]   with log β̃_2 in place of log β̃_1 = log 0
                                          (or log β_1 if there is one step only)
        times[t]      the time step to tell the network: t itself, unless respaced
        t_of[time]    the other way round: the t of which the network is told `time`

    All tables but the last are NumPy arrays (T + 1,), of float64 but for times; see `to`.
    Raises     ValueError unless every β is between 0 and 1; a warning if x_T still shows the image
    Source     Ho et al. 2020, equations 4 and 7; β̃_2 for β̃_1 as in its code
    """

    def __init__(self, beta, times=None):
        beta = np.asarray(beta, np.float64)
        if beta.ndim != 1 or not beta.size or not ((0 < beta) & (beta < 1)).all():
            raise ValueError(f"beta of {beta}: give one or more numbers between 0 and 1")
        self.T = len(beta)
        self.beta = _from_1(beta)
        self.alpha = 1 - self.beta
        self.alpha_bar = np.cumprod(self.alpha)
        before, now = self.alpha_bar[:-1], self.alpha_bar[1:]
        self.posterior_variance = _from_1(beta * (1 - before) / (1 - now))
        self.posterior_x0_coef = _from_1(beta * before**0.5 / (1 - now))
        self.posterior_x_t_coef = _from_1((1 - beta) ** 0.5 * (1 - before) / (1 - now))
        self.log_beta = _from_1(np.log(beta))
        first = self.posterior_variance[2:3] if self.T > 1 else beta
        self.log_posterior_variance = _from_1(np.log([*first, *self.posterior_variance[2:]]))
        self.times = np.arange(self.T + 1) if times is None else np.asarray(times)
        rises = self.times.shape == (self.T + 1,) and (np.diff(self.times, prepend=-1) > 0).all()
        if not rises or self.times.dtype.kind not in "iu":
            raise ValueError(f"times of {times}: give {self.T + 1} whole numbers that rise")
        self.t_of = np.zeros(self.times[-1] + 1, int)
        self.t_of[self.times] = np.arange(self.T + 1)
        signal = math.sqrt(self.alpha_bar[-1])
        if signal >= 0.01:
            warnings.warn(
                f"x_T still holds {signal:.3f} of the image, but sampling starts from pure noise; "
                "use larger betas or more steps, so that √ᾱ_T is below 0.01",
                stacklevel=1,  # always the same place, so that it is said once
            )

    def to(self, xp):
        """The same tables as arrays of `xp`: training need not send them to the GPU at every step.

        Samplers keep the NumPy tables, because they read single numbers.
        """
        there = copy.copy(self)
        for name, table in vars(self).items():
            if isinstance(table, np.ndarray):
                setattr(there, name, xp.asarray(table))
        return there

    def until(self, t):
        """The same process up to time t <= T, for images that are not pure noise, but noised to t.

        Every sampler begins at the end of its schedule, and so at such an image.
        """
        cut = copy.copy(self)
        cut.T = doors.whole("t", t, 1, self.T)
        for name, table in vars(self).items():
            if name != "t_of" and not isinstance(table, int):
                setattr(cut, name, table[: t + 1])
        return cut

    def index(self, told):
        """The times t (N,) of which the network is told times[t] = `told` (N,).

        Raises     ValueError for other times; on a GPU nobody looks
        """
        tables = array_module(self.t_of)
        xp = array_module(told) if tables is np else tables
        told = xp.asarray(told)
        if xp is np and not np.isin(told, self.times[1:]).all():
            raise ValueError(f"times {told}: this schedule has {self.times[1:]}")
        return xp.asarray(self.t_of)[told]

    @classmethod
    def linear(cls, T=1000):
        """β rises in a straight line from 0.0001 to 0.02; both are scaled by 1000 / T.

        The scaling leaves ᾱ_T where it is with 1000 steps: almost nothing of the image.
        Raises     ValueError if T is too small for that: 20 steps or fewer
        Source     Ho et al. 2020, section 4; scaling as in Nichol & Dhariwal 2021's code
        """
        if doors.whole("T", T, 1) <= 20:
            raise ValueError(f"a linear schedule of {T} steps: use more than 20")
        return cls(np.linspace(1e-4, 0.02, T) * (1000 / T))

    @classmethod
    def cosine(cls, T=1000):
        """ᾱ_t falls like a squared cosine; the linear schedule erases the image well before T.

            ᾱ_t = f(t) / f(0),  f(t) = cos²((t/T + 0.008) / 1.008 · π/2),  β_t at most 0.999

        Raises     ValueError unless T >= 2
        Source     Nichol & Dhariwal 2021, equation 17
        """
        if doors.whole("T", T, 1) < 2:
            raise ValueError(f"a cosine schedule of {T} steps: use 2 or more")
        f = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
        return cls(np.minimum(1 - f[1:] / f[:-1], 0.999))

    def respaced(self, steps, spacing="even"):
        """The same process seen at `steps` of its T times, or at a list of them, to sample faster.

            β'_i = 1 - ᾱ_{t_i} / ᾱ_{t_{i-1}}

        The network is still told the original time, `times[i]`.

        spacing    which times, unless they are listed: one of SPACINGS. All but "leading" and
                   "trailing" keep both ends; one step is at T
        Raises     ValueError unless 1 <= steps <= T, or for times or a spacing that are not there
        Source     Nichol & Dhariwal 2021, section 4; even times as in its code, from 0 there
        """
        listed = isinstance(steps, (tuple, list, np.ndarray))
        kept = doors.times(steps, len(steps), self.T) if listed else spaced(self, steps, spacing)
        kept = np.unique([0, *kept])
        return Schedule(1 - self.alpha_bar[kept[1:]] / self.alpha_bar[kept[:-1]], self.times[kept])


SCHEDULES = {"linear": Schedule.linear, "cosine": Schedule.cosine}


def _from_1(values):
    """A table (T + 1,) from the values for t = 1 .. T; entry 0 is 0."""
    return np.concatenate([[0.0], values])


def extract(table, t, like):
    """table[t] (N,) as (N, 1, ..., 1), on the device and with the precision of `like` (N, ...).

    A sampler's t is the same for all images: one number is then known here, and no table is sent.
    """
    xp = array_module(like)
    if isinstance(table, np.ndarray) and isinstance(t, np.ndarray) and len(set(t.tolist())) == 1:
        return xp.full((len(t), *[1] * (like.ndim - 1)), float(table[t[0]]), dtype=like.real.dtype)
    return per_image(xp.asarray(table)[xp.asarray(t)], like)


def network_time(t, like, schedule):
    """What a network is told (N,) of times t (N,): schedule.times[t], on the device of `like`."""
    xp = array_module(like)
    return xp.asarray(schedule.times)[xp.asarray(t)]


def per_image(values, like):
    """values (N,) as (N, 1, ..., 1), on the device and with the precision of `like` (N, ...)."""
    values = array_module(like).asarray(values).astype(like.real.dtype, copy=False)
    return values.reshape(-1, *[1] * (like.ndim - 1))
