"""What an image of a data set is: a file, or an item of a source such as an array in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]


class ImageSource(Protocol):
    """The images of one official split. Sources are equal where `split` and `digest` are, whoever opened them.

    `digest` stands for all contents; it names the same images in every process and wherever they lie.
    """

    @property
    def split(self) -> str:
        """The official split, the first part of every image's name."""

    @property
    def digest(self) -> str:
        """A hash of the contents."""

    def content(self, index: int) -> Pixels | BinaryIO:
        """Image `index`: its pixels, uint8 (height, width, 3), or an open file that holds it encoded."""


@dataclass(frozen=True)
class SourceImage:
    """One image of a source; its `name` is for good, as a file's is."""

    source: ImageSource
    index: int

    @property
    def name(self) -> str:
        """Split and number, such as `train/00042`."""
        return f"{self.source.split}/{self.index:05d}"

    def content(self) -> Pixels | BinaryIO:
        """See `ImageSource.content`."""
        return self.source.content(self.index)

    def __str__(self) -> str:
        return f"image {self.name}"


Image = Path | SourceImage


def content_mark(image: Image) -> str:
    """What stands for an image's content in fingerprints: the size of a file in bytes, the digest of a source."""
    return str(image.stat().st_size) if isinstance(image, Path) else image.source.digest


def images_of(source: ImageSource, labels: Sequence[int]) -> list[tuple[Image, int]]:
    """Every image of `source` with its label, in the source's order."""
    return [(SourceImage(source, index), label) for index, label in enumerate(labels)]


@dataclass(frozen=True)
class ArrayImages:
    """Images of equal size, uint8 (images, height, width, 3); they are shared, never copied."""

    split: str
    pixels: Pixels = field(compare=False, repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.pixels.flags.writeable = False
        object.__setattr__(self, "digest", hashlib.sha256(self.pixels.data).hexdigest()[:16])

    def content(self, index: int) -> Pixels:
        """A view of one image."""
        return self.pixels[index]
