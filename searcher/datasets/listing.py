"""Which image files belong to which split, with their labels; nothing is decoded here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bhvit.errors import InvalidInput, unknown_name

SPLITS = ("train", "val", "test")
VALIDATION_SHARE = 0.1
SPLIT_SALT = "validation split 1"  # fixed for good: another value would be another validation set


@dataclass(frozen=True)
class ImageList:
    """Image files with a label, an index into the listing's classes, for each."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)


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
        """Sixteen hexadecimal digits of a hash of file names, sizes, labels and splits, wherever the files lie."""
        lines = [f"{self.name} {self.classes}"]
        for split in SPLITS:
            images: ImageList = getattr(self, split)
            for path, label in zip(images.paths, images.labels, strict=True):
                lines.append(f"{split} {label} {path.name} {path.stat().st_size}")
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def stratified(images: ImageList, share: float = VALIDATION_SHARE) -> tuple[ImageList, ImageList]:
    """`images` without and with about `share` of every class (at least one image of it).

    Which images are held out depends on their file names alone: not on a seed, not on the order on disk.
    """
    by_class: dict[int, list[Path]] = {}
    for path, label in zip(images.paths, images.labels, strict=True):
        by_class.setdefault(label, []).append(path)
    held_out: set[Path] = set()
    for paths in by_class.values():
        count = max(1, int(len(paths) * share + 0.5))
        held_out.update(sorted(paths, key=_lottery)[:count])
    pairs = list(zip(images.paths, images.labels, strict=True))
    return (
        image_list([(p, y) for p, y in pairs if p not in held_out]),
        image_list([(p, y) for p, y in pairs if p in held_out]),
    )


def image_list(pairs: Sequence[tuple[Path, int]]) -> ImageList:
    """An `ImageList` of (file, label) pairs, in their order."""
    return ImageList(tuple(p for p, _ in pairs), tuple(y for _, y in pairs))


def _lottery(path: Path) -> bytes:
    return hashlib.sha256(f"{SPLIT_SALT}:{path.name}".encode()).digest()
