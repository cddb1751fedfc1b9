"""How teachers are fine-tuned, as plain validated data: one phase, labels alone; no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from bhvit.errors import unknown_name
from searcher.recipe import Augmentation, LossWeights, Phase, TrainingRecipe, overridden
from searcher.schema import from_mapping
from searcher.yaml_file import YAML_SUFFIXES, read_yaml

PUBLISHED = "pets"


@dataclass(frozen=True)
class TeacherRecipe:
    """The one phase of a teacher; the fields are those of `TrainingRecipe` that mean something without a student."""

    phase: Phase
    batch_size: int
    weight_decay: float = 0.05
    schedule: str = "epoch"
    augmentation: Augmentation = field(default_factory=Augmentation)
    smoothing: float = 0.1
    amp: str = "auto"

    def __post_init__(self) -> None:
        _ = self.training  # whose rules are ours

    @property
    def training(self) -> TrainingRecipe:
        """The same as the training loop reads it: the phase in place of phase 1, a loss of labels alone."""
        return TrainingRecipe(
            fp=self.phase,
            qat=self.phase,
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            augmentation=self.augmentation,
            loss=LossWeights(distillation=0.0, regularizer=0.0, smoothing=self.smoothing),
            amp=self.amp,
        )

    def to_json(self) -> dict[str, Any]:
        """Canonical plain data: equal recipes give equal data."""
        data: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return data


def teacher_recipe_from(value: str) -> TeacherRecipe:
    """The shipped recipe `value`, or that of a YAML file, written out or as `{base: pets, ...}` with keys replaced.

    Raises `InvalidInput` for unknown names, keys and values.
    """
    if not value.endswith(YAML_SUFFIXES):
        return from_mapping(TeacherRecipe, _shipped(value), "recipe")
    data = read_yaml(Path(value))
    if isinstance(data, Mapping) and "base" in data:
        changes = {key: change for key, change in data.items() if key != "base"}
        data = overridden(_shipped(data["base"]), changes)
    return from_mapping(TeacherRecipe, data, value)


def teacher_recipe_names() -> tuple[str, ...]:
    """Names of the teacher recipes that ship with the package."""
    return tuple(sorted(f.name.removesuffix(".yaml") for f in _folder().iterdir() if f.name.endswith(".yaml")))


def _shipped(name: object) -> dict[str, Any]:
    if name not in teacher_recipe_names():
        raise unknown_name("teacher recipe", name, (*teacher_recipe_names(), "FILE.yaml"))
    data: dict[str, Any] = yaml.safe_load((_folder() / f"{name}.yaml").read_text(encoding="utf-8"))
    return data


def _folder() -> resources.abc.Traversable:
    return resources.files("searcher") / "recipes" / "teachers"
