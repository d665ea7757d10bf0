"""A small classifier of the project's own layers: its last hidden layer is what images are compared
by, where comparing pixels would say little."""

from dataclasses import dataclass

import numpy as np

from ..config import ABOVE_0, BELOW_1, COUNT, FROM_0, check, setting
from ..data import to_model_range
from ..device import array_module
from ..nn.layers import Conv3x3, Dropout, GroupNorm, Linear, NormSiLU, SiLU
from ..nn.tape import Layout, Tape
from ..randomness import generator


@dataclass(frozen=True)
class ClassifierConfig:
    """The classifier and its training."""

    image_size: int = setting(28, "pixels a side", COUNT)
    image_channels: int = setting(1, "1 for grey, 3 for colours", COUNT)
    classes: int = setting(10, "how many labels there are", COUNT)
    base: int = setting(16, "channels of the first convolution", COUNT)
    features: int = setting(128, "numbers in the last hidden layer", COUNT)
    groups: int = setting(8, "groups of GroupNorm", COUNT)
    dropout: float = setting(0.3, "share of the features dropped in training", BELOW_1)
    shift: int = setting(2, "pixels that a training image is moved by, at most", FROM_0)
    flips: bool = setting(False, "whether half of the training images are mirrored", (False, True))
    epochs: int = setting(3, "how often it sees every training image", COUNT)
    batch: int = setting(128, "images for each step", COUNT)
    lr: float = setting(2e-3, "learning rate after the warm-up", ABOVE_0)
    seed: int = setting(0, "of everything that is random", FROM_0)

    def __post_init__(self):
        check(self)
        if self.image_size % 4:
            raise ValueError(
                f"images of {self.image_size} pixels a side: the classifier halves them twice, "
                "so use a multiple of 4"
            )

    @classmethod
    def of(cls, dataset):
        """What suits a Dataset. Photographs are as good mirrored, and harder than digits."""
        _, size, _, channels = dataset.images.shape
        photographs = {"base": 32, "flips": True, "epochs": 10} if channels == 3 else {}
        return cls(size, channels, int(dataset.labels.max()) + 1, **photographs)


class Classifier:
    """Says which class an image is of, and what it saw before it said so.

        features, logits = classifier.forward(x, tape)      x (N, H, W, C) in [-1, 1]
                                                            features (N, F)   logits (N, K)

    Four convolutions, each with GroupNorm and SiLU behind it, of which two halve the image; a
    hidden layer, whose numbers are the features; and a Linear that decides by them alone.

    layout     the addresses of all parameters
    Backward   `backward(dlogits, tape)` adds to tape.grad and returns the gradient of x: the layers
               stand in a row, so it goes through them from the last to the first (rule 5)
    """

    def __init__(self, config):
        self.config = config
        self.layout = layout = Layout()
        c, c_in = config.base, config.image_channels
        self.body = []
        for i, (c_out, stride) in enumerate([(c, 2), (2 * c, 1), (4 * c, 2), (4 * c, 1)]):
            self.body.append(Conv3x3(layout, f"conv{i}", c_in, c_out, stride))
            self.body.append(NormSiLU(GroupNorm(layout, f"norm{i}", c_out, config.groups)))
            c_in = c_out
        self.side = config.image_size // 4  # of the image after the body
        self.hidden = [Linear(layout, "hidden", self.side**2 * c_in, config.features), SiLU()]
        self.top = [Dropout(config.dropout), Linear(layout, "top", config.features, config.classes)]

    def forward(self, x, tape):
        h = _through(self.body, x, tape)
        features = _through(self.hidden, h.reshape(len(h), -1), tape)
        return features, _through(self.top, features, tape)

    def backward(self, dlogits, tape):
        dh = _back_through(self.hidden + self.top, dlogits, tape)
        dh = dh.reshape(len(dh), self.side, self.side, -1)
        return _back_through(self.body, dh, tape)

    def gradient(self, theta, grad, step, part, images, label):
        """The job of `Workers`: a share of a batch of bytes, moved a little; each image's loss."""
        config = self.config
        rng = generator(config.seed, "training", step, part)
        x = moved(to_model_range(images).astype(theta.dtype), config.shift, config.flips, rng)
        tape = Tape(theta, grad, rng)
        _, logits = self.forward(x, tape)
        loss, dlogits = cross_entropy(logits, label)
        self.backward(dlogits / config.batch, tape)
        return loss

    def look(self, theta, images):
        """The job of `Workers`: features, and behind them logits, (N, F + K) of images, bytes."""
        x = to_model_range(images).astype(theta.dtype)
        return np.concatenate(self.forward(x, Tape(theta)), axis=1)


def _through(layers, x, tape):
    for layer in layers:
        x = layer.forward(x, tape)
    return x


def _back_through(layers, dy, tape):
    for layer in reversed(layers):
        dy = layer.backward(dy, tape)
    return dy


def cross_entropy(logits, label):
    """How surprised the classifier is by each image's label, and which logits would change that.

        p = softmax(logits)      loss = -log p[label]         logits (N, K)   label, loss (N,)

    Returns (loss, dlogits).
    Backward   dlogits = p - onehot(label): as ∂(log Σ exp logits) / ∂logits = p. A mean over images
               divides it by their number
    """
    xp = array_module(logits)
    rows = xp.arange(len(label))
    shifted = logits - logits.real.max(axis=1, keepdims=True)  # so that nothing can overflow
    powers = xp.exp(shifted)
    total = powers.sum(axis=1, keepdims=True)
    loss = xp.log(total[:, 0]) - shifted[rows, label]
    dlogits = powers / total
    dlogits[rows, label] -= 1
    return loss, dlogits


def moved(images, shift, flips, rng):
    """Images (N, H, W, C), each moved by up to `shift` pixels; what comes in repeats the border.

    flips      whether each is mirrored with probability 1/2
    """
    n, h, w, _ = images.shape
    down, right = rng.integers(-shift, shift + 1, (2, n, 1))
    y = np.clip(np.arange(h) + down, 0, h - 1)  # (N, H): where each row comes from
    x = np.clip(np.arange(w) + right, 0, w - 1)
    if flips:
        x = np.where(rng.random((n, 1)) < 0.5, x, x[:, ::-1])
    return images[np.arange(n)[:, None, None], y[:, :, None], x[:, None]]
