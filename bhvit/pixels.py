"""Image files to pixels: upright RGB, and the centre that a network is evaluated on. Pillow, no torch."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from bhvit.errors import InvalidInput

MOST_RATIO = 100  # of the sides: 256 x 25600 pixels before the crop at 224 px, 26 MB
_UPRIGHT = {  # EXIF orientation -> what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextmanager
def readable(name: object, remedy: str = "restore it or take it out of the data") -> Iterator[None]:
    """Turns what reading an image raises where it cannot be read into an `InvalidInput` with its `name`."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise _unreadable(name, "Pillow does not know its format", remedy) from error
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)  # not the path again
        raise _unreadable(name, reason, remedy) from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """`image` in RGB, turned as its EXIF orientation says.

    Transparency is dropped; 16 bits a pixel keep the upper 8; an animation is its first frame.
    """
    if image.mode.startswith("I"):
        upper = np.clip(np.asarray(image), 0, 2**16 - 1) >> 8  # convert() would turn all above 255 into white
        image = Image.fromarray(upper.astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of an unknown range")
    turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about the direct way
    return image.convert("RGB")


def evaluation_crop(image: Image.Image, side: int, crop_pct: float, interpolation: str) -> Image.Image:
    """The centre (side x side) of `image` after its shorter side became side / `crop_pct` (floor).

    The same pixels as timm's and torchvision's evaluation transform gives; like there, all of the longer side is
    resized before most of it is cut away. Raises `InvalidInput` where that would take very much memory: beyond a ratio
    of `MOST_RATIO` of the sides.
    """
    shorter = math.floor(side / crop_pct)
    width, height = image.size
    if max(width, height) > MOST_RATIO * min(width, height):
        raise InvalidInput(
            f"an image's longer side must be at most {MOST_RATIO} times the shorter, but it is {width} x {height}; "
            "crop it."
        )
    longer = int(shorter * max(width, height) / min(width, height))
    size = (shorter, longer) if width <= height else (longer, shorter)
    image = image.resize(size, Image.Resampling[interpolation.upper()])
    left, top = (round((extent - side) / 2) for extent in size)
    return image.crop((left, top, left + side, top + side))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return 1  # the pixels can be read although the notes on them cannot


def _unreadable(name: object, reason: str, remedy: str) -> InvalidInput:
    return InvalidInput(f"{name} must be a readable image, but {' '.join(reason.split())}; {remedy}.")
