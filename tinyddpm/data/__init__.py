"""Images to learn from: data sets that are fetched once and verified each time, and batches."""

from .batches import Dataset, batch_indices, check_dataset, to_unit
from .by_name import load_dataset
from .cifar10 import load_cifar10
from .digits import offline_digits
from .download import DataUnavailable
from .mnist import load_mnist

__all__ = [
    "batch_indices",
    "check_dataset",
    "Dataset",
    "DataUnavailable",
    "load_cifar10",
    "load_dataset",
    "load_mnist",
    "offline_digits",
    "to_unit",
]
