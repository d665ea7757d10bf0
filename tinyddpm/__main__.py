"""Draw digits at once, with the model that is part of this package.

    python -m tinyddpm 2026             these digits, in the terminal and as 2026.png
    python -m tinyddpm 2026 --seed 1    others of them

Nothing is trained or fetched. How the model was made: tinyddpm/pretrained/README.md.
"""

import argparse
import sys

import numpy as np

from . import (
    SafeStream,
    SamplingConfig,
    free_path,
    generator,
    guided,
    has_colours,
    image_grid,
    load_pretrained,
    sample,
    save_picture,
    terminal_text,
)

MOST = 50  # digits


def main():
    """Draw the digits of the command line, and write them as a picture."""
    parser = argparse.ArgumentParser(
        "python -m tinyddpm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("digits", nargs="?", default="0123456789", help="(0123456789)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (0)")
    arguments = parser.parse_args()
    digits = arguments.digits
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= MOST):
        raise ValueError(f"{digits[:60]!r}: give 1 to {MOST} digits, such as 2026")
    stream = SafeStream(sys.stdout)
    grid = image_grid(draw(digits, arguments.seed, stream), min(len(digits), 10), scale=4)
    save_picture(grid, path := free_path(f"{digits}.png"))
    stream.write(f"{path}: drawn from noise just now; for others add --seed {arguments.seed + 1}\n")


def draw(digits, seed, stream):
    """The images (N, 28, 28, 1) of a text of digits; a terminal with colours sees them come.

    Guided at all times, not only at the last ones: here digits should be clean rather than varied.
    """
    trained, config = load_pretrained("mnist"), SamplingConfig()
    labels, live = np.array([int(digit) for digit in digits]), has_colours(stream)
    noise = generator(seed, "noise").standard_normal((len(labels), 28, 28, 1), np.float32)
    with trained.predictor() as eps_model:
        predict = guided(eps_model, labels, trained.unet.config.classes, config.guidance)
        steps = sample(config, predict, trained.schedule, noise, generator(seed, "sampling"))
        for step in steps:
            if step.t and live:  # the next step is written over this one
                text = terminal_text(step.x, stream)
                stream.write(text + f"\x1b[{text.count(chr(10))}A")
    stream.write(terminal_text(step.x, stream))
    return step.x


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        way = "; go to a folder where you may write" * isinstance(error, PermissionError)
        sys.exit(f"error: {error}{way}")
    except KeyboardInterrupt:
        sys.exit(130)
