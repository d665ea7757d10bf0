"""How many bits per dimension does a trained model need for images that it has never seen?

    python examples/likelihood.py runs/mnist                 all 1,000 times, 100 test images
    python examples/likelihood.py runs/mnist --steps 100     as a process of 100 steps

The number is an upper bound on -log2 p(x0 | label), averaged over pixels: what a lossless code made
of this model would need (8 bits is what a byte takes without one). It is the sum of the rate, which
is paid for x_T .. x_1, and the distortion, paid for the image once x_1 is known. The picture shows
how the image gets clearer while the bits come in: figure 5 of Ho et al. 2020.
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import argparse
from pathlib import Path

import numpy as np

from tinyddpm import (
    DEVICES,
    bits_per_dimension,
    bound_terms,
    cores,
    device_name,
    free_path,
    generator,
    guided,
    load_dataset,
    load_trained,
    log_variance,
    picture_format,
    rate_distortion,
    save_picture,
    to_model_range,
    with_progress,
)


def main():
    arguments = parse()
    trained = load_trained(arguments.checkpoint).to(arguments.device)
    path = arguments.out or f"{trained.data}-likelihood.png"
    picture_format(path)  # what cannot be is refused here, before anything is fetched
    console.check_folder(Path(path).parent)
    if arguments.images < 1:
        raise ValueError(f"images of {arguments.images}: use 1 or more")
    steps = trained.schedule.T if arguments.steps is None else arguments.steps
    schedule = trained.schedule.respaced(steps)
    variance = arguments.variance or trained.variance
    no_image = np.zeros((1, 1, 1, trained.unet.config.outputs - 1))
    log_variance(variance, no_image, np.array([1]), trained.schedule)
    rng = generator(arguments.seed, "noise", xp=trained.xp)
    with trained.predictor(arguments.workers) as eps_model:
        x0, labels = unseen_images(trained, arguments)
        predict = guided(eps_model, labels, null=None, weight=0)
        terms = bound_terms(predict, x0, schedule, rng, variance)
        result = bits_per_dimension(with_progress(terms, "counting bits", steps), x0, schedule)
    print(
        f"{trained.data}, after {trained.step:,} steps of training; {len(x0)} test images, "
        f"{steps:,} steps, {variance} variances, on {device_name(trained.xp)}:\n"
        f"at most {result.bits:.3f} bits per dimension, of which {result.rate:.3f} rate and "
        f"{result.distortion:.3f} distortion"
    )
    title = f"{trained.data}: {result.bits:.2f} bits per dimension"
    path = arguments.out or free_path(path)
    save_picture(rate_distortion(result.rates, result.errors, title), path)
    print(f"how they come in: {path}")


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="folder of a run, or its checkpoint")
    parser.add_argument("--images", type=int, default=100, metavar="N", help="how many (100)")
    parser.add_argument("--steps", type=int, metavar="N", help="of the process (all)")
    parser.add_argument("--variance", metavar="NAME", help="large, small or learned (if it is)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (0)")
    parser.add_argument("--out", metavar="FILE", help="the picture (DATA-likelihood.png)")
    parser.add_argument("--data-dir", help="folder with the data set's files (the cache)")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="where to compute (auto)")
    parser.add_argument("--workers", type=int, default=cores(), metavar="N", help="processes (all)")
    return parser.parse_args()


def unseen_images(trained, arguments):
    """Images (N, H, W, C) that the model was not trained on, and their labels or None."""
    unseen = load_dataset(trained.data, arguments.data_dir, "test")
    if arguments.images > len(unseen.images):
        raise ValueError(f"images of {arguments.images}: use 1 to {len(unseen.images):,}")
    labels = unseen.labels[: arguments.images] if trained.labels else None
    return trained.xp.asarray(to_model_range(unseen.images[: arguments.images])), labels


if __name__ == "__main__":
    console.run(main, "use fewer --images")
