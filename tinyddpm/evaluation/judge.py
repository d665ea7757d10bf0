"""The classifier as a judge: trained once for a data set, kept, and asked about any images."""

import dataclasses
import hashlib
from contextlib import contextmanager
from functools import partial

import numpy as np

from ..checkpoint import load_checkpoint, save_checkpoint
from ..data import batch_indices
from ..data.cache import data_folder
from ..nn.optim import Adam, learning_rate, update_ema
from ..progress import Progress
from ..randomness import generator
from ..workers import Workers
from .classifier import Classifier, ClassifierConfig

PROCESSES = 4  # always: in which order gradients are added decides their last bits
LOOK = 1000  # images between two lines of progress


@contextmanager
def classifier_judge(dataset, folder=None, count=1):
    """judge(images) by a classifier that has learnt a Dataset, spread over `count` processes.

        with classifier_judge(load_mnist()) as judge:
            features, probabilities = judge(images)        images (N, H, W, C), bytes
                                                           features (N, F)   probabilities (N, K)

    The classifier is trained the first time, which takes minutes, and kept in the folder
    classifiers of `data_folder(folder)`. Leaving it ends the processes.
    """
    classifier = Classifier(ClassifierConfig.of(dataset))
    theta = trained_classifier(classifier, dataset, folder)
    with Workers(classifier, theta, count) as workers:
        yield partial(_judge, workers, *workers.keep())


def _judge(workers, theta, images):
    """features (N, F), probabilities (N, K)."""
    answers = []
    with Progress("looking at images", len(images), unit="images") as progress:
        for i in range(0, len(images), LOOK):
            answers.append(workers.map_batch("look", theta, 64, images[i : i + LOOK]))
            progress.show(min(len(images), i + LOOK))
        progress.clear()
    answers, n = np.concatenate(answers), workers.job.config.features
    powers = np.exp(answers[:, n:] - answers[:, n:].max(axis=1, keepdims=True))
    return answers[:, :n], powers / powers.sum(axis=1, keepdims=True)


def trained_classifier(classifier, dataset, folder=None):
    """The weights (P,) of a classifier that has learnt a Dataset: those kept, or else new ones.

    The file's name has a digest of the data and of all settings, so no other classifier is taken
    for this one; one that is damaged is made again.
    """
    name = f"{dataset.name}-{_digest(classifier, dataset)}.safetensors"
    path = data_folder(folder) / "classifiers" / name
    for kept in (path, path.with_suffix(".npz")):  # which older versions wrote
        if not kept.exists():
            continue
        try:
            theta = load_checkpoint(kept).arrays["theta"]
            fits = theta.shape == (classifier.layout.size,) and theta.dtype == np.float32
            if fits and np.isfinite(theta).all():
                return theta
            reason = f"{kept} holds another network"
        except (OSError, ValueError, KeyError) as error:
            reason = str(error)
        print(f"{reason}; the classifier is trained again")
    theta = train_classifier(classifier, dataset)
    try:
        save_checkpoint(path, {"theta": theta}, dataclasses.asdict(classifier.config))
    except OSError as error:
        print(f"{path} could not be written ({error}): the classifier will have to learn again")
    return theta


def train_classifier(classifier, dataset, count=PROCESSES):
    """The averaged weights (P,) after training as the config says.

    Without MPI they are the same bits every time.
    Raises     ValueError for fewer images than are in a batch
    """
    config, images, labels = classifier.config, dataset.images, dataset.labels
    if len(images) < config.batch:
        raise ValueError(
            f"{len(images)} images of {dataset.name} for batches of {config.batch}: too few to "
            "learn from"
        )
    theta = classifier.layout.init(generator(config.seed, "weights"))
    ema, adam = theta.copy(), Adam(theta)
    steps = config.epochs * (len(images) // config.batch)
    with (
        Workers(classifier, theta, count) as workers,
        Progress(f"learning to judge {dataset.name}", steps, 0, "images", config.batch) as progress,
    ):
        (theta,) = workers.vectors
        for step in range(steps):
            batch = batch_indices(len(images), config.batch, step, config.seed)
            parts = enumerate(np.array_split(batch, PROCESSES))
            tasks = [(step, part, images[i], labels[i]) for part, i in parts]
            losses, grad = workers.gradient(theta, tasks)
            lr = learning_rate(step, steps, config.lr, warmup=50, end=0.01)
            adam.update(theta, grad, lr)
            update_ema(ema, theta, step, decay=0.999)
            progress.show(step + 1, f"loss {np.concatenate(losses).mean():.3f}")
    return ema


def _digest(classifier, dataset):
    """Sixteen characters that stand for the settings of a classifier and what it learns from."""
    digest = hashlib.sha256(repr(classifier.config).encode())
    digest.update(np.ascontiguousarray(dataset.images))
    digest.update(np.ascontiguousarray(dataset.labels))
    return digest.hexdigest()[:16]
