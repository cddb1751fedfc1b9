"""Reading images, and keeping decoded ones in memory where they fit."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from bhvit.errors import InvalidInput
from searcher.datasets.sources import Image as ImageItem

CACHE_BYTES = 2**30  # beyond this images are decoded whenever they are needed
Pixels = NDArray[np.uint8]
_UPRIGHT = {  # EXIF orientation -> what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(image: ImageItem) -> Pixels:
    """The pixels of an image, uint8 (height, width, 3), upright; raises `InvalidInput` naming an image that has none.

    Transparency is dropped; 16 bits a pixel keep the upper 8; an animation is its first frame.
    """
    with _opened(image) as opened:
        return opened if isinstance(opened, np.ndarray) else np.asarray(_rgb(opened))


def pixel_size(image: ImageItem) -> tuple[int, int]:
    """Width and height in pixels as stored, from a file's header; raises `InvalidInput` as `decode` does."""
    with _opened(image) as opened:
        return (opened.shape[1], opened.shape[0]) if isinstance(opened, np.ndarray) else opened.size


class ImageStore:
    """The images of one split: `store[i]` is image i as a PIL image.

    With `cache` set and at most `CACHE_BYTES` of pixels, all are decoded at once here; otherwise each when asked for.
    """

    def __init__(self, images: Sequence[ImageItem], cache: bool) -> None:
        self._images = tuple(images)
        self._pixels: list[Pixels] | None = None
        if cache and sum(map(decoded_bytes, self._images)) <= CACHE_BYTES:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                self._pixels = list(pool.map(decode, self._images))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Image.Image:
        if self._pixels is None:
            return Image.fromarray(decode(self._images[index]))
        return Image.fromarray(self._pixels[index])

    @property
    def cached(self) -> bool:
        """Whether the pixels are in memory."""
        return self._pixels is not None


def decoded_bytes(image: ImageItem) -> int:
    """Bytes that `decode` will give, from the image's header; raises `InvalidInput` where it has none."""
    width, height = pixel_size(image)
    return 3 * width * height


@contextmanager
def _opened(image: ImageItem) -> Iterator[Pixels | Image.Image]:
    try:
        content = image if isinstance(image, Path) else image.content()
        if isinstance(content, np.ndarray):
            yield content
            return
        with open(content, "rb") if isinstance(content, Path) else content as file, Image.open(file) as opened:
            yield opened
    except UnidentifiedImageError as error:
        raise _unreadable(image, "Pillow does not know its format") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(image, str(error)) from error


def _rgb(image: Image.Image) -> Image.Image:
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


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return 1  # the pixels can be read although the notes on them cannot


def _unreadable(image: ImageItem, reason: str) -> InvalidInput:
    return InvalidInput(
        f"{image} must be a readable image, but {' '.join(reason.split())}; restore it or take it out of the data."
    )
