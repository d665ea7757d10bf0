"""Learn to draw handwritten digits: a U-Net trained on MNIST by hand-written backward passes.

    python examples/mnist.py                        a coffee break on two CPU cores
    python examples/mnist.py --steps 20000          more patience, better digits
    python examples/mnist.py --resume runs/mnist    go on where a run was stopped

Everything that a run makes is in its folder (runs/mnist, then runs/mnist-2, ...):

    samples/               a grid of digits every few hundred steps: row k of digit k, always from
                           the same noise; -final at the end
    mnist-denoising.gif    how digits come out of noise (mnist-denoising.png: the same as a strip)
    mnist-forward.png      digits under more and more noise, and what the network sees in them
    mnist-spectrum.png     frequencies in samples and data: a grid in the samples would be a peak
    mnist-loss.png         the loss of every step; log.csv has the numbers
    checkpoint.safetensors all that is needed to go on, bit for bit; -before is the one before it;
                           config.json has the settings

Ctrl-C saves and stops. A run that is resumed with more --steps goes back up the learning rate's
cosine. MNIST is read from any files that you have of it: name their folder with --data-dir. If you
name none, and it cannot be fetched, the run says so and learns from digits drawn with a font; its
folder and files are then called offline-digits.
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import os

from training import Recipe, blank, learn

from tinyddpm import (
    DataUnavailable,
    TrainConfig,
    UNetConfig,
    cores,
    load_mnist,
    offline_digits,
)

UNET = UNetConfig(base=16, multipliers=(1, 2, 4), blocks=1, attention_at=(7,), groups=8, classes=10)
TRAINING = TrainConfig(
    steps=5600, batch=32, optimizer="muon", lr=2e-3, lr_end=0.02, warmup=100, ema_decay=0.999,
    every=700, schedule="cosine", predicts="v", times="middle", workers=cores(),
)  # fmt: skip
EXPECT = "Expect rough digits after 700 steps, and clean ones, but for a few, after 5,600."


def load(folder):
    """MNIST if it can be had; drawn digits if not, and if nobody has named a folder for it."""
    try:
        return load_mnist(folder)
    except DataUnavailable as error:
        if folder or os.environ.get("TINYDDPM_DATA"):
            raise
        print(f"Learning from digits drawn with a font instead of MNIST: {error}.")
        return offline_digits()


if __name__ == "__main__":
    recipes = {"small": Recipe(UNET, TRAINING, EXPECT)}
    console.run(lambda: learn(__doc__, recipes, load, blank("mnist", 60_000, 28, 28, 1)))
