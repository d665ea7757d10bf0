"""The data sets that the examples know, by their names."""

from .cifar10 import load_cifar10
from .digits import offline_digits
from .mnist import load_mnist


def load_dataset(name, folder=None, split="train"):
    """The "train" or "test" images of "mnist", "cifar10", "cifar10-copy" or "offline-digits".

    Raises     DataUnavailable if they cannot be had; ValueError for another name or split
    """
    if name == "offline-digits":
        return offline_digits() if split == "train" else offline_digits(count=1000, seed=1)
    loaders = {"mnist": load_mnist, "cifar10": load_cifar10, "cifar10-copy": load_cifar10}
    if name not in loaders:
        raise ValueError(f"data set {name!r} is not known: choose from {', '.join(loaders)}")
    dataset = loaders[name](folder, split)
    if dataset.name != name:
        raise ValueError(
            f"{name} is wanted, but what is at hand is {dataset.name}: name another folder"
        )
    return dataset
