"""Learn to draw handwritten digits: a U-Net trained on MNIST by hand-written backward passes.

    python examples/mnist.py                        train with the settings that fit two CPU cores
    python examples/mnist.py --steps 20000          more patience, better digits
    python examples/mnist.py --resume runs/mnist    go on where a run was stopped

Everything that a run makes is in its folder (runs/mnist, then runs/mnist-2, ...):

    samples/        a grid of digits every few hundred steps, row k of digit k, from the same noise
    samples/*-final.png, denoising.gif, denoising.png    at the end: digits, and how they came out of noise
    forward.png     digits under more and more noise, and the network's guess at what is below
    loss.png, log.csv, config.json, checkpoint.npz

Ctrl-C saves and stops. Without a network it learns from digits drawn with Pillow's own font instead,
and says so.
"""

import argparse
import sys

from tinyddpm import (
    DataUnavailable,
    Run,
    TrainConfig,
    UNetConfig,
    load_mnist,
    offline_digits,
    train,
)
from tinyddpm.config import add_flags, with_flags
from tinyddpm.workers import cores

UNET = UNetConfig(base=16, multipliers=(1, 2, 4), blocks=1, attention_at=(7,), groups=8, classes=10)
TRAINING = TrainConfig(
    steps=4000, batch=32, lr=2e-3, lr_end=0.02, warmup=100, ema_decay=0.999, final_steps=250,
    workers=cores(),
)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="runs", help="folder for runs (runs)")
    parser.add_argument("--data-dir", help="folder with the MNIST files ($TINYDDPM_DATA, or a cache)")
    parser.add_argument("--resume", metavar="FOLDER", help="go on with the run in this folder")
    add_flags(parser, TRAINING)
    add_flags(parser, UNET)
    arguments = parser.parse_args()
    run = None
    try:
        run = resume(arguments) if arguments.resume else start(arguments)
        introduce(run)
        train(run)
    except (ValueError, OSError, DataUnavailable, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        if run:
            print(f"stopped; to go on: python {sys.argv[0]} --resume '{run.folder}'")
        sys.exit(130)
    print(f"done: {run.folder}/samples/{run.dataset.name}-final.png and {run.folder}/denoising.gif")


def start(arguments):
    """A new run, on MNIST if it can be had, else on drawn digits."""
    unet, training = with_flags(UNET, arguments), with_flags(TRAINING, arguments)
    try:
        dataset = load_mnist(arguments.data_dir)
    except DataUnavailable as error:
        print(f"MNIST is not to be had: {error}.\nLearning from digits drawn with a font instead.")
        dataset = offline_digits(seed=training.seed)
    return Run.start(unet, training, dataset, f"{arguments.out}/{dataset.name}")


def resume(arguments):
    """The run in a folder, with its own settings and data."""

    def load(name):
        if name == "mnist":
            return load_mnist(arguments.data_dir)
        return offline_digits(seed=with_flags(TRAINING, arguments).seed)

    return Run.resume(arguments.resume, load)


def introduce(run):
    config = run.config
    print(
        f"{run.dataset.name}: {len(run.dataset.images):,} images; a U-Net of {run.theta.size:,} numbers; "
        f"{config.steps:,} steps of {config.batch} images on {config.workers} cores.\n"
        f"Two cores need about 13 minutes; pictures appear in {run.folder}/samples every {config.every} "
        "steps. Ctrl-C saves and stops."
    )


if __name__ == "__main__":
    main()
