"""Your own pictures, in whatever form they are."""

import hashlib
from pathlib import Path

import numpy as np

from .arrays import images_in, load_arrays
from .download import DataUnavailable
from .folder import load_folder

KNOWN = ("mnist", "cifar10", "cifar10-copy", "offline-digits")  # names that mean something else


def load_own(path, image_size=None, background="white", sha256=None, folder=None):
    """The Dataset at a path: a folder of pictures (`load_folder`) or arrays (`load_arrays`).

    Its `source` holds the first four arguments with which the same data set comes again.
    image_size pixels a side of pictures, 32 unless given; arrays have their own
    sha256     of the images and labels that are wanted
    folder     where data sets are kept
    Raises     DataUnavailable if they are not there, or are others; ValueError for what cannot be
    """
    path = Path(path).expanduser().resolve()
    if file := images_in(path):
        dataset = load_arrays(file)
    else:
        dataset = load_folder(path, image_size or 32, "folders", background, folder)
    digest = hashlib.sha256(dataset.labels)
    for image in dataset.images:
        digest.update(np.ascontiguousarray(image))
    found = {"path": str(path), "image_size": dataset.images.shape[1], "background": background}
    found["sha256"] = digest.hexdigest()
    if image_size not in (None, found["image_size"]):
        raise ValueError(f"{path} has images of {found['image_size']} pixels, not {image_size}")
    if sha256 not in (None, found["sha256"]):
        raise DataUnavailable(
            f"{path} does not hold what it held when this run began: put that back, or begin anew"
        )
    name = f"own-{dataset.name}" if dataset.name in KNOWN else dataset.name
    return dataset._replace(name=name, source=found)
