"""Top-1 of opened models on a folder of test images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bhvit.errors import InvalidInput
from bhvit.pixels import evaluation_crop
from searcher.benching.models import OpenModel
from searcher.datasets.image_folder import images_of_classes
from searcher.datasets.images import decode
from searcher.datasets.listing import ImageList


@dataclass(frozen=True)
class TestImages:
    """The images in folder/<class>/, with labels by the folders' names in alphabetical order, `classes`.

    Raises `InvalidInput` where there is no folder or nothing in it.
    """

    folder: Path
    classes: tuple[str, ...]
    images: ImageList

    __test__ = False  # no tests for pytest

    @classmethod
    def of(cls, folder: Path) -> TestImages:
        """What is found in a folder."""
        if not folder.is_dir():
            raise InvalidInput(f"--images must be a folder that holds one of images a class, but {folder} is none.")
        classes = tuple(sorted(d.name for d in folder.iterdir() if d.is_dir()))
        return cls(folder, classes, images_of_classes(folder, classes))

    def labels_of(self, model: OpenModel) -> tuple[int, ...]:
        """For each image the place of its class among the outputs of `model`.

        Raises `InvalidInput` for a folder that is no class of it; one without class names must have an output a folder.
        """
        names = self.classes if model.classes is None else model.classes
        strangers = [name for name in self.classes if name not in names]
        file = model.contestant.path.name
        if strangers:
            raise InvalidInput(
                f"{self.folder} must have the classes of {file} ({', '.join(names)}), but it also has "
                f"{', '.join(strangers)}."
            )
        if len(names) != model.outputs:
            raise InvalidInput(
                f"{self.folder} must have a folder for each of the {model.outputs} outputs of {file}, which names no "
                f"classes, but it has {len(names)}."
            )
        places = [names.index(name) for name in self.classes]
        return tuple(places[label] for label in self.images.labels)


def top1(models: Sequence[OpenModel], test: TestImages, on_image: Callable[[], None] = lambda: None) -> list[float]:
    """Share of the images whose largest logit is that of their class, for each model."""
    labels = [test.labels_of(model) for model in models]
    right = [0] * len(models)
    for number, item in enumerate(test.images.items):
        picture = Image.fromarray(decode(item))
        pixels = {rule: np.asarray(evaluation_crop(picture, *rule)) for rule in {m.crop for m in models}}
        for place, model in enumerate(models):
            logits = model.run(model.prepare(pixels[model.crop]))
            right[place] += int(logits.argmax()) == labels[place][number]
        on_image()
    return [count / len(test.images) for count in right]
