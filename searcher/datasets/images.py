"""Reading image files, and keeping decoded ones in memory where they fit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bhvit.errors import InvalidInput

CACHE_BYTES = 2**30  # beyond this images are decoded whenever they are needed
Pixels = NDArray[np.uint8]


def decode(path: Path) -> Pixels:
    """The pixels of an image file, uint8 (height, width, 3); raises `InvalidInput` naming a file that has none."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


class ImageStore:
    """The images of one split: `store[i]` is image i as a PIL image.

    With `cache` set and at most `CACHE_BYTES` of pixels, all are decoded at once here; otherwise each when asked for.
    """

    def __init__(self, paths: Sequence[Path], cache: bool) -> None:
        self._paths = tuple(paths)
        self._pixels: list[Pixels] | None = None
        if cache and sum(decoded_bytes(p) for p in self._paths) <= CACHE_BYTES:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                self._pixels = list(pool.map(decode, self._paths))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Image.Image:
        if self._pixels is None:
            return Image.fromarray(decode(self._paths[index]))
        return Image.fromarray(self._pixels[index])

    @property
    def cached(self) -> bool:
        """Whether the pixels are in memory."""
        return self._pixels is not None


def decoded_bytes(path: Path) -> int:
    """Bytes that `decode` will give, from the file's header; raises `InvalidInput` where it has none."""
    try:
        with Image.open(path) as image:
            return 3 * image.width * image.height
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InvalidInput:
    reason = " ".join(str(error).split())
    return InvalidInput(f"{path} must be a readable image, but {reason}; restore the file or take it out of the data.")
