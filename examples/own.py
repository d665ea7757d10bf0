"""Learn to draw your own pictures: a folder of them, or arrays that somebody has made of them.

    python examples/own.py photos                    a folder; folders in it become labels
    python examples/own.py photos --image-size 64    larger, and slower (32 unless told otherwise)
    python examples/own.py fashion-mnist             a folder with train-images-idx3-ubyte.gz and
                                                     its labels: Fashion-MNIST, KMNIST
    python examples/own.py emnist-letters-train-images-idx3-ubyte.gz    one of several such files
    python examples/own.py images.npz                bytes (N, H, W) or (N, H, W, C), and labels
    python examples/own.py --resume runs/photos      go on where a run was stopped

Every picture that Pillow can read will do. It is turned as its EXIF says, cropped to its middle
square and scaled down; where one can see through it, it is laid on --background. A list says which
were left out and why. What was made of the pictures is kept with the other data sets, not in your
folder, so that a second run begins at once. The network is chosen for two CPU cores: its channels
and labels are those of the data, and the larger the images, the fewer channels has each level.

The pictures of a run are those of mnist.py. A thousand pictures are few and a hundred are learnt by
heart. --flips 0.5 mirrors half of them, which suits photographs, but not letters.
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

from dataclasses import replace
from pathlib import Path

from training import Recipe, go, parse, resume

from tinyddpm import Run, TrainConfig, UNetConfig, cores, given_flags, load_own, with_flags

TRAINING = TrainConfig(
    steps=5000, batch=32, lr=2e-3, lr_end=0.02, warmup=100, ema_decay=0.999, every=500,
    schedule="cosine", predicts="v", workers=cores(),
)  # fmt: skip
EXPECT = (
    "Expect blots after 500 steps; shapes and colours that fit the label after 5,000, from simple "
    "things also\nsharp ones. Photographs of 64 pixels want ten times as many steps, and a GPU."
)


def main():
    recipes = {"small": Recipe(network(32, 3, 0), TRAINING, EXPECT)}
    arguments, _ = parse(__doc__, recipes, add_own)
    if bool(arguments.path) == bool(arguments.resume):
        raise ValueError("name your pictures, or --resume with the folder of a run")
    run = resume(arguments, recipes["small"]) if arguments.resume else start(arguments)
    go(run, arguments, EXPECT)


def add_own(parser):
    """What only this program is told."""
    parser.add_argument("path", nargs="?", help="folder of pictures, IDX file, or .npz")
    parser.add_argument(
        "--background", default="white", metavar="COLOUR", help="behind transparency (white)"
    )


def start(arguments):
    """A new run."""
    training = with_flags(TRAINING, arguments)  # refused before anything is read
    out = Path(arguments.out).resolve()
    if out.is_relative_to(Path(arguments.path).expanduser().resolve()):
        raise ValueError(f"--out: {out} would lie among your pictures; name another place")
    console.check_folder(out)
    size = getattr(arguments, "image_size", None)
    data = load_own(arguments.path, size, arguments.background, folder=arguments.data_dir)
    count, side, _, channels = data.images.shape
    classes = int(data.labels.max()) + 1
    unet = with_flags(network(side, channels, classes if classes > 1 else 0), arguments)
    if "batch" not in given_flags(training, arguments):
        training = replace(training, batch=min(training.batch, count))
    return Run.start(unet, training, data, f"{arguments.out}/{data.name}")


def network(size, channels, classes):
    """A U-Net for such images that two cores can train: levels down to 4 pixels or an odd number.

    Attention is at the first level of 8 pixels or less; 64 × 64 have half as many channels as 32.
    """
    sizes = [size]
    while sizes[-1] % 2 == 0 and sizes[-1] > 4:
        sizes.append(sizes[-1] // 2)
    base = 32 if channels > 1 else 16
    while base > 8 and size > 32:
        base, size = base // 2, size // 2
    return UNetConfig(
        image_size=sizes[0], image_channels=channels, base=base,
        multipliers=(1, 2, 4, 4, 4, 4, 4, 4)[: len(sizes)], blocks=1,
        attention_at=tuple(side for side in sizes if side <= 8)[:1], groups=8, classes=classes,
    )  # fmt: skip


if __name__ == "__main__":
    console.run(main)
