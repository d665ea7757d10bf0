"""Images as pictures: grids, with and without labels, and moving ones. Pillow draws them."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .. import doors
from ..device import to_host
from ..files import atomic_write

GAP = 2  # pixels between the images of a grid
PAPER, INK = (255, 255, 255), (30, 30, 30)


def to_bytes(images):
    """Images in [-1, 1] as bytes, rounded: what the screen shows.

    Raises     NotFinite if there is a number that no screen can show
    """
    (images,) = doors.images(images=images)
    images = doors.finite("images", to_host(images))
    return np.clip(images * 127.5 + 128, 0, 255).astype(np.uint8)


def image_grid(images, columns, scale=2):
    """Images (N, H, W, C) in [-1, 1], row by row, as one Pillow image `scale` times as big.

    One channel is grey, three are colours; any other number of them stands side by side, each grey.
    """
    pixels = to_bytes(images)
    if pixels.ndim != 4:
        raise ValueError(f"images of shape {pixels.shape}: give them as (N, H, W, C)")
    n, h, w, c = pixels.shape
    if c not in (1, 3):
        pixels, w, c = pixels.transpose(0, 1, 3, 2).reshape(n, h, c * w, 1), c * w, 1
    columns, scale = doors.whole("columns", columns, 1), doors.whole("scale", scale, 1)
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


def named_grid(images, columns, names=()):
    """`image_grid`; if there are names, with one of them at the left of each row."""
    if not names:
        return image_grid(images, columns)
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    if len(names) != len(rows):
        raise ValueError(f"{len(names)} names for {len(rows)} rows of images: give one for each")
    return labelled_grid(list(zip(names, rows)))


def save_picture(picture, path):
    """Write a Pillow image under `path`, whole or not at all; see `picture_format`."""
    kind = picture_format(path)
    with atomic_write(path) as file:
        picture.save(file, format=kind)


def picture_format(path):
    """Pillow's name for the kind of picture that the ending of `path` asks for.

    Raises     ValueError for an ending that Pillow cannot write
    """
    kind = Image.registered_extensions().get(Path(path).suffix.lower())
    if kind not in Image.SAVE:
        raise ValueError(f"{path}: its ending names no kind of picture; use .png")
    return kind


def save_gif(pictures, path, frame_s=0.06, last_s=2.0):
    """Write Pillow images as an endless GIF; the last one stands still for `last_s` seconds."""
    times = [round(1000 * frame_s)] * (len(pictures) - 1) + [round(1000 * last_s)]
    with atomic_write(path) as file:
        first, *others = (
            p.convert("P", palette=Image.Palette.ADAPTIVE, colors=64) for p in pictures
        )
        first.save(file, "GIF", save_all=True, append_images=others, duration=times, loop=0)
