"""What a sampler asks: eps_hat = predict(x_t, t), made of any model, with guidance or without."""

import math

import numpy as np

from .. import doors
from ..device import array_module
from ..nn.tape import Tape
from .process import x0_and_eps
from .schedule import per_image


def predictor(model, theta, schedule, predicts="eps", label=None):
    """The model with these weights and labels as what samplers take: eps_hat = predict(x_t, t).

    schedule   the one that it was trained with, which knows the times that it is told
    predicts   what it answers with, "eps", "x0" or "v"; v, if it is learned, follows eps_hat
    At t = T, where hardly anything is left of x0, the way from another answer to eps and back costs
    x0 a few thousandths in float32; the first step of a sampler does not mind.
    Raises     ValueError for a time that the schedule does not have
    """

    def predict(x_t, t):
        answer, channels = model.forward(x_t, t, Tape(theta), label), x_t.shape[-1]
        prediction, v = answer[..., :channels], answer[..., channels:]
        _, eps_hat = x0_and_eps(prediction, x_t, schedule.index(t), schedule, predicts)
        return _join(eps_hat, v, axis=-1)

    return predict


def guided(eps_model, label, null, weight):
    """Classifier-free guidance as a `predict` for samplers: away from the unconditional answer.

        eps_hat = (1 + w) eps_θ(x_t, t, label) - w eps_θ(x_t, t, null)      w = weight

    eps_model  eps_hat = eps_model(x_t, t, label), here called once with twice the batch
    label      (N,); null is the null label that the model was trained with; w = 0: no guidance
    A learned variance, in the channels after the image's, is that of the label. Where others have
    a scale s with s = 1 for no guidance, s = 1 + w.
    Raises     ValueError for a weight that is no number from 0 on, or one without labels
    Source     Ho & Salimans 2022, arXiv:2207.12598, equation 6
    """
    if not 0 <= weight < math.inf or (weight and (label is None or null is None)):
        raise ValueError(f"guidance of {weight}: use 0, or a larger number with labels and null")

    def predict(x_t, t):
        if not weight:
            return eps_model(x_t, t, label)
        n, channels, asked = len(x_t), x_t.shape[-1], doors.labels(label, len(x_t), null)
        both = eps_model(_join(x_t, x_t), _join(t, t), _join(asked, null + 0 * asked))
        eps_hat = (1 + weight) * both[:n, ..., :channels] - weight * both[n:, ..., :channels]
        return _join(eps_hat, both[:n, ..., channels:], axis=-1)

    return predict


def _join(a, b, axis=0):
    return array_module(a).concatenate([a, b], axis)


def ask(predict, schedule, x, t):
    """eps_hat (N, ...) for x at step t as the network answers it, and v: see `predict_x0`."""
    (x,) = doors.images(x=x)
    answer, channels = predict(x, np.full(len(x), schedule.times[t])), x.shape[-1]
    if answer.shape not in (x.shape, (*x.shape[:-1], 2 * channels)):
        raise ValueError(
            f"an answer of shape {answer.shape} for images {x.shape}: predict gives eps_hat, and "
            "as many channels more if variances are learned"
        )
    return answer[..., :channels], answer[..., channels:]


def clipped(x0_hat, limit=1.0, share=0.0):
    """x0_hat (N, ...) within the range of images, -limit to limit; 0 for no limit.

    share      dynamic thresholding, if it is not 0: an image is first divided by so much that this
               share of its numbers is within the limit, and loses contrast rather than detail
    Source     Saharia et al. 2022, arXiv:2205.11487, section 2.3
    """
    if share and limit:
        sizes = abs(x0_hat).reshape(len(x0_hat), -1)
        reached = array_module(x0_hat).quantile(sizes, share, axis=1)
        x0_hat = x0_hat * per_image(limit / reached.clip(limit), x0_hat)
    return x0_hat.clip(-limit, limit) if limit else x0_hat


def predict_x0(predict, schedule, x, t, clip=clipped):
    """What the network sees in x (N, ...) at step t: (x0_hat, eps_hat, v).

    x0_hat is clipped, eps_hat the noise that goes with it, v (N, ...) what follows the image's
    channels in the answer: nothing, unless variances are learned. What is not finite stays so, as
    NaN: clipped, an infinite answer would look like an image.
    """
    times = np.full(len(x), t)
    answer, v = ask(predict, schedule, x, t)
    x0_hat = clip(x0_and_eps(answer, x, times, schedule)[0]) + 0 * answer
    return x0_hat, x0_and_eps(x0_hat, x, times, schedule, "x0")[1], v
