"""Which images belong to which split, with their labels; nothing is decoded here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from bhvit.errors import InvalidInput, unknown_name
from searcher.datasets.sources import Image, content_mark

SPLITS = ("train", "val", "test")
VALIDATION_SHARE = 0.1
SPLIT_SALT = "validation split 1"  # fixed for good: another value would be another validation set


@dataclass(frozen=True)
class ImageList:
    """Images with a label, an index into the listing's classes, for each."""

    items: tuple[Image, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of a hash of names and labels, in any order: the same for the same images."""
        lines = sorted(f"{item.name} {label}" for item, label in zip(self.items, self.labels, strict=True))
        return _sixteen_digits(lines)


@dataclass(frozen=True)
class Listing:
    """A data set: `train` is trained on, `val` selects epochs and candidates, `test` is read by evaluation only."""

    name: str
    classes: tuple[str, ...]
    train: ImageList
    val: ImageList
    test: ImageList

    def split(self, name: str) -> ImageList:
        """The images of one split; raises `InvalidInput` for an unknown or empty one."""
        if name not in SPLITS:
            raise unknown_name("split", name, SPLITS)
        images: ImageList = getattr(self, name)
        if not len(images):
            raise InvalidInput(f"data set {self.name} must have images in its {name} split, but it has none.")
        return images

    def require_classes(self, wanted: int) -> None:
        """Raise `InvalidInput` where a model of `wanted` classes does not fit this data set."""
        found = len(self.classes)
        if wanted != found:
            raise InvalidInput(
                f"model.classes must be the number of the data set's classes, but it is {wanted} and {self.name} has "
                f"{found}; use classes: {found}."
            )

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of a hash of names, contents, labels and splits, wherever the images lie.

        The size of a file stands for its content, the digest of a source for those of its images.
        """
        lines = [f"{self.name} {self.classes}"]
        for split in SPLITS:
            images: ImageList = getattr(self, split)
            for item, label in zip(images.items, images.labels, strict=True):
                lines.append(f"{split} {label} {item.name} {content_mark(item)}")
        return _sixteen_digits(lines)


def stratified(images: ImageList, share: float = VALIDATION_SHARE) -> tuple[ImageList, ImageList]:
    """`images` without and with about `share` of every class (at least one image of it).

    Which images are held out depends on their names alone: not on a seed, not on the order on disk.
    """
    by_class: dict[int, list[Image]] = {}
    for item, label in zip(images.items, images.labels, strict=True):
        by_class.setdefault(label, []).append(item)
    held_out: set[Image] = set()
    for items in by_class.values():
        count = max(1, int(len(items) * share + 0.5))
        held_out.update(sorted(items, key=_lottery)[:count])
    pairs = list(zip(images.items, images.labels, strict=True))
    return (
        image_list([(item, y) for item, y in pairs if item not in held_out]),
        image_list([(item, y) for item, y in pairs if item in held_out]),
    )


def image_list(pairs: Sequence[tuple[Image, int]]) -> ImageList:
    """An `ImageList` of (image, label) pairs, in their order."""
    return ImageList(tuple(item for item, _ in pairs), tuple(y for _, y in pairs))


def _lottery(item: Image) -> bytes:
    return hashlib.sha256(f"{SPLIT_SALT}:{item.name}".encode()).digest()


def _sixteen_digits(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
