"""Small image folders whose classes can be told apart by colour, and a small recipe to train on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import searcher.datasets
from searcher.recipe import TrainingRecipe, recipe_from

SHIPPED = Path(searcher.datasets.__file__).parent / "trashnet_mini"
COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 60), "red": (200, 50, 40)}


def write_image(path: Path, colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (48, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 40, (size[1], size[0], 3))
    Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8)).save(path, quality=90)


def image_folder(root: Path, per_class: dict[str, int] | None = None) -> Path:
    """root/train|val|test/<colour>/<n>.jpg with 8, 4 and 4 images a class."""
    for split, count in (per_class or {"train": 8, "val": 4, "test": 4}).items():
        for k, (name, colour) in enumerate(COLOURS.items()):
            for i in range(count):
                write_image(root / split / name / f"{i}.jpg", colour, seed=hash_free(split, k, i))
    return root


def few_photographs(root: Path, per_class: int = 4, classes: int = 3) -> Path:
    """root/train|val|test/<class>/<name>.jpg: links to the first of the photographs that come with the product."""
    for split in ("train", "val", "test"):
        for folder in sorted(path for path in (SHIPPED / split).iterdir() if path.is_dir())[:classes]:
            (root / split / folder.name).mkdir(parents=True)
            for picture in sorted(folder.glob("*.jpg"))[:per_class]:
                (root / split / folder.name / picture.name).symlink_to(picture)
    return root


def hash_free(split: str, k: int, i: int) -> int:
    return {"train": 0, "val": 1, "test": 2}[split] * 10_000 + k * 100 + i


def small_recipe(**changes: object) -> TrainingRecipe:
    """Two phases of three epochs with everything random switched on."""
    data = {
        "fp": {"epochs": 3, "learning_rate": 0.01, "warmup_epochs": 1},
        "qat": {"epochs": 3, "learning_rate": 0.01, "warmup_epochs": 1},
        "batch_size": 8,
        "drop_path": 0.2,
        "schedule": "step",
        "augmentation": {
            "auto_augment": "rand-m9-mstd0.5-inc1",
            "random_erasing": 0.5,
            "mixup": 0.8,
            "cutmix": 1.0,
        },
    }
    return recipe_from(data | changes)
