"""The network of the Fréchet Inception distance and the Inception score: images in, features out.

It is Inception v3 as it was published for TensorFlow in 2015, forward only, and not the one that
torchvision has: it knows 1,008 classes, its average pools do not count the border, and its last
pool but one takes the largest number where all others of its kind take the mean.

Source     Szegedy et al. 2015, arXiv:1512.00567; Heusel et al. 2017, arXiv:1706.08500, for FID;
           Salimans et al. 2016, arXiv:1606.03498, for the score; the weights' file is that of
           M. Seitzer's pytorch-fid
"""

import hashlib
from pathlib import Path

import numpy as np

from ..data.batches import to_model_range
from ..data.cache import data_folder
from ..data.download import DataUnavailable, fetch
from ..device import array_module
from ..files import atomic_write
from ..interop.torch_file import read_torch
from ..progress import Progress
from .convolution import convolve, pool, resize

NAME = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{NAME}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIZE = 95_628_359  # bytes
SIDE = 299  # pixels that the network looks at
TINY = 1e-3  # of its batch norms
POOLS = {"max", "mean"}

# A path is a chain of convolutions, called by their names, and pools. "/2": two pixels at a time.
STEM = "Conv2d_1a_3x3/2 Conv2d_2a_3x3 Conv2d_2b_3x3 max/2 Conv2d_3b_1x1 Conv2d_4a_3x3 max/2"
NO_BORDER = {"Conv2d_2a_3x3", "Conv2d_4a_3x3"}  # besides all that go two pixels at a time

# A block goes several paths from the same place; their channels are put side by side.
SQUARE = (
    "branch1x1",
    "branch5x5_1 branch5x5_2",
    "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3",
    "mean branch_pool",
)
LONG = (
    "branch1x1",
    "branch7x7_1 branch7x7_2 branch7x7_3",
    "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5",
    "mean branch_pool",
)
FORKED = (
    "branch1x1",
    "branch3x3_1 branch3x3_2a",
    "branch3x3_1 branch3x3_2b",
    "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a",
    "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3b",
)
SMALLER = ("branch3x3/2", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3/2", "max/2")
SMALLER_AGAIN = (
    "branch3x3_1 branch3x3_2/2",
    "branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4/2",
    "max/2",
)
BLOCKS = {
    "": (STEM,),
    "Mixed_5b": SQUARE, "Mixed_5c": SQUARE, "Mixed_5d": SQUARE,
    "Mixed_6a": SMALLER,
    "Mixed_6b": LONG, "Mixed_6c": LONG, "Mixed_6d": LONG, "Mixed_6e": LONG,
    "Mixed_7a": SMALLER_AGAIN,
    "Mixed_7b": (*FORKED, "mean branch_pool"), "Mixed_7c": (*FORKED, "max branch_pool"),
}  # fmt: skip


def load_inception(path=None):
    """The network with its published weights, from a file; if none is named, from the cache.

    What is not in the cache yet is downloaded.
    Raises     DataUnavailable that says where to put the file; OSError if it cannot be read;
               ValueError if it is another file
    """
    if path is None:
        path = data_folder() / "inception" / NAME
        if not path.exists():
            _download(path)
    _check(Path(path).read_bytes(), path)
    return Inception(read_torch(path))


def _download(path):
    try:
        content, _ = fetch(NAME, [URL], SIZE, lambda content: _check(content, URL))
    except DataUnavailable as error:
        raise DataUnavailable(
            f"{error}; put this file ({SIZE:,} bytes, SHA-256 {SHA256[:8]}...) into {path.parent}"
        ) from None
    with atomic_write(path) as file:
        file.write(content)


def _check(content, place):
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(f"{place} is not {NAME}: its {len(content):,} bytes have another SHA-256")


class Inception:
    """The network with these weights {PyTorch's name: array}.

    Raises     ValueError if weights are missing
    """

    def __init__(self, weights):
        self.layers = {}
        try:
            for block, paths in BLOCKS.items():
                for step in " ".join(paths).replace("/2", "").split():
                    if step not in POOLS:
                        self.layers[_name(block, step)] = _folded(weights, _name(block, step))
            self.W = weights["fc.weight"].T
        except KeyError as error:
            raise ValueError(f"there are no weights {error}: this is another network") from None

    def __call__(self, images, chunk=16):
        """features (N, 2048) and probabilities (N, 1008) of images (N, H, W, C), `chunk` at a time.

        The features are what FID compares. The probabilities are those of the Inception score: of
        logits without their bias, as Salimans et al. computed them.

        images     bytes, or floats in [-1, 1], of any size, on any device; one channel is taken
                   three times. Samples should be rounded to bytes, as real images were. All are
                   resized as in pytorch-fid: linear between the middles of pixels, never smoothed
        Raises     ValueError for images of another shape
        """
        if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
            raise ValueError(f"images of shape {images.shape}: give (N, H, W, 1) or (N, H, W, 3)")
        xp = array_module(images)
        layers = {name: [xp.asarray(a) for a in layer] for name, layer in self.layers.items()}
        parts = []
        with Progress("Inception looks at images", len(images), unit="images") as progress:
            for i in range(0, len(images), chunk):
                parts.append(_features(images[i : i + chunk], layers))
                progress.show(min(i + chunk, len(images)))
            progress.clear()
        features = xp.concatenate(parts)
        logits = features @ xp.asarray(self.W)
        powers = xp.exp(logits - logits.max(axis=1, keepdims=True))
        return features, powers / powers.sum(axis=1, keepdims=True)


def _folded(weights, name):
    """A convolution and its batch norm as one: W (kh, kw, C, D) and b (D,)."""
    gain, bias, mean, variance = (
        weights[f"{name}.bn.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / np.sqrt(variance + TINY)
    W = weights[f"{name}.conv.weight"].transpose(2, 3, 1, 0) * scale
    return np.ascontiguousarray(W), bias - mean * scale


def _features(images, layers):
    x = to_model_range(images) if images.dtype == np.uint8 else images.astype(np.float32)
    x = resize(x, SIDE)
    x = x.repeat(3 // x.shape[-1], axis=-1)
    for block, paths in BLOCKS.items():
        x = _block(x, layers, block, paths)
    return x.mean(axis=(1, 2))


def _block(x, layers, block, paths):
    """The ends of all paths side by side; where paths begin alike, they are walked once."""
    known, ends = {"": x}, []
    for path in paths:
        done = ""
        for step in path.split():
            before, done = done, f"{done} {step}"
            if done not in known:
                known[done] = _step(known[before], layers, block, step)
        ends.append(known[done])
    return array_module(x).concatenate(ends, axis=-1)


def _step(x, layers, block, step):
    kind, _, stride = step.partition("/")
    stride = int(stride or 1)
    if kind in POOLS:
        return pool(x, kind, stride)
    W, b = layers[_name(block, kind)]
    y = convolve(x, W, stride, border=stride == 1 and kind not in NO_BORDER) + b
    return array_module(x).maximum(y, 0)


def _name(block, step):
    return f"{block}.{step}" if block else step
