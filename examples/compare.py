"""Samplers against each other: how long they take, and how good their digits are.

    python examples/compare.py runs/mnist                  a table for a model trained on MNIST
    python examples/compare.py runs/mnist --guidance 0     the same without guidance

All start from the same noise. Quality is measured in two ways, with no other network for a judge:
    read as asked    the share of digits whose nearest training image has the label asked for
    distance         Fréchet distance of means over 4 x 4 pixels to those of MNIST's test images
The last line says what as many real digits, the test images, would get.
"""

import argparse
import sys
import time

import numpy as np

from tinyddpm import (
    DataUnavailable,
    Progress,
    SamplingConfig,
    WorkerDied,
    block_means,
    cores,
    eps_model,
    frechet_distance,
    generator,
    guided,
    load_mnist,
    load_trained,
    nearest,
    sample,
    to_bytes,
    to_unit,
)

CASES = (
    ("ancestral", 1000),
    ("ancestral", 50),
    ("ddim", 50),
    ("ddim", 20),
    ("dpm", 20),
    ("dpm", 10),
)


def main():
    arguments = parse()
    try:
        trained = load_trained(arguments.checkpoint)
        if trained.data != "mnist" or not trained.unet.config.classes:
            raise ValueError(f"{arguments.checkpoint} is no model of MNIST's digits with labels")
        train, test = (load_mnist(arguments.data_dir, split) for split in ("train", "test"))
        with eps_model(trained, arguments.workers) as model:
            compare(trained, model, train, test, arguments)
    except (ValueError, OSError, DataUnavailable, WorkerDied) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    weight = SamplingConfig().guidance
    parser.add_argument("checkpoint", help="folder of a run on MNIST, or its checkpoint.npz")
    parser.add_argument(
        "--images", type=int, default=200, metavar="N", help="of each sampler (200)"
    )
    parser.add_argument("--guidance", type=float, default=weight, metavar="W", help=f"({weight})")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (0)")
    parser.add_argument("--data-dir", help="folder with the MNIST files (the cache)")
    parser.add_argument("--workers", type=int, default=cores(), metavar="N", help="processes (all)")
    return parser.parse_args()


def compare(trained, model, train, test, arguments):
    """Print the table, a line as soon as it is known."""
    n = arguments.images
    if not 50 <= n <= len(test.images) // 2:
        raise ValueError(f"images of {n}: use 50 to {len(test.images) // 2:,}")
    classes = trained.unet.config.classes
    labels = np.arange(n) % classes
    shape = (n, *trained.unet.config.image_shape)
    noise = generator(arguments.seed, "noise").standard_normal(shape, np.float32)
    predict = guided(model, labels, classes, arguments.guidance)
    real = block_means(to_unit(test.images[n:]), 4)

    def row(name, steps, seconds, images, labels):
        read = (train.labels[nearest(images, train.images)] == labels).mean()
        distance = frechet_distance(block_means(to_unit(images), 4), real)
        print(f"| {name} | {steps} | {seconds} | {read:.0%} | {distance:.2f} |", flush=True)

    print(f"| sampler | steps | time for {n} digits | read as asked | distance |")
    print("|---|---|---|---|---|")
    for name, steps in CASES:
        config = SamplingConfig(sampler=name, steps=steps, guidance=arguments.guidance)
        began = time.perf_counter()
        with Progress(f"{name}, {steps} steps", steps) as progress:
            chain = sample(
                config, predict, trained.schedule, noise, generator(arguments.seed, "sampling")
            )
            for step in chain:
                progress.show(steps - step.t)
            progress.clear()
        row(name, steps, f"{time.perf_counter() - began:.0f} s", to_bytes(step.x), labels)
    row("(test images)", "", "", test.images[:n], test.labels[:n])


if __name__ == "__main__":
    main()
