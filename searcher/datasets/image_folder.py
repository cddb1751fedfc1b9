"""Data sets laid out as root/train|val|test/<class>/<image>, the demo data among them."""

from __future__ import annotations

from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.datasets.listing import ImageList, Listing, image_list, stratified
from searcher.outcomes import MissingData

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
TRASHNET_MINI = Path(__file__).parent / "trashnet_mini"


def list_image_folder(root: Path, download: bool) -> Listing:
    """The images under `root`; a missing `val` folder is replaced by a fixed tenth of `train`, `test` may be absent.

    `download` has no effect. Raises `MissingData` where `root/train` is not a folder, `InvalidInput` where the splits
    have different classes or a split is empty.
    """
    return _listing("image_folder", root)


def list_trashnet_mini(root: Path, download: bool) -> Listing:
    """The demo data that ships with the package (Thung and Yang, TrashNet, MIT licence); the arguments have no effect.

    691 train, 167 val and 229 test photographs of waste in six classes, shorter side 112 px.
    """
    return _listing("trashnet_mini", TRASHNET_MINI)


def _listing(name: str, root: Path) -> Listing:
    if not (root / "train").is_dir():
        raise MissingData(
            f"data set {name} expects {root}/train/<class>/<image>, but {root / 'train'} is not a folder; put the "
            "images there (and into val and test), or correct data.root."
        )
    classes = tuple(sorted(d.name for d in (root / "train").iterdir() if d.is_dir()))
    if not classes:
        _refuse_loose_images(root / "train")
    if len(classes) < 2:
        raise InvalidInput(f"{root / 'train'} must hold a folder for each of two or more classes, but has {classes}.")
    train = images_of_classes(root / "train", classes)
    if (root / "val").is_dir():
        val = images_of_classes(root / "val", classes)
    else:
        train, val = stratified(train)
    test = images_of_classes(root / "test", classes) if (root / "test").is_dir() else image_list([])
    return Listing(name, classes, train, val, test)


def images_of_classes(folder: Path, classes: tuple[str, ...]) -> ImageList:
    """The images in folder/<class>/, class by class; raises `InvalidInput` for other folders or no image."""
    found = {d.name for d in folder.iterdir() if d.is_dir()}
    strangers = sorted(found - set(classes))
    if strangers:
        raise InvalidInput(f"{folder} must have the classes of train, but it also has {', '.join(strangers)}.")
    pairs = [
        (path, label)
        for label, name in enumerate(classes)
        if name in found
        for path in sorted((folder / name).iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not pairs:
        _refuse_loose_images(folder)
        raise InvalidInput(f"{folder} must hold images ({', '.join(sorted(IMAGE_SUFFIXES))}), but there are none.")
    return image_list(pairs)


def _refuse_loose_images(folder: Path) -> None:
    """Raise `InvalidInput` where images lie in `folder` itself, so that nothing says of which class they are."""
    loose = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())
    if loose:
        raise InvalidInput(
            f"{folder} must hold one folder of images a class, {folder}/<class>/<image>, but {loose} images lie "
            "directly in it; move them into the folders of their classes."
        )
