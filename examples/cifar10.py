"""Learn to draw photographs of 32 × 32 pixels: Ho et al. 2020's recipe, and one for a CPU.

    python examples/cifar10.py                          a small network on two CPU cores: a taste
    python examples/cifar10.py --size paper             the paper's network: months on two cores
    python examples/cifar10.py --classes 0              without labels
    python examples/cifar10.py --resume runs/cifar10    go on where a run was stopped

The pictures are those of mnist.py: samples/ has a row for each label, cifar10-spectrum.png says
whether there is a grid in them. Without labels a run draws whatever comes.

CIFAR-10 is fetched once (170 MB) and verified. If it cannot be fetched, the run says which files to
put where. Batch files with other content than CIFAR-10's are used, too, but the run is then called
cifar10-copy, so that nobody takes what it makes for CIFAR-10.
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

from training import Recipe, blank, learn

from tinyddpm import TrainConfig, UNetConfig, cores, load_cifar10

SMALL = Recipe(
    UNetConfig(
        image_size=32, image_channels=3, base=32, multipliers=(1, 2, 4, 4), blocks=1,
        attention_at=(8,), groups=8, classes=10,
    ),
    TrainConfig(
        steps=8000, batch=32, optimizer="muon", lr=2e-3, lr_end=0.02, warmup=200, ema_decay=0.999,
        flips=0.5, every=1000, schedule="cosine", predicts="v", times="middle", workers=cores(),
    ),
    "Expect colours and places that fit the label, and few things that one would recognise.",
)  # fmt: skip
PAPER = Recipe(
    UNetConfig.ddpm_cifar10(),
    TrainConfig(flips=0.5, every=1000, workers=cores()),
    "Of this network and recipe others report FID 9.2 after 46,800 steps, 5.8 after 93,600, 4.1 "
    "after\n187,200, 3.3 after 421,200 and 3.2 after 795,600 (github.com/tqch/ddpm-torch).",
)

if __name__ == "__main__":
    recipes = {"small": SMALL, "paper": PAPER}
    console.run(lambda: learn(__doc__, recipes, load_cifar10, blank("cifar10", 50_000, 32, 32, 3)))
