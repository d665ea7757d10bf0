"""The lessons on the U-Net's large layers."""

from learning.lesson import Lesson, Mistake
from learning.trials import LayerTrial


def norm(channels, groups):
    return lambda cls, layout: cls(layout, "norm", channels, groups)


GROUPNORM = Lesson(
    name="groupnorm",
    module="tinyddpm.nn.norm",
    target="GroupNorm",
    hole="GroupNorm.backward",
    question="""
        forward has kept x̂ and r, where every channel has the r of its group. Add the gradients of
        gain and bias to tape.grad, and return dx. x̂ has all pixels of an image in one axis: give
        dy its shape first, and dx that of dy at the end.
        - x moves y in three ways. One is by itself, through x̂ = (x - mean) r. Which are the others?
        - Call g the gradient of x̂. What is it? Start dx from g, not from dy.
        - Go back in small steps, from the bottom up: x̂ = centred r; r = (var + tiny)^-1/2;
          var = mean(centred²); centred = x - mean. A mean over M numbers gives each of them 1/M.
        - Put it together: then no loop over pixels is left. Means over a group: self._mean.
        - A check: in each group, what must Σ dx be, if a constant added to x changes nothing?
    """,
    hints=(
        "The three ways: x itself; the mean of its group, which moves a little with every pixel; "
        "and "
        "the group's variance. If dx is right with gain 1 only, g = gain dy was forgotten.",
        "dr = Σ g centred and dvar = -r³ dr / 2, so the variance gives each pixel 2 centred dvar "
        "/ M; "
        "the mean takes the average of all that off. All in all r times (g minus two terms).",
    ),
    rules=(2, 3),
    trial=LayerTrial("GroupNorm", norm(8, 2), {"x": (3, 5, 2, 8)}),
    special={
        "gain 1": LayerTrial("GroupNorm", norm(8, 2), {"x": (3, 5, 2, 8)}, weights={"dgain": 1}),
        "one image": LayerTrial("GroupNorm", norm(8, 2), {"x": (1, 5, 2, 8)}),
        "one group": LayerTrial("GroupNorm", norm(8, 1), {"x": (3, 5, 2, 8)}),
        "as many groups as channels": LayerTrial("GroupNorm", norm(8, 8), {"x": (3, 5, 2, 8)}),
    },
    constants={
        "2": 2,
        "N": 3,
        "the channels of a group": 4,
        "C": 8,
        "the pixels of an image": 10,
        "M, the numbers of a group": 40,
        "N · pixels": 30,
        "the numbers of an image": 80,
    },  # fmt: skip
    mistakes=(
        Mistake(
            "- self._mean(g) - x_hat * self._mean(g * x_hat)",
            "",
            "mean and variance are taken for constants: every pixel moves them a little, which "
            "costs dx two terms",
        ),
        Mistake(
            "- self._mean(g) ",
            "",
            "the way through the mean is lost: x moves the mean of its group, and with it all "
            "other pixels",
        ),
        Mistake(
            " - x_hat * self._mean(g * x_hat)",
            "",
            "the way through the variance is lost: x moves the variance of its group, and with it "
            "all other pixels",
        ),
        Mistake(
            "self.gain.of(tape.theta) * dy_pixels",
            "dy_pixels",
            "the gain is missing in dx: the gradient of x̂ is g = gain · dy, a step of its own",
        ),
        Mistake(
            "r * (g",
            "r * self.gain.of(tape.theta) * (g",
            "the gain is in dx twice: g = gain · dy has it already",
        ),
        Mistake(
            ("g = self.gain.of(tape.theta) * dy_pixels", "dx = r * ("),
            ("g = dy_pixels", "dx = self.gain.of(tape.theta) * r * ("),
            "the gain is multiplied after the means: it differs between the channels of a group, "
            "so it belongs inside of them, g = gain · dy",
        ),
        Mistake(
            "dx = r * (",
            "dx = (",
            "the factor r = 1/√(var + tiny) is missing in dx",
        ),
        Mistake(
            "dx = r * (g",
            "dx = r * (dy_pixels",
            "the first term is dy, where g = gain · dy belongs: the gain is missing in it",
        ),
        Mistake(
            "self.gain.of(tape.theta) * dy_pixels",
            "dy_pixels / self.gain.of(tape.theta)",
            "dy is divided by the gain: y = gain x̂, so g = gain · dy",
        ),
        Mistake(
            "self.gain.of(tape.theta) * dy_pixels",
            "self.bias.of(tape.theta) * dy_pixels",
            "the bias stands where the gain belongs, g = gain · dy",
        ),
        Mistake(
            "self.gain.of(tape.theta) * dy_pixels",
            "self.gain.of(tape.theta) * dy_pixels + self.bias.of(tape.theta)",
            "the bias is in g: it is only added, the gradient of x̂ is gain · dy",
        ),
        Mistake(
            "- self._mean(g) -",
            "+ self._mean(g) -",
            "the way through the mean has the wrong sign: centred = x - mean",
        ),
        Mistake(
            "- x_hat * self",
            "+ x_hat * self",
            "the way through the variance has the wrong sign: r falls when the variance rises",
        ),
        Mistake(
            "self._mean(g * x_hat)",
            "self._mean(g * x_hat) / 2",
            "the way through the variance is halved: the square's 2 cancels the 1/2 of the root, "
            "and "
            "one of them was forgotten",
        ),
        Mistake(
            "self._mean(g * x_hat)",
            "self._mean(g * x_hat) * 2",
            "the way through the variance is doubled: the square's 2 cancels the 1/2 of the "
            "root, and "
            "one of them was forgotten",
        ),
        Mistake(
            "x_hat * self._mean(g * x_hat)",
            "x_hat * r * r * self._mean(g * x_hat)",
            "the way through the variance has r² too much: x̂ is centred · r already",
        ),
        Mistake(
            "x_hat * self._mean(g * x_hat)",
            "x_hat / r * self._mean(g * x_hat)",
            "the way through the variance has centred where x̂ belongs: one r is missing there",
        ),
        Mistake(
            "dx = r * (",
            "dx = r * r * r * (",
            "r is in dx twice too often",
        ),
        Mistake(
            "(dy_pixels * x_hat)",
            "(dy_pixels * x_hat * r)",
            "dgain has one r too many: y = gain · x̂, so dgain = Σ dy x̂",
        ),
        Mistake(
            "dx = r * (",
            "dx = r * r * (",
            "r is in dx once too often",
        ),
        Mistake(
            "dx = r * (",
            "dx = 1 / r * (",
            "dx is divided by r where it is multiplied: r is 1/√var already",
        ),
        Mistake(
            "x_hat * self._mean(g * x_hat)",
            "x_hat * r * self._mean(g * x_hat)",
            "the way through the variance has one r too many",
        ),
        Mistake(
            "self._mean(g) - x_hat * self._mean(g * x_hat)",
            "self._mean(dy_pixels) - x_hat * self._mean(dy_pixels * x_hat)",
            "the means are taken of dy, without the gain: they go over g = gain · dy",
        ),
        Mistake(
            "x_hat * self._mean(g * x_hat)",
            "self._mean(g * x_hat)",
            "the way through the variance ends with x̂: each pixel moves the variance by its own x̂",
        ),
        Mistake(
            "self._mean(g * x_hat)",
            "self._mean(g)",
            "the way through the variance is mean(g x̂), not mean(g)",
        ),
        Mistake(
            "self._mean(g * x_hat)",
            "self._mean(g * x_hat * x_hat)",
            "the way through the variance is x̂ mean(g x̂): one x̂ stands outside of the mean",
        ),
        Mistake(
            "sum(axis=(0, 1))",
            "mean(axis=(0, 1))",
            "dgain and dbias are means: gain and bias were copied to all pixels, so they get sums "
            "(rule 3)",
        ),
        Mistake(
            "(dy_pixels * x_hat).sum(axis=(0, 1))",
            "(dy_pixels * x_hat / r).sum(axis=(0, 1))",
            "dgain is multiplied by the centred x, not by x̂: y = gain · x̂",
        ),
        Mistake(
            "(dy_pixels * x_hat)",
            "(self.gain.of(tape.theta) * dy_pixels * x_hat)",
            "the gain is in its own gradient: y = gain · x̂, so dgain = Σ dy x̂",
        ),
        Mistake(
            "(dy_pixels * x_hat)",
            "(dy_pixels)",
            "x̂ is missing in dgain: y = gain · x̂, so dgain = Σ dy x̂; Σ dy is dbias",
        ),
        Mistake(
            "dbias += dy_pixels",
            "dbias += self.gain.of(tape.theta) * dy_pixels",
            "the gain is in dbias: bias is added behind the gain, so dbias = Σ dy",
        ),
        Mistake(
            "dx = r * (g - self._mean(g) - x_hat * self._mean(g * x_hat))",
            "mean = lambda a: self._mean(a).mean(axis=0, keepdims=True); "
            "dx = r * (g - mean(g) - x_hat * mean(g * x_hat))",
            "the means go over the batch, too: each image has statistics of its own; a mean over "
            "the batch is BatchNorm's",
        ),
        Mistake(
            "dx = r * (g - self._mean(g) - x_hat * self._mean(g * x_hat))",
            "mean = lambda a: a.mean(axis=1, keepdims=True); "
            "dx = r * (g - mean(g) - x_hat * mean(g * x_hat))",
            "the means go over the pixels only: a group has several channels, with statistics in "
            "common",
        ),
        Mistake(
            "dx = r * (g - self._mean(g) - x_hat * self._mean(g * x_hat))",
            "mean = lambda a: a.mean(axis=(1, 2), keepdims=True); "
            "dx = r * (g - mean(g) - x_hat * mean(g * x_hat))",
            "the means go over all channels: each group has statistics of its own",
        ),
        Mistake(
            "dx = r * (g - self._mean(g) - x_hat * self._mean(g * x_hat))",
            "mean = lambda a: a.mean(axis=2, keepdims=True); "
            "dx = r * (g - mean(g) - x_hat * mean(g * x_hat))",
            "the means go over the channels of a pixel: that is LayerNorm in a transformer; here "
            "they go over the pixels and channels of a group",
        ),
        Mistake(
            "dx = r * (g - self._mean(g) - x_hat * self._mean(g * x_hat))",
            "dx = r * (g - g.mean() - x_hat * (g * x_hat).mean())",
            "the means go over everything: each group of each image has statistics of its own",
        ),
        Mistake(
            "dx = r * (g - self._mean(g) - x_hat * self._mean(g * x_hat))",
            "M = dy[0].size // self.groups; "
            "dx = r * (g - M * self._mean(g) - M * x_hat * self._mean(g * x_hat))",
            "sums stand where means belong: a mean over M numbers gives each of them 1/M",
        ),
    ),
)
