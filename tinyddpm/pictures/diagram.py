"""A U-Net as a picture: levels, channels, attention, skips, and where time and label come in."""

from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from .grids import INK, PAPER

COLORS = {"block": (190, 210, 235), "attention": (245, 205, 150), "conv": (225, 225, 225)}
LEGEND = (
    ("block", "residual block with its channels"),
    ("attention", "followed by attention"),
    ("conv", "convolution: in, halving (1/2), doubling (x2), out"),
)
SKIP, TIME = (90, 130, 190), (200, 60, 30)
BOX, GAP, NEST = (46, 34), 12, 9  # pixels of a box, between boxes, between one skip and the next
LEFT, TOP = 96, 30


class Box(NamedTuple):
    """One step of a U-Net's forward pass: its kind, the level it is drawn at, and its text."""

    kind: str
    level: int
    text: str
    sends: bool = False  # a skip
    receives: bool = False


def unet_diagram(config):
    """The network of a UNetConfig as a Pillow image: down at the left, up at the right."""
    boxes, levels = list(unet_boxes(config)), len(config.sizes)
    nested = config.blocks + 1  # skips at a level
    height = BOX[1] + NEST * (nested + 2)
    image = Image.new(
        "RGB", (LEFT + len(boxes) * (BOX[0] + GAP), TOP + levels * height + 30), PAPER
    )
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=13)
    places = [
        (LEFT + column * (BOX[0] + GAP), TOP + NEST * (nested + 1) + box.level * height)
        for column, box in enumerate(boxes)
    ]
    for level, size in enumerate(config.sizes):
        middle = TOP + NEST * (nested + 1) + level * height + BOX[1] / 2
        draw.text((LEFT - 16, middle), f"{size} x {size}", INK, font, anchor="rm")
    for before, after in zip(places, places[1:]):
        _way(draw, before, after)
    for depth, sender, receiver in skips_of(boxes):
        _skip(draw, places[sender], places[receiver], NEST * depth)
    for box, (x, y) in zip(boxes, places):
        draw.rectangle((x, y, x + BOX[0], y + BOX[1]), COLORS[box.kind], INK)
        draw.text((x + BOX[0] / 2, y + BOX[1] / 2), box.text, INK, font, anchor="mm")
        if box.kind != "conv":
            _dot(draw, x + BOX[0] / 2, y + BOX[1])
    _legend(draw, font, image.height - 16, bool(config.classes))
    return image


def unet_boxes(config):
    """The Boxes of a UNetConfig in the order of the forward pass; see `UNet`."""

    def block(level, channels, attends, **skip):
        kind = "attention" if config.sizes[level] in attends else "block"
        return Box(kind, level, str(channels), **skip)

    last = len(config.sizes) - 1
    yield Box("conv", 0, "in", sends=True)
    for level, channels in enumerate(config.channels):
        if level:
            yield Box("conv", level, "1/2", sends=True)
        for _ in range(config.blocks):
            yield block(level, channels, config.attention_at, sends=True)
    yield Box("attention", last, str(config.channels[last]))
    yield Box("block", last, str(config.channels[last]))
    for level, channels in reversed(list(enumerate(config.channels))):
        if level < last:
            yield Box("conv", level, "x2")
        for _ in range(config.blocks + 1):
            yield block(level, channels, config.up_attention, receives=True)
    yield Box("conv", 0, "out")


def skips_of(boxes):
    """(depth, sender, receiver) of every skip: the last one sent at a level is the first received.

    depth counts the skips of the level that lie within this one, plus 1; the others are indices.
    """
    stack, depth = [], {}
    for i, box in enumerate(boxes):
        if box.sends:
            stack.append(i)
        if box.receives:
            depth[box.level] = depth.get(box.level, 0) + 1
            yield depth[box.level], stack.pop(), i


def _way(draw, before, after):
    """From one box to the next one, at its right or a level higher or lower."""
    (x0, y0), (x1, y1) = before, after
    y0, y1 = y0 + BOX[1] / 2, y1 + BOX[1] / 2
    middle = x0 + BOX[0] + GAP / 2
    draw.line((x0 + BOX[0], y0, middle, y0, middle, y1, x1, y1), INK)
    draw.polygon((x1, y1, x1 - 5, y1 - 3, x1 - 5, y1 + 3), INK)


def _skip(draw, sender, receiver, rise):
    """Over everything in between, `rise` pixels above the boxes."""
    (x0, y), (x1, _) = ((x + BOX[0] / 2, y) for x, y in (sender, receiver))
    draw.line((x0, y, x0, y - rise, x1, y - rise, x1, y), SKIP, width=1)
    draw.polygon((x1, y, x1 - 3, y - 5, x1 + 3, y - 5), SKIP)


def _dot(draw, x, y):
    """Where time and label come in."""
    draw.ellipse((x - 3, y - 3, x + 3, y + 3), TIME)


def _legend(draw, font, y, labels):
    x = LEFT
    for kind, text in LEGEND:
        draw.rectangle((x, y - 6, x + 12, y + 6), COLORS[kind], INK)
        draw.text((x + 18, y), text, INK, font, anchor="lm")
        x += 40 + font.getlength(text)
    draw.line((x, y, x + 12, y), SKIP)
    draw.text((x + 18, y), "skip", INK, font, anchor="lm")
    x += 40 + font.getlength("skip")
    _dot(draw, x + 6, y)
    draw.text((x + 18, y), "t and label" if labels else "t", INK, font, anchor="lm")
