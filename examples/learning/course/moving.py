"""The lessons on layers that only copy, add and join."""

from learning.lesson import Lesson, Mistake
from learning.trials import LayerTrial

UPSAMPLE = Lesson(
    name="upsample",
    module="tinyddpm.nn.resample",
    target="Upsample",
    hole="Upsample.backward",
    question="""
        Every pixel is written four times. Backward gets dy (N, 2H, 2W, C) and must return dx with
        the shape of x.
        - A number is copied four times, and each copy gets a gradient. What is the number's?
        - Does backward undo forward, or is it the transpose of it? Try one pixel: x = 5, dy = 1 for
          all four copies. An inverse would give the mean. What does dx say about the loss?
    """,
    hints=(
        "Copied forward, summed backward (rule 3): dx is a sum of four, not their mean, and not "
        "one "
        "of them.",
        "Reshape dy to (N, H, 2, W, 2, C): then the four copies stand along two axes of their own.",
    ),
    rules=(1, 3),
    trial=LayerTrial("Upsample", lambda cls, y: cls(), {"x": (3, 2, 5, 3)}),
    constants={"2": 2, "the four copies": 4, "N": 3},
    mistakes=(
        Mistake(
            "sum(axis=(2, 4))",
            "mean(axis=(2, 4))",
            "it is the mean of the four copies' gradients: the transpose of copying is the sum "
            "(rule 3); the mean would be an inverse",
        ),
        Mistake(
            "sum(axis=(2, 4))",
            "mean(axis=2).sum(axis=3)",
            "two of the four copies are averaged: all of them add up (rule 3)",
        ),
        Mistake(
            "dy.reshape(n, h // 2, 2, w // 2, 2, c).sum(axis=(2, 4))",
            "dy[:, ::2, ::2]",
            "it is one of the four copies' gradients: a pixel was read four times, so four add up "
            "(rule 3)",
        ),
        Mistake(
            "dy.reshape(n, h // 2, 2, w // 2, 2, c).sum(axis=(2, 4))",
            "dy[:, 1::2, 1::2]",
            "it is one of the four copies' gradients: a pixel was read four times, so four add up "
            "(rule 3)",
        ),
        Mistake(
            ".sum(axis=(2, 4))",
            "[:, :, 0, :, 0] * 4",
            "one of the four copies counts four times: each copy has a gradient of its own (rule "
            "3)",
        ),
        Mistake(
            ".sum(axis=(2, 4))",
            ".mean(axis=(2, 4)) / 4",
            "it is divided by 4 twice: the four copies' gradients add up (rule 3)",
        ),
        Mistake(
            ".sum(axis=(2, 4))",
            ".trace(axis1=2, axis2=4)",
            "only two of the four copies are summed, those on a diagonal: all four add up (rule 3)",
        ),
        Mistake(
            ".sum(axis=(2, 4))",
            "[:, :, 0].sum(axis=3)",
            "only two of the four copies are summed, those in a row: all four add up (rule 3)",
        ),
        Mistake(
            ".sum(axis=(2, 4))",
            "[..., 0, :].sum(axis=2)",
            "only two of the four copies are summed, those in a column: all four add up (rule 3)",
        ),
        Mistake(
            ".sum(axis=(2, 4))",
            ".max(axis=(2, 4))",
            "it is the largest of the four copies' gradients: that would be pooling; here all four "
            "add up (rule 3)",
        ),
        Mistake(
            "reshape(n, h // 2, 2, w // 2, 2, c).sum(axis=(2, 4))",
            "reshape(n, 2, h // 2, 2, w // 2, c).sum(axis=(1, 3))",
            "the wrong pixels are summed: copies of a pixel are neighbours, 2i and 2i + 1, so the "
            "axis of 2 comes behind H and W in the reshape",
        ),
        Mistake(
            "dy.reshape(n, h // 2, 2, w // 2, 2, c).sum(axis=(2, 4))",
            "dy[:, : h // 2, : w // 2]",
            "a corner of dy is cut out: pixel [i, j] was copied to [2i, 2j] and its neighbours",
        ),
        Mistake(
            "dy.reshape(n, h // 2, 2, w // 2, 2, c).sum(axis=(2, 4))",
            "dy",
            "dy is returned as it is, with too many pixels: dx has the shape of x (rule 1)",
        ),
    ),
)

