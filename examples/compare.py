"""Samplers against each other: how long they take, and how good their digits are.

    python examples/compare.py runs/mnist                  a table for a model trained on MNIST
    python examples/compare.py runs/mnist --guidance 0     the same without guidance
    python examples/compare.py runs/mnist --samplers dpm:20 dpm:15

All start from the same noise. A classifier judges them, which learns from MNIST's training images
the first time and is kept with the data:
    read as asked    the share of digits that it takes for the label asked for
    distance         Fréchet classifier distance to MNIST's test images: see evaluate.py, which says
                     more about one sampler
The last line says what as many real digits, of the test images, would get.
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import argparse
import time

import numpy as np

from tinyddpm import (
    DEVICES,
    SamplingConfig,
    classifier_judge,
    cores,
    device_name,
    final_images,
    frechet_distance,
    generator,
    load_mnist,
    load_trained,
    sample,
    to_bytes,
    with_progress,
)

CASES = ("ancestral:1000", "ancestral:50", "ddim:50", "ddim:20", "dpm:20", "dpm:10", "sde-dpm:20")


def main():
    arguments = parse()
    trained = load_trained(arguments.checkpoint).to(arguments.device)
    if trained.data != "mnist" or not trained.can_guide:
        raise ValueError(f"{arguments.checkpoint} is no model of MNIST that can be guided")
    samplers = arguments.samplers or usual_samplers(trained.schedule.T)
    cases = [chosen_sampler(text, trained, arguments.guidance) for text in samplers]
    if not 50 <= arguments.images <= 5000:
        raise ValueError(f"images of {arguments.images}: use 50 to 5,000")
    generator(arguments.seed, "noise")  # what cannot be is refused before anything is fetched
    with trained.predictor(arguments.workers) as eps_model:
        train, test = (load_mnist(arguments.data_dir, split) for split in ("train", "test"))
        with classifier_judge(train, arguments.data_dir, arguments.workers) as judge:
            compare(trained, eps_model, cases, arguments, judge, test)


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    weight = SamplingConfig().guidance
    parser.add_argument("checkpoint", help="folder of a run on MNIST, or its checkpoint")
    parser.add_argument("--samplers", nargs="+", metavar="NAME:STEPS", help=f"({' '.join(CASES)})")
    parser.add_argument("--images", type=int, default=200, metavar="N", help="of each (200)")
    parser.add_argument("--guidance", type=float, default=weight, metavar="W", help=f"({weight})")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (0)")
    parser.add_argument("--data-dir", help="folder with the MNIST files (the cache)")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="where to compute (auto)")
    parser.add_argument("--workers", type=int, default=cores(), metavar="N", help="processes (all)")
    return parser.parse_args()


def usual_samplers(T):
    """CASES, as far as a process of T steps has them."""
    cases = (case.split(":") for case in CASES)
    return list(dict.fromkeys(f"{name}:{min(int(steps), T)}" for name, steps in cases))


def chosen_sampler(text, trained, guidance):
    """The SamplingConfig that NAME:STEPS stands for; ValueError if this model cannot have it."""
    name, _, steps = text.partition(":")
    if not steps.isdecimal():
        raise ValueError(f"--samplers {text}: write NAME:STEPS, such as dpm:20")
    config = SamplingConfig(name, int(steps), guidance, variance=trained.variance)
    trained.schedule.respaced(config.steps)
    return config


def compare(trained, eps_model, cases, arguments, judge, test):
    """Print the table for these SamplingConfigs, a line as soon as it is known."""
    null, n = trained.unet.config.classes, arguments.images
    labels = np.resize(trained.labels, n)
    shape = (n, *trained.unet.config.image_shape)
    noise = generator(arguments.seed, "noise").standard_normal(shape, np.float32)
    noise = trained.xp.asarray(noise)

    order = generator(arguments.seed, "order").permutation(len(test.labels))
    drawn = [order[test.labels[order] == k][: (labels == k).sum()] for k in trained.labels]
    drawn = np.concatenate(drawn)  # as many real digits of each label
    real, _ = judge(np.delete(test.images, drawn, axis=0))

    def row(name, steps, seconds, images, labels):
        features, probabilities = judge(images)
        read = (probabilities.argmax(axis=1) == labels).mean()
        distance = frechet_distance(features, real)
        print(f"| {name} | {steps} | {seconds} | {read:.0%} | {distance:.2f} |", flush=True)

    print(f"{trained.data}, on {device_name(trained.xp)}\n")
    print(f"| sampler | steps | time for {n} digits | read as asked | distance |")
    print("|---|---|---|---|---|")
    for case in cases:
        began = time.perf_counter()
        rng = generator(arguments.seed, "sampling", xp=trained.xp)
        predict = case.guided(eps_model, labels, null, trained.schedule)
        steps = sample(case, predict, trained.schedule, noise, rng)
        images = to_bytes(
            final_images(with_progress(steps, f"{case.sampler}, {case.steps} steps", case.steps))
        )
        seconds = f"{time.perf_counter() - began:.0f} s"
        row(case.sampler, case.steps, seconds, images, labels)
    row("(test images)", "", "", test.images[drawn], test.labels[drawn])


if __name__ == "__main__":
    console.run(main, "use fewer --images")
