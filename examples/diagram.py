"""Draw a U-Net: its levels, channels, attention, skips, and where time and label come in.

python examples/diagram.py                                         mnist.py's network
python examples/diagram.py --base 32 --blocks 2 --out mine.png     another one
python examples/diagram.py --size paper                            Ho et al. 2020, CIFAR-10
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import argparse

from mnist import UNET

from tinyddpm import UNetConfig, add_flags, save_picture, unet_diagram, with_flags

SIZES = {"mnist": UNET, "paper": UNetConfig.ddpm_cifar10()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="unet.png", help="the picture's name (unet.png)")
    parser.add_argument("--size", choices=SIZES, default="mnist", help="settings to begin with")
    add_flags(parser, UNET)
    arguments = parser.parse_args()
    config = with_flags(SIZES[arguments.size], arguments)
    save_picture(unet_diagram(config), arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    console.run(main)
