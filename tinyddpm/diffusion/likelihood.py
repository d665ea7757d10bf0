"""How many bits per dimension a model needs for images: the variational bound, term by term."""

from typing import NamedTuple

import numpy as np

from .. import doors
from ..device import to_host
from .predictors import predict_x0
from .process import log_variance, mean_of_each, posterior_mean, q_sample
from .variational import bound, prior_bits


class BoundTerm(NamedTuple):
    """At time t, on the host: bits (N,) of the term L_{t-1}, squared errors (N,) of x0_hat."""

    t: int
    bits: np.ndarray
    squared_error: np.ndarray


def bound_terms(predict, x0, schedule, rng, variance="small"):
    """Yield the bound's `BoundTerm`s for t = T .. 1, each with noise of its own.

        bits of an image = prior_bits + Σ_t bits_t
        the term of t = 1 is the distortion, everything else the rate

    predict    eps_hat = predict(x_t, t), as samplers take it; x0_hat is clipped
    x0         images (N, ...) whose numbers are bytes / 127.5 - 1
    variance   "large", "small" or "learned": see `log_variance`
    Units      bits per dimension: natural logarithms, averaged over an image's numbers, by ln 2
    Source     Ho et al. 2020, equation 5 and section 4.3; Nichol & Dhariwal 2021, section 3
    """
    (x0,) = doors.images(x0=x0)
    doors.in_model_range(x0)
    for t in range(schedule.T, 0, -1):
        times = np.full(len(x0), t)
        x_t = q_sample(x0, times, rng.standard_normal(x0.shape, x0.dtype), schedule)
        x0_hat, _, v = predict_x0(predict, schedule, x_t, t)
        mean = posterior_mean(x0_hat, x_t, times, schedule)
        term = bound(x0, x_t, times, mean, log_variance(variance, v, times, schedule), schedule)
        errors = mean_of_each((x0_hat - x0) ** 2)
        yield BoundTerm(t, to_host(term.bits), to_host(errors))


class Likelihood(NamedTuple):
    """Bits per dimension, means over images; the curves (T,) begin with t = T.

    bits               rate + distortion: bits for x_1 .. x_T, and for the image when x_1 is known
    rates              bits so far, from L_T on, when x_t is known
    errors             root of the mean squared error of x0_hat then, in units of a byte
    """

    bits: float
    rate: float
    distortion: float
    rates: np.ndarray
    errors: np.ndarray


def bits_per_dimension(terms, x0, schedule):
    """The `Likelihood` of images x0 (N, ...) from all that `bound_terms` yielded for them.

    Raises     ValueError unless these are all terms of this schedule, t = T .. 1, and finite
    """
    terms, prior = list(terms), float(prior_bits(x0, schedule).mean())
    if [term.t for term in terms] != [*range(schedule.T, 0, -1)]:
        raise ValueError(f"{len(terms)} terms of a bound of {schedule.T}: give all, t = T .. 1")
    bits = np.array([term.bits.mean(dtype=float) for term in terms])
    doors.finite("bits", bits)
    rates = prior + np.concatenate([[0.0], np.cumsum(bits[:-1])])
    errors = 127.5 * np.sqrt([term.squared_error.mean() for term in terms])
    return Likelihood(rates[-1] + bits[-1], rates[-1], bits[-1], rates, errors)
