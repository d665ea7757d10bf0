"""Any picture that Pillow reads, as a square of bytes."""

import math
import os

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


class Unusable(ValueError):
    """A picture cannot be used; the message says why."""


def read_picture(path, size, background="white"):
    """The middle square of a picture, scaled to bytes (size, size, 3).

    It is turned as its EXIF says, laid on `background` where one can see through it, and scaled
    with antialiasing. Of a moving picture it is the first frame.
    Raises     Unusable if it is damaged, too small, or so large that reading it is dangerous
    Source     Parmar et al. 2022, "On aliased resizing", on how to scale
    """
    limit = Image.MAX_IMAGE_PIXELS or math.inf
    try:
        with Image.open(path, formats=_formats()) as image:
            if image.width * image.height > limit:
                raise Image.DecompressionBombError
            if min(image.size) < size:
                raise Unusable(f"too small: {image.width} × {image.height} pixels")
            image.draft(None, (size, size))  # a JPEG need not be unpacked in full
            image = _rgb(ImageOps.exif_transpose(image), background)
            return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))
    except Unusable:
        raise
    except Image.DecompressionBombError:
        raise Unusable(f"too large: more than {limit:,} pixels") from None
    except UnidentifiedImageError:
        empty = not os.path.getsize(path)
        raise Unusable("empty" if empty else "no picture of a kind that is read here") from None
    except Exception as error:  # Pillow has a dozen ways to say "damaged"
        raise Unusable(f"damaged: {str(error)[:150] or type(error).__name__}") from None


def _formats():
    """What Pillow can read, but for EPS, which it would have another program run."""
    Image.init()
    return [name for name in Image.OPEN if name != "EPS"]


def _rgb(image, background):
    """The picture in three colours of a byte each."""
    if image.mode[0] == "I":  # 16 bits
        numbers = np.asarray(image).astype(np.int64)
        if not 0 <= numbers.min() <= numbers.max() < 1 << 16:
            raise Unusable(f"numbers from {numbers.min()} to {numbers.max()}: 16 bits are read")
        image = Image.fromarray(((numbers + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise Unusable("floating-point numbers: nobody says which of them is white")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    return image.convert("RGB")
