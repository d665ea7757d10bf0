"""Images to learn from: data sets that are fetched once and verified each time, and batches."""

from .batches import Dataset, batch_indices, check_dataset, to_model_range
from .cifar10 import load_cifar10
from .digits import offline_digits
from .download import DataUnavailable
from .mnist import load_mnist
from .own import load_folder, load_own
from .pictures import read_picture


def load_dataset(name, folder=None, split="train", **source):
    """The "train" or "test" images of "mnist", "cifar10", "cifar10-copy" or "offline-digits".

    source     that of a Dataset of your own pictures, in place of these: see `load_own`
    Raises     DataUnavailable if they cannot be had; ValueError for another name or split
    """
    if source:
        return load_own(**source, folder=folder)
    if name == "offline-digits":
        return offline_digits() if split == "train" else offline_digits(count=1000, seed=1)
    loaders = {"mnist": load_mnist, "cifar10": load_cifar10, "cifar10-copy": load_cifar10}
    if name not in loaders:
        raise ValueError(
            f"data set {name!r} is not known: choose from {', '.join(loaders)}, offline-digits"
        )
    dataset = loaders[name](folder, split)
    if dataset.name != name:
        raise ValueError(f"{name} is wanted, but here is {dataset.name}: name another folder")
    return dataset
