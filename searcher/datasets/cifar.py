"""CIFAR-10 and CIFAR-100: 32 x 32 px, 10 and 100 classes (Krizhevsky, 2009), read by torchvision into memory.

The official Python archive holds pickles, the only ones this project reads: torchvision compares every file's MD5 sum
with the official one before it unpickles anything, so no other file is ever loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bhvit.errors import InvalidInput
from searcher.datasets.download import TorchvisionData
from searcher.datasets.listing import ImageList, Listing, image_list, stratified
from searcher.datasets.sources import ArrayImages, images_of


def list_cifar10(root: Path, download: bool) -> Listing:
    """The official splits: a stratified tenth of the 50,000 training images is `val`; the 10,000 test images.

    The layout is `data_batch_1` to `_5`, `test_batch` and `batches.meta`, in `root` or `root/cifar-10-batches-py`.
    Raises `MissingData` where it is absent and cannot be fetched (170 MB), `InvalidInput` where a file is not the
    official one.
    """
    return _listed("cifar10", "CIFAR10", root, download)


def list_cifar100(root: Path, download: bool) -> Listing:
    """As `list_cifar10`, by fine labels; the layout is `train`, `test`, `meta` in `root` or `root/cifar-100-python`."""
    return _listed("cifar100", "CIFAR100", root, download)


def _listed(name: str, loader: str, root: Path, download: bool) -> Listing:
    import torchvision.datasets

    cls = getattr(torchvision.datasets, loader)
    files = [entry[0] for entry in (*cls.train_list, *cls.test_list)] + [cls.meta["filename"]]
    data = TorchvisionData(
        name,
        loader,
        options={},
        layout=(f"{cls.base_folder}/{{{','.join(files)}}}",),
        locate=lambda root: next(
            (f for f in (root / cls.base_folder, root) if all((f / file).is_file() for file in files)), None
        ),
    )
    folder = data.folder(root, download)
    try:
        return _loaded(name, loader, folder.resolve())
    except RuntimeError as error:  # torchvision's word for another MD5 sum
        raise InvalidInput(
            f"{folder} must hold the official files of {name}, but torchvision found other MD5 sums; delete the folder "
            f"and get it with: {data.command(root)}"
        ) from error


# The images of a data set are in memory once, whatever the number of trials.
@functools.lru_cache(maxsize=1)
def _loaded(name: str, loader: str, folder: Path) -> Listing:
    import torchvision.datasets

    here = type(loader, (getattr(torchvision.datasets, loader),), {"base_folder": ""})
    train, test = here(str(folder), train=True), here(str(folder), train=False)
    rest, val = stratified(_split("train", train.data, train.targets))
    return Listing(name, tuple(train.classes), rest, val, _split("test", test.data, test.targets))


def _split(split: str, pixels: Any, labels: Sequence[int]) -> ImageList:
    return image_list(images_of(ArrayImages(split, np.ascontiguousarray(pixels)), labels))
