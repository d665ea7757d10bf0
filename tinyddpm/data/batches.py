"""Images to learn from, in batches."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .. import doors
from ..randomness import generator


class Dataset(NamedTuple):
    """Images to learn from: bytes (N, H, W, C), labels (N,) from 0 on, a name for files.

    `label_names` says what the labels are called, where they are not just numbers; `source` what
    `load_dataset` needs besides the name to find your own pictures again.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    label_names: tuple = ()
    source: dict = {}


def labelled(name, images, labels):
    """The Dataset with labels of any kind (N,), counted from 0 in their order.

    What they were before are their names, unless there is only one, or they were counted already.
    """
    known, numbers = np.unique(labels, return_inverse=True)
    counted = len(known) == 1 or np.array_equal(known, np.arange(len(known)))
    names = () if counted else tuple(map(str, known))
    return Dataset(name, images, numbers.astype(np.int64), names)


def check_dataset(dataset, image_shape, classes, batch):
    """The data set with labels of int64, if a U-Net for images (H, W, C) can learn from it.

    Raises     ValueError if not, or if its labels are none of 0 to classes - 1
    """
    images, labels = np.asarray(dataset.images), np.asarray(dataset.labels)
    dataset = dataset._replace(images=images, labels=labels)
    count, *shape = images.shape
    if tuple(shape) != image_shape:
        raise ValueError(
            f"{dataset.name} has images of shape {tuple(shape)}, but the U-Net is for {image_shape}"
        )
    if dataset.images.dtype != np.uint8 or len(dataset.labels) != count:
        raise ValueError(
            f"{dataset.name} has {count} images of {dataset.images.dtype} and "
            f"{len(dataset.labels)} labels: give bytes, and a label for each (0 if there are none)"
        )
    if classes and (labels.ndim != 1 or labels.dtype.kind not in "iu"):
        raise ValueError(
            f"{dataset.name} has labels of {labels.dtype} {labels.shape}: give whole numbers (N,)"
        )
    if classes and not 0 <= dataset.labels.min() <= dataset.labels.max() < classes:
        raise ValueError(
            f"{dataset.name} has labels from {dataset.labels.min()} to {dataset.labels.max()}, "
            f"but the U-Net has {classes} classes: they count from 0"
        )
    if batch > count:
        raise ValueError(f"a batch of {batch} from {count} images: use a smaller batch")
    return dataset._replace(labels=labels.astype(np.int64)) if classes else dataset


def to_model_range(images):
    """Bytes 0 .. 255 as float32 in [-1, 1]: x / 127.5 - 1 (Ho et al. 2020, section 3.3).

    Raises     ValueError for other numbers: of [0, 1] it would make -1 ... -0.992
    """
    images = doors.as_bytes(images)
    return images.astype(np.float32) / 127.5 - 1


def batch_indices(count, batch, step, seed):
    """Which of `count` images are in the batch of a step; a function of (seed, step) alone.

    Every epoch is a new random order, cut into count // batch batches; what is left over rests.
    """
    epoch, k = divmod(step, count // batch)
    return _order(count, seed, epoch)[k * batch : (k + 1) * batch]


@lru_cache(maxsize=1)
def _order(count, seed, epoch):
    return generator(seed, "order", epoch).permutation(count)
