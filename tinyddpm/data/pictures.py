"""Any picture that Pillow reads, as a square of bytes."""

import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..doors import brief


class Unusable(ValueError):
    """A picture cannot be used; the message says why."""


def read_picture(path, size, background="white"):
    """The middle square of a picture, scaled to bytes (size, size, 3).

    It is turned as its EXIF says, laid on `background` where one can see through it, and scaled
    with antialiasing. Of a moving picture it is the first frame.
    Raises     Unusable if it is damaged, too small, or so large that reading it is dangerous
    Source     Parmar et al. 2022, "On aliased resizing", on how to scale
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return np.asarray(_square(image, size, background))
    except Unusable:
        raise
    except UnidentifiedImageError:
        raise Unusable("empty, or no picture of a kind that is read here") from None
    except Exception as error:  # Pillow has a dozen ways to say "damaged"
        bomb = isinstance(error, (Image.DecompressionBombWarning, Image.DecompressionBombError))
        raise Unusable(f"{'too large' if bomb else 'damaged'}: {brief(error)}") from None


def _square(image, size, background):
    """A picture's middle square in three colours, `size` pixels wide."""
    if image.format == "EPS":
        raise Unusable("EPS is not read: another program would be run for it")
    if min(image.size) < size:
        raise Unusable(f"too small: {image.width} × {image.height} pixels for {size} × {size}")
    image.draft(None, (size, size))  # a JPEG need not be unpacked in full
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode[0] in "IF":
        low, high = image.getextrema()
        if image.mode == "F" or not 0 <= low <= high < 1 << 16:
            raise Unusable("neither 8 nor 16 bits: nobody says which number is white")
        image = image.convert("I").point(lambda number: number / 257 + 0.5).convert("L")
    if image.has_transparency_data:
        seen, image = image.convert("RGBA"), Image.new("RGB", image.size, background)
        image.paste(seen, mask=seen)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
