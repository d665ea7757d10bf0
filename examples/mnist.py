"""Learn to draw handwritten digits: a U-Net trained on MNIST by hand-written backward passes.

    python examples/mnist.py                        a quarter of an hour on two CPU cores
    python examples/mnist.py --steps 20000          more patience, better digits
    python examples/mnist.py --resume runs/mnist    go on where a run was stopped

Everything that a run makes is in its folder (runs/mnist, then runs/mnist-2, ...):

    samples/               a grid of digits every few hundred steps: row k of digit k, always from
                           the same noise; -final at the end
    mnist-denoising.gif    how digits come out of noise (mnist-denoising.png: the same as a strip)
    mnist-forward.png      digits under more and more noise, and what the network sees in them
    mnist-loss.png         the loss of every step; log.csv has the numbers
    checkpoint.npz         all that is needed to go on, bit for bit; config.json has the settings

Ctrl-C saves and stops. A run that is resumed with more --steps goes back up the learning rate's
cosine. If MNIST is not at hand and cannot be fetched, the run says so and learns from digits drawn
with a font; its folder and files are then called offline-digits.
"""

import argparse
import shlex
import sys

import numpy as np

from tinyddpm import (
    DataUnavailable,
    Run,
    TrainConfig,
    UNetConfig,
    WorkerDied,
    add_flags,
    cores,
    given_flags,
    load_mnist,
    offline_digits,
    train,
    with_flags,
)

UNET = UNetConfig(base=16, multipliers=(1, 2, 4), blocks=1, attention_at=(7,), groups=8, classes=10)
TRAINING = TrainConfig(
    steps=2800, batch=32, lr=2e-3, lr_end=0.02, warmup=100, ema_decay=0.999, every=300,
    schedule="cosine", predicts="v", micro_batch=16, workers=cores(),
)  # fmt: skip
CHANGEABLE = {"steps", "workers"}  # when a run is resumed


def main():
    arguments = parse()
    sys.stdout.reconfigure(line_buffering=True)  # in a pipe, too, every line is there at once
    try:
        run = resume(arguments) if arguments.resume else start(arguments)
    except (ValueError, OSError, DataUnavailable) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        introduce(run)
        train(run)
    except (OSError, WorkerDied, FloatingPointError) as error:
        sys.exit(f"error: {error}; the run is saved up to step {run.saved:,} in {run.folder}")
    except KeyboardInterrupt:
        print(f"saved at step {run.saved:,}; to go on: {resume_command(run, arguments)}")
        sys.exit(130)
    recent = run.losses[-100:]
    print(f"done: the mean loss of the last {len(recent)} steps was {np.mean(recent):.4f}.")
    print(f"See {run.folder}/samples/{run.dataset.name}-final.png and the pictures beside it.")


def parse():
    """The command line; flags for settings are made from TRAINING and UNET."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="runs", help="folder that run folders are made in (runs)")
    parser.add_argument("--data-dir", help="folder with the MNIST files (the cache)")
    parser.add_argument("--resume", metavar="FOLDER", help="go on with the run in this folder")
    add_flags(parser, TRAINING)
    add_flags(parser, UNET)
    return parser.parse_args()


def start(arguments):
    """A new run, on MNIST if it can be had, else on drawn digits."""
    unet, training = with_flags(UNET, arguments), with_flags(TRAINING, arguments)
    try:
        dataset = load_mnist(arguments.data_dir)
    except DataUnavailable as error:
        print(f"Learning from digits drawn with a font instead of MNIST: {error}.")
        dataset = offline_digits()
    return Run.start(unet, training, dataset, f"{arguments.out}/{dataset.name}")


def resume(arguments):
    """The run in a folder, with its own data and settings; only CHANGEABLE ones may be new."""
    changes = given_flags(TRAINING, arguments)
    fixed = {**changes, **given_flags(UNET, arguments)}.keys() - CHANGEABLE
    if fixed:
        raise ValueError(f"{', '.join(fixed)} cannot change when a run is resumed: leave it out")

    def load(name):
        if name == "mnist":
            return load_mnist(arguments.data_dir)
        if name == "offline-digits":
            return offline_digits()
        raise ValueError(f"{arguments.resume} is a run on {name}: resume it with its own example")

    return Run.resume(arguments.resume, load, **changes)


def introduce(run):
    """Say what is going to happen."""
    config = run.config
    print(
        f"{run.dataset.name}: {len(run.dataset.images):,} images; a U-Net with {run.theta.size:,} "
        f"parameters; {config.steps:,} steps of {config.batch} images on {config.workers} cores.\n"
        f"Samples appear in {run.folder}/samples every {config.every} steps; Ctrl-C saves and "
        "stops.\nWith the settings that it comes with, two cores take about 10 minutes."
    )


def resume_command(run, arguments):
    """What to type to go on with this run."""
    data = ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    return shlex.join(["python", sys.argv[0], "--resume", str(run.folder), *data])


if __name__ == "__main__":
    main()
