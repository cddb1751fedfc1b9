"""Reading images, and keeping decoded ones in memory where they fit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bhvit.pixels import readable, upright_rgb
from searcher.datasets.sources import Image as ImageItem

CACHE_BYTES = 2**30  # beyond this images are decoded whenever they are needed
Pixels = NDArray[np.uint8]


def decode(image: ImageItem) -> Pixels:
    """The pixels of an image, uint8 (height, width, 3), upright; raises `InvalidInput` naming an image that has none.

    What becomes of other kinds of pixels: `bhvit.pixels.upright_rgb`.
    """
    with _opened(image) as opened:
        return opened if isinstance(opened, np.ndarray) else np.asarray(upright_rgb(opened))


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
    with readable(image):
        content = image if isinstance(image, Path) else image.content()
        if isinstance(content, np.ndarray):
            yield content
            return
        with open(content, "rb") if isinstance(content, Path) else content as file, Image.open(file) as opened:
            yield opened
