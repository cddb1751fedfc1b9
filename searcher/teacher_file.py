"""What a file of `searcher teacher` says about itself, and whether it may teach on a data set; no torch.

The file is one safetensors: the weights of a timm model, and two texts as metadata. `teacher` is the JSON of a
`TeacherCard`; `trained_on` has the content digests of the images it was fine-tuned on, so that no student is judged
on images that its teacher has learned by heart, whatever the images are called and however they are split today.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from bhvit.errors import InvalidInput
from searcher.datasets.listing import Listing
from searcher.datasets.sources import Image
from searcher.outcomes import MissingData
from searcher.recipe import SAFETENSORS, TrainingRecipe, unnamed_teacher
from searcher.schema import from_mapping

FORMAT = 1
CARD, TRAINED_ON = "teacher", "trained_on"
DIGITS = 12  # hexadecimal, of a content digest


@dataclass(frozen=True)
class TeacherCard:
    """What a teacher is: the timm model, its images' side in pixels, and everything it was made from.

    `key` identifies the training (same key, same weights on the CPU). `origin` says where the initial weights came
    from, `data` and `fingerprint` which listing it was fine-tuned on. `accuracy` is the validation Top-1 (0..1) of
    epoch `epoch`, whose weights are kept. `recipe` is plain data of a `TeacherRecipe`, `tool` our version, `date` UTC.
    """

    key: str
    model: str
    image_size: int
    classes: tuple[str, ...]
    data: str
    fingerprint: str
    recipe: dict[str, Any]
    seed: int
    origin: str
    accuracy: float
    epoch: int
    tool: str
    date: str
    format: int = FORMAT

    def metadata(self, trained_on: Iterable[str]) -> dict[str, str]:
        """The safetensors metadata of a teacher fine-tuned on the images with these content digests."""
        return {CARD: json.dumps(dataclasses.asdict(self)), TRAINED_ON: "".join(sorted(trained_on))}


def read_card(path: Path) -> TeacherCard | None:
    """What the weights in `path` say about themselves; None for a checkpoint of another origin.

    Raises `InvalidInput` for a damaged file and for the format of another version.
    """
    metadata = _metadata(path)
    if CARD not in metadata:
        return None
    try:
        data, _ = json.loads(metadata[CARD]), metadata[TRAINED_ON]
        version = data["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error
    if version != FORMAT:
        raise InvalidInput(
            f"{path} must be of format {FORMAT}, but it is of format {version}; make it again with this version's "
            "`searcher teacher`."
        )
    return from_mapping(TeacherCard, data, f"the card of {path}")


def teacher_source(recipe: TrainingRecipe, listing: Listing) -> tuple[str, int | None]:
    """Timm model and image side (None: the candidate's) of the recipe's teacher file.

    They come from the file where it says so, else from the recipe. Raises `MissingData` for an absent file and
    `InvalidInput` for a damaged one, where recipe and file contradict each other, where the file does not fit the data
    set (see `require_fit`), and where neither names the model.
    """
    path = recipe.teacher_file
    assert path is not None
    if not path.is_file():
        raise MissingData(
            f"the teacher's weights are expected in {path}, but there is no such file; make them with `searcher "
            "teacher`, put them there, or use teacher: parent or none."
        )
    card = read_card(path)
    if card is None:
        if not recipe.teacher_model:
            raise unnamed_teacher(recipe.teacher)
        return recipe.teacher_model, recipe.teacher_image_size
    _require_same("teacher_model", recipe.teacher_model or card.model, card.model, path)
    _require_same("teacher_image_size", recipe.teacher_image_size or card.image_size, card.image_size, path)
    require_fit(card, path, listing)
    return card.model, card.image_size


def require_fit(card: TeacherCard, path: Path, listing: Listing) -> None:
    """Raise `InvalidInput` unless the teacher in `path` knows the listing's classes and none of its judging images.

    Classes must agree in number, names and order. Name and split of the data set may differ (a teacher made on a copy,
    or before the split changed), as long as no image of `val` or `test` is among those the teacher was fine-tuned on.
    """
    if len(card.classes) != len(listing.classes):
        raise InvalidInput(
            f"a teacher must have the data set's {len(listing.classes)} classes, but {path} has {len(card.classes)} "
            f"(of {card.data}); fine-tune one on {listing.name} with `searcher teacher`."
        )
    for i, (ours, theirs) in enumerate(zip(listing.classes, card.classes, strict=True)):
        if ours != theirs:
            raise InvalidInput(
                f"a teacher must have the data set's classes in their order, but class {i} of {listing.name} is "
                f"{ours!r} and that of {path} is {theirs!r} (of {card.data}); fine-tune one on {listing.name} with "
                "`searcher teacher`."
            )
    if card.fingerprint == listing.fingerprint:
        return
    seen = _trained_on(path)
    val, test = (sum(content_digest(p) in seen for p in images.items) for images in (listing.val, listing.test))
    if val or test:
        raise InvalidInput(
            f"a teacher must not have learned images that judge its students, but {path} (fine-tuned on {card.data}, "
            f"listing {card.fingerprint}) has seen {val} of the {len(listing.val)} val and {test} of the "
            f"{len(listing.test)} test images of {listing.name} (listing {listing.fingerprint}); fine-tune one on "
            "this split with `searcher teacher`."
        )


def content_digest(image: Image) -> str:
    """Twelve hexadecimal digits of a hash of an image's bytes; raises `InvalidInput` where it cannot be read."""
    try:
        content = image.open("rb") if isinstance(image, Path) else image.content()
    except OSError as error:
        raise InvalidInput(f"{image} must be a readable file, but {error.strerror}; restore it.") from error
    if hasattr(content, "tobytes"):
        return hashlib.sha256(content.tobytes()).hexdigest()[:DIGITS]
    with content as file:
        return hashlib.sha256(file.read()).hexdigest()[:DIGITS]


def _require_same(name: str, wanted: str | int, found: str | int, path: Path) -> None:
    if wanted != found:
        raise InvalidInput(f"{name} must be that of {path}, but they are {wanted} and {found}; leave {name} out.")


def _trained_on(path: Path) -> set[str]:
    text = _metadata(path)[TRAINED_ON]
    return {text[i : i + DIGITS] for i in range(0, len(text), DIGITS)}


def _metadata(path: Path) -> Mapping[str, str]:
    if path.suffix != SAFETENSORS:
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InvalidInput:
    reason = " ".join(str(error).split())[:200]
    return InvalidInput(f"{path} must be a whole safetensors file, but {reason}; restore it or make it again.")
