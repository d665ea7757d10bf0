"""Pictures of what happens: grids, moving pictures, the curve of the loss. Pillow draws them."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .device import to_host
from .files import whole_file

GAP = 2  # pixels between the images of a grid
PAPER, INK, FAINT, ACCENT = (255, 255, 255), (30, 30, 30), (215, 215, 215), (200, 60, 30)


def to_bytes(images):
    """Images in [-1, 1] as bytes, rounded: what the screen shows."""
    return np.clip(to_host(images) * 127.5 + 128, 0, 255).astype(np.uint8)


def image_grid(images, columns, scale=2):
    """Images (N, H, W, 1 or 3) in [-1, 1], row by row, as one Pillow image `scale` times as big."""
    pixels = to_bytes(images)
    n, h, w, c = pixels.shape
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (h + GAP) + GAP, columns * (w + GAP) + GAP, c), 60, np.uint8)
    for i in range(n):
        top, left = GAP + i // columns * (h + GAP), GAP + i % columns * (w + GAP)
        sheet[top : top + h, left : left + w] = pixels[i]
    picture = Image.fromarray(sheet[..., 0] if c == 1 else sheet)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def labelled_grid(rows, scale=2, head=()):
    """Rows [(text, images (N, H, W, C))] with their texts at the left, `head` above the columns."""
    pictures = [(text, image_grid(images, len(images), scale)) for text, images in rows]
    font = ImageFont.load_default(size=13)
    left = 12 + max(int(font.getlength(text)) for text, _ in pictures)
    top = 22 if head else 0
    width = left + pictures[0][1].width
    sheet = Image.new("RGB", (width, top + sum(p.height for _, p in pictures)), PAPER)
    draw = ImageDraw.Draw(sheet)
    column = (width - left) / max(1, len(head))
    for i, text in enumerate(head):
        draw.text((left + (i + 0.5) * column, top / 2), text, INK, font, anchor="mm")
    y = top
    for text, picture in pictures:
        draw.text((left - 6, y + picture.height / 2), text, INK, font, anchor="rm")
        sheet.paste(picture, (left, y))
        y += picture.height
    return sheet


def save_picture(picture, path):
    """Write a Pillow image under `path`, whole or not at all; its ending chooses the format.

    Raises     ValueError for an ending that Pillow does not know
    """
    formats = Image.registered_extensions()
    if Path(path).suffix.lower() not in formats:
        raise ValueError(f"{path}: its ending names no kind of picture; use .png")
    with whole_file(path) as file:
        picture.save(file, format=formats[Path(path).suffix.lower()])


def save_gif(pictures, path, frame_s=0.06, last_s=2.0):
    """Write Pillow images as an endless GIF; the last one stands still for `last_s` seconds."""
    times = [round(1000 * frame_s)] * (len(pictures) - 1) + [round(1000 * last_s)]
    first, *others = [p.convert("P", palette=Image.Palette.ADAPTIVE, colors=64) for p in pictures]
    with whole_file(path) as file:
        first.save(file, "GIF", save_all=True, append_images=others, duration=times, loop=0)


def loss_curve(losses, title="", size=(720, 400)):
    """The loss of every step and its moving average, on a logarithmic axis, as a Pillow image.

    losses     (steps,), positive; the axis goes from the smallest to the largest average
    """
    width, height = size
    image = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=13)
    left, right, top, bottom = 62, width - 18, 34, height - 42
    losses = np.asarray(losses, float)
    average = smooth(losses)
    low, high = math.log10(average.min() * 0.8), math.log10(average.max() * 1.1)

    def point(step, loss):
        x = left + (right - left) * step / max(1, len(losses) - 1)
        y = bottom - (bottom - top) * (math.log10(loss) - low) / (high - low)
        return x, min(max(y, top), bottom)

    for loss in _ticks(10**low, 10**high):
        y = point(0, loss)[1]
        draw.line((left, y, right, y), FAINT)
        draw.text((left - 6, y), f"{loss:g}", INK, font, anchor="rm")
    for i in range(5):
        step = round(i / 4 * len(losses))
        draw.text((left + (right - left) * i / 4, bottom + 8), f"{step:,}", INK, font, anchor="mt")
    every = max(1, len(losses) // (4 * width))
    draw.point([point(i, losses[i]) for i in range(0, len(losses), every)], (150, 170, 200))
    draw.line([point(i, average[i]) for i in range(0, len(losses), every)], ACCENT, width=2)
    draw.text((left, 10), title, INK, font)
    draw.text(((left + right) / 2, height - 14), "step", INK, font, anchor="mm")
    return image


def smooth(losses, window=100):
    """The mean of the last `window` losses at every step; of all so far where there are fewer."""
    total = np.cumsum(np.concatenate([[0.0], losses]))
    i = np.arange(1, len(losses) + 1)
    first = np.maximum(0, i - window)
    return (total[i] - total[first]) / (i - first)


def _ticks(low, high):
    """Round numbers 1, 2, 5 times powers of ten between low and high."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]
