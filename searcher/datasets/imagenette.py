"""Imagenette: ten easy classes of ImageNet (fast.ai), through torchvision."""

from __future__ import annotations

from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.datasets.download import TorchvisionData
from searcher.datasets.image_folder import images_of_classes
from searcher.datasets.listing import Listing, stratified

FOLDERS = {"160px": "imagenette2-160", "320px": "imagenette2-320", "full": "imagenette2"}  # where torchvision unpacks


def list_imagenette(root: Path, download: bool, size: str) -> Listing:
    """A stratified tenth of the 9,469 training images is `val`; the official validation images, 3,925, are `test`.

    `size` is the shorter side of the images, a key of `FOLDERS`; every size has the same `val`. The layout is
    `train|val/<WordNet id>/<image>` in `root/<folder>`, or in a root of that name. Raises `MissingData` where it is
    absent and cannot be fetched, `InvalidInput` where the classes are not the ten.
    """
    data = TorchvisionData(
        "imagenette",
        "Imagenette",
        options={"size": size},
        layout=(f"{FOLDERS[size]}/{{train,val}}/<WordNet id>/<image>",),
        locate=lambda root: _located(root, FOLDERS[size]),
    )
    folder = data.folder(root, download)
    ids, names = _classes(folder, size)
    train, val = stratified(images_of_classes(folder / "train", ids))
    return Listing("imagenette", names, train, val, images_of_classes(folder / "val", ids))


def _located(root: Path, name: str) -> Path | None:
    candidates = (root / name, *((root,) if root.absolute().name == name else ()))
    return next((f for f in candidates if all((f / split).is_dir() for split in ("train", "val"))), None)


def _classes(folder: Path, size: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """WordNet ids, sorted, and the English name of each."""
    from torchvision.datasets import Imagenette

    try:
        known = Imagenette(str(folder.absolute().parent), split="train", size=size)
    except (FileNotFoundError, KeyError) as error:  # no class, an empty one, or one of another data set
        raise InvalidInput(
            f"{folder / 'train'} must hold a folder of images for each of Imagenette's WordNet ids, but it does not "
            f"({type(error).__name__}: {error}); delete {folder} and fetch it again."
        ) from error
    return tuple(known.wnids), tuple(synonyms[0] for synonyms in known.classes)
