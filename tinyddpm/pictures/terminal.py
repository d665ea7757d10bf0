"""Images as text, for whoever sits at a terminal: two pixels in each character."""

import os
import shutil

import numpy as np
from PIL import Image

from .grids import to_bytes

SMALLEST = 16  # characters: a digit that is narrower than that cannot be read
SHADES = {"blocks": " ░▒▓█", "plain": " .:+#"}


def terminal_text(images, stream):
    """Grey images (N, H, W, 1) in [-1, 1] as lines of text for `stream`, as large as they fit.

    They stand side by side, in several rows if there are many. A terminal with colours gets half
    blocks in shades of grey, any other stream (a pipe, a file, NO_COLOR, TERM=dumb) one of five
    shades for two pixels, plain ones if its encoding has no blocks.
    """
    width = shutil.get_terminal_size().columns
    across = min(len(images), max(1, width // SMALLEST))
    size = min(images.shape[2], width // across)
    pixels = [_scaled(image, size) for image in to_bytes(images)[..., 0]]
    pixels += [np.zeros_like(pixels[0])] * (-len(images) % across)
    rows = [np.hstack(pixels[i : i + across]) for i in range(0, len(pixels), across)]
    pairs = np.vstack(rows).reshape(-1, 2, across * size)  # of the upper and the lower pixels
    return _coloured(pairs) if has_colours(stream) else _shaded(pairs, _can_block(stream))


def has_colours(stream):
    """Whether a stream is a terminal that knows colours, and nobody has asked for none."""
    known = os.name != "nt" or "WT_SESSION" in os.environ
    asked = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    return stream.isatty() and known and asked and _can_block(stream)


def _can_block(stream):
    try:
        SHADES["blocks"].encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _scaled(pixels, size):
    """Pixels (H, W) as a square of `size` columns and an even number of rows."""
    return np.asarray(Image.fromarray(pixels).resize((size, size + size % 2)))


def _coloured(pairs):
    """An upper half block for each pair: 24 greys of a terminal's 256 colours, over 24 behind."""
    greys = 232 + pairs.astype(int) * 24 // 256
    lines = ("".join(f"\x1b[38;5;{a};48;5;{b}m▀" for a, b in zip(*two)) for two in greys)
    return "".join(f"{line}\x1b[0m\n" for line in lines)


def _shaded(pairs, blocks):
    shades = SHADES["blocks" if blocks else "plain"]
    levels = pairs.mean(axis=1) * len(shades) // 256
    return "".join("".join(shades[int(level)] for level in line).rstrip() + "\n" for line in levels)