CONCAT = Lesson(
    name="concat",
    module="tinyddpm.nn.concat",
    target="Concat",
    hole="Concat.backward",
    question="""
        forward joins a and b along the channels and keeps the number of a's channels. Backward
        returns two gradients, da and db.
        - Which part of y did a write? May it have another number of channels than b?
        - Is anything added, halved, or only cut?
    """,
    hints=(
        "Each number of a and b is in y once, so nothing is added: dy is cut where y was joined.",
        "a has the first C channels, b the rest. The tape remembers C: dy alone does not tell it.",
    ),
    rules=(4,),
    trial=LayerTrial("Concat", lambda cls, y: cls(), {"a": (3, 4, 2, 2), "b": (3, 4, 2, 5)}),
    special={
        "a and b with equally many channels": LayerTrial(
            "Concat", lambda cls, y: cls(), {"a": (3, 4, 2, 2), "b": (3, 4, 2, 2)}
        ),
        "2 and 3 channels": LayerTrial(
            "Concat", lambda cls, y: cls(), {"a": (3, 4, 2, 2), "b": (3, 4, 2, 3)}
        ),
    },
    constants={"2": 2, "N": 3},
    mistakes=(
        Mistake(
            "return dy[..., :c].copy(), dy[..., c:]",
            "return dy[..., c:], dy[..., :c]",
            "the two parts are swapped: a's channels come first in y",
        ),
        Mistake(
            "c = tape.pop(self)",
            "tape.pop(self); c = dy.shape[-1] // 2",
            "dy is cut in the middle: a and b need not have equally many channels; C is on the "
            "tape",
        ),
        Mistake(
            "c = tape.pop(self)",
            "tape.pop(self); c = -(-dy.shape[-1] // 2)",
            "dy is cut in the middle: a and b need not have equally many channels; C is on the "
            "tape",
        ),
        Mistake(
            "return dy[..., :c].copy(), dy[..., c:]",
            "return dy[..., -c:], dy[..., :-c]",
            "dy is cut from the wrong end: a's C channels come first in y",
        ),
        Mistake(
            "return dy[..., :c].copy(), dy[..., c:]",
            "return dy[..., :c] / 2, dy[..., c:] / 2",
            "both are halved: every number of a and b is in y once, so nothing is shared or "
            "averaged",
        ),
        Mistake(
            "return dy[..., :c].copy(), dy[..., c:]",
            "return dy[:, :c], dy[:, c:]",
            "dy is cut along the rows: a and b were joined along the channels, the last axis",
        ),
        Mistake(
            "return dy[..., :c].copy(), dy[..., c:]",
            "return dy[..., 0::2], dy[..., 1::2]",
            "every second channel is taken: a's channels stand together in front of b's",
        ),
        Mistake(
            "return dy[..., :c].copy(), dy[..., c:]",
            "return dy[..., :c], dy",
            "all of dy goes to b: it wrote only the channels behind a's",
        ),
        Mistake(
            "return dy[..., :c].copy(), dy[..., c:]",
            "return dy[..., :c], dy[..., :c]",
            "both get a's part: b's channels are those behind",
        ),
        Mistake(
            "return dy[..., :c].copy(), dy[..., c:]",
            "return dy[..., :c], dy[..., c + 1 :]",
            "a channel between the two parts is lost: b begins at channel C",
        ),
        Mistake(
            "return dy[..., :c].copy(), dy[..., c:]",
            "return dy, dy",
            "all of dy goes to both: a wrote only the first C channels of y, b only the others",
        ),
    ),
)

ADD_TO_PIXELS = Lesson(
    name="addtopixels",
    module="tinyddpm.nn.broadcast",
    target="AddToPixels",
    hole="AddToPixels.backward",
    question="""
        One vector is added to all H·W pixels of an image. Backward returns two gradients, dx and
        dvector, and needs no memory of forward.
        - x is added as it is. What is dx?
        - vector[n] was copied to all pixels of image n, and to no other image. What is dvector, and
          which shape has it?
    """,
    hints=(
        "What forward copied, backward sums (rule 3): over which axes was vector copied?",
        "dvector has the shape of vector, (N, C): the sum goes over rows and columns, each image "
        "by itself.",
    ),
    rules=(1, 3),
    trial=LayerTrial("AddToPixels", lambda cls, y: cls(), {"x": (3, 5, 2, 4), "vector": (3, 4)}),
    special={
        "one pixel": LayerTrial(
            "AddToPixels", lambda cls, y: cls(), {"x": (3, 1, 1, 4), "vector": (3, 4)}
        ),
    },
    constants={"2": 2, "N": 3, "H": 5, "the pixels of an image": 10, "C": 4},
    mistakes=(
        Mistake(
            "sum(axis=(1, 2))",
            "mean(axis=(1, 2))",
            "dvector is a mean over the pixels: it was copied to each, so it gets the sum (rule 3)",
        ),
        Mistake(
            "dy.sum(axis=(1, 2))",
            "dy[:, 0, 0]",
            "dvector comes from one pixel: all of them used it, so their gradients add (rule 3)",
        ),
        Mistake(
            "sum(axis=(1, 2))",
            "sum(axis=(0, 1, 2))",
            "dvector is summed over the images, too: each image has a vector of its own",
        ),
        Mistake(
            "dy.sum(axis=(1, 2))",
            "dy",
            "dvector lacks the sum over the pixels: it was copied to each of them (rule 3)",
        ),
        Mistake(
            "dy.sum(axis=(1, 2))",
            "dy.sum(axis=1)",
            "dvector is summed over the rows only: it was copied along the columns, too (rule 3)",
        ),
        Mistake(
            "dy.sum(axis=(1, 2))",
            "dy.sum(axis=2)",
            "dvector is summed over the columns only: it was copied along the rows, too (rule 3)",
        ),
        Mistake(
            "dy.sum(axis=(1, 2))",
            "dy.sum(axis=3)",
            "dvector is summed over the channels: it was copied along rows and columns (rule 3)",
        ),
        Mistake(
            "return dy, dy.sum(axis=(1, 2))",
            "return dy + dy.sum(axis=(1, 2))[:, None, None], dy.sum(axis=(1, 2))",
            "dx gets the vector's gradient, too: x was only added, dx = dy",
        ),
        Mistake(
            "return dy, dy.sum(axis=(1, 2))",
            "return dy.mean(axis=(1, 2), keepdims=True) + 0 * dy, dy.sum(axis=(1, 2))",
            "dx is averaged over the pixels: each pixel has a gradient of its own, dx = dy",
        ),
        Mistake(
            "return dy, dy.sum(axis=(1, 2))",
            "return dy.sum(axis=(1, 2)), dy",
            "the two results are swapped: dx comes first",
        ),
    ),
)
