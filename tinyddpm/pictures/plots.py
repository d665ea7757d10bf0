"""Numbers as curves: the loss of a run, power spectra, rate and distortion."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..doors import finite
from .grids import INK, PAPER

FAINT, DOTS, CURVE, DATA = (215, 215, 215), (150, 170, 200), (200, 60, 30), (60, 90, 150)


class Axes:
    """A rectangle of a Pillow image with a scale at the left and one below, to draw curves in.

    box        (left, top, right, bottom) in pixels: what the curves may cover
    x_range, y_range   the numbers at its borders; y is logarithmic if `log` is set
    """

    def __init__(self, image, box, x_range, y_range, x_name, title, log=False):
        self.draw, self.font = ImageDraw.Draw(image), ImageFont.load_default(size=13)
        self.box, self.x_range, self.log = box, x_range, log
        self.y_range = [math.log10(y) for y in y_range] if log else y_range
        left, top, right, bottom = box
        for y in (_powers(*y_range) if log else []) or round_numbers(*y_range):
            level = self.point(0, y)[1]
            self.draw.line((left, level, right, level), FAINT)
            self.draw.text((left - 6, level), f"{y:g}", INK, self.font, anchor="rm")
        for x in round_numbers(*x_range):
            place = self.point(x, y_range[0])[0], bottom + 8
            self.draw.text(place, f"{x:,.9g}", INK, self.font, anchor="mt")
        self.draw.text((left, top - 24), title, INK, self.font)
        self.draw.text(((left + right) / 2, bottom + 28), x_name, INK, self.font, anchor="mt")

    def point(self, x, y):
        """Where (x, y) is in the picture; what is outside is moved to the border."""
        left, top, right, bottom = self.box
        y = math.log10(y) if self.log else y
        across, up = (
            min(max((value - low) / (high - low), 0), 1)
            for value, (low, high) in ((x, self.x_range), (y, self.y_range))
        )
        return left + across * (right - left), bottom - up * (bottom - top)

    def curve(self, x, y, color=CURVE):
        """A line through the points; of many points some are left out."""
        self.draw.line(self._points(x, y), color, width=2)

    def dots(self, x, y):
        """A dot for each point; of many points some are left out."""
        self.draw.point(self._points(x, y), DOTS)

    def _points(self, x, y):
        every = max(1, len(x) // 3000)
        return [self.point(*pair) for pair in zip(x[::every], y[::every])]


def loss_curve(losses, title="", size=(720, 400)):
    """The loss of every step and its moving average, on a logarithmic axis, as a Pillow image.

    losses     (steps,), finite; the axis goes from the smallest to the largest average
    """
    image = Image.new("RGB", size, PAPER)
    losses = np.maximum(finite("losses", np.asarray(losses, float)), 1e-12)  # it has no 0
    average, steps = smooth(losses), np.arange(1, len(losses) + 1)
    heights = average.min() * 0.8, average.max() * 1.1
    box = (62, 34, size[0] - 18, size[1] - 52)
    axes = Axes(image, box, (0, len(losses)), heights, "step", title, log=True)
    axes.dots(steps, losses)
    axes.curve(steps, average)
    return image


def spectrum(samples, data, title="", size=(720, 400)):
    """Two curves: the `power_spectrum` of samples, and that of the data to compare it with.

    A grid in the samples is a peak: in the middle of the axis for a period of four pixels.
    """
    image = Image.new("RGB", size, PAPER)
    f = data.frequency[1:]
    both = np.concatenate([samples.power[1:], data.power[1:]])
    box = (78, 34, size[0] - 18, size[1] - 52)
    heights = both.min() * 0.8, both.max() * 1.25
    axes = Axes(image, box, (0, 0.5), heights, "cycles per pixel", title, log=True)
    axes.curve(f, data.power[1:], DATA)
    axes.curve(f, samples.power[1:])
    for row, (text, color) in enumerate((("data", DATA), ("samples", CURVE))):
        place = box[2] - 8, box[1] + 8 + 18 * row
        axes.draw.text(place, text, color, axes.font, anchor="rt")
    return image


def rate_distortion(rate, distortion, title=""):
    """What a receiver of the bits for x_T .. x_t knows of the image, and what they cost.

    rate, distortion   (T,) for t = T .. 1: bits per dimension so far, and the root of the mean
                       squared error of the image seen so far, in units of a byte
    Source     Ho et al. 2020, figure 5
    """
    rate, distortion = finite("rate", rate), finite("distortion", distortion)
    steps = np.arange(len(rate))
    panels = (
        (steps, distortion, "steps T - t", "distortion (RMSE, of 255)"),
        (steps, rate, "steps T - t", "rate (bits per dimension)"),
        (rate, distortion, "rate (bits per dimension)", "distortion (RMSE, of 255)"),
    )
    image = Image.new("RGB", (340 * len(panels), 370), PAPER)
    ImageDraw.Draw(image).text((56, 12), title, INK, ImageFont.load_default(size=13))
    for i, (x, y, x_name, y_name) in enumerate(panels):
        box = (340 * i + 56, 74, 340 * i + 320, 310)
        axes = Axes(image, box, (0, max(x) or 1), (0, 1.05 * max(y) or 1), x_name, y_name)
        axes.curve(x, y)
    return image


def smooth(losses, window=100):
    """The mean of the last `window` losses at every step; of all so far where there are fewer."""
    total = np.cumsum(np.concatenate([[0.0], losses]))
    i = np.arange(1, len(losses) + 1)
    first = np.maximum(0, i - window)
    return (total[i] - total[first]) / (i - first)


def _powers(low, high):
    """Powers of ten between low and high; of up to four decades also 2 and 5 times them."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if len(powers) <= 5 else (1,)
    return [m * 10.0**p for p in powers for m in digits if low <= m * 10.0**p <= high]


def round_numbers(low, high):
    """Three to six round numbers at even distances between low and high."""
    power = 10.0 ** math.floor(math.log10((high - low) / 2))
    distance = next(m * power for m in (5, 2, 1, 0.5) if (high - low) / (m * power) >= 2)
    return [distance * i for i in range(math.ceil(low / distance), int(high / distance + 1e-9) + 1)]
