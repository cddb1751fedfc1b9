"""How candidates are trained, as plain validated data; reading a recipe loads neither torch nor timm."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from bhvit.errors import InvalidInput, unknown_name
from searcher.datasets.config import DataConfig
from searcher.schema import from_mapping

__all__ = ["Augmentation", "DataConfig", "LossWeights", "Phase", "TrainingRecipe", "recipe_from", "recipe_names"]

NO_TEACHER, PARENT_TEACHER = "none", "parent"
SAFETENSORS = ".safetensors"  # the suffix of weights that can say what they are
ROUNDING_ONLY = ("compile", "fused_optimizer")  # fields of a recipe


@dataclass(frozen=True)
class Phase:
    """One of the two trainings: `epochs` of AdamW under a cosine schedule with linear warm-up.

    Rates are absolute, never scaled by the batch size. The rate rises from `warmup_learning_rate` over
    `warmup_epochs`, then follows the cosine over all `epochs` down to `min_learning_rate`.
    """

    epochs: int
    learning_rate: float
    min_learning_rate: float = 1e-8
    warmup_epochs: int = 0
    warmup_learning_rate: float = 1e-6

    def __post_init__(self) -> None:
        _at_least("epochs", self.epochs, 1)
        _at_least("warmup_epochs", self.warmup_epochs, 0)
        if self.warmup_epochs >= self.epochs:
            raise InvalidInput(
                f"warmup_epochs must be fewer than epochs, but they are {self.warmup_epochs} of {self.epochs}; "
                f"use at most {self.epochs - 1}."
            )
        for name in ("min_learning_rate", "warmup_learning_rate"):
            value = getattr(self, name)
            if not 0 <= value <= self.learning_rate or self.learning_rate == 0:
                raise InvalidInput(
                    f"{name} must lie between 0 and learning_rate (which is above 0), but they are {value} and "
                    f"{self.learning_rate}."
                )


def with_length(phase: Phase, epochs: int) -> Phase:
    """`phase` with another number of epochs; where it changes, warm-up is at most a quarter of it."""
    if epochs == phase.epochs:
        return phase
    return dataclasses.replace(phase, epochs=epochs, warmup_epochs=max(0, min(phase.warmup_epochs, epochs // 4)))


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images, all carried out by timm.

    `auto_augment` is timm's policy string, empty for none; with a RandAugment policy timm leaves `color_jitter` out,
    in the published runs too. `mixup` and `cutmix` are the alphas of their Beta distributions, 0 for off; one is
    chosen per batch, CutMix with probability `mix_switch`.
    """

    crop_scale: tuple[float, ...] = (0.08, 1.0)
    interpolation: str = "bicubic"
    horizontal_flip: float = 0.5
    auto_augment: str = ""
    color_jitter: float = 0.0
    random_erasing: float = 0.0
    random_erasing_mode: str = "pixel"
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    mix_switch: float = 0.5

    def __post_init__(self) -> None:
        if len(self.crop_scale) != 2 or not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise InvalidInput(
                f"crop_scale must be the smallest and largest share of the image's area, such as [0.08, 1.0], but it "
                f"is {list(self.crop_scale)}."
            )
        _one_of("interpolation", self.interpolation, ("bicubic", "bilinear"))
        _one_of("random_erasing_mode", self.random_erasing_mode, ("pixel", "rand", "const"))
        for name in ("horizontal_flip", "random_erasing", "mix_probability", "mix_switch"):
            _share(name, getattr(self, name))
        for name in ("color_jitter", "mixup", "cutmix"):
            _at_least(name, getattr(self, name), 0)

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed with each other."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True)
class LossWeights:
    """Weights of (1 - lambda - beta) CE + lambda KD + beta L_re.

    `distillation` is lambda (counted as 0 without a teacher), `regularizer` is beta, which acts only beyond the share
    `regularizer_from` of phase 2's epochs, `smoothing` softens the labels. `regularize_downsampling` says whether L_re
    covers the downsampling convolutions, as the paper's text has it; the released code misses them.
    """

    distillation: float = 0.8
    regularizer: float = 0.1
    regularizer_from: float = 0.9
    smoothing: float = 0.1
    regularize_downsampling: bool = True

    def __post_init__(self) -> None:
        for name in ("distillation", "regularizer", "regularizer_from", "smoothing"):
            _share(name, getattr(self, name))
        if self.distillation + self.regularizer > 1:
            raise InvalidInput(
                f"distillation + regularizer must be at most 1, but they are {self.distillation} and "
                f"{self.regularizer}; the rest is the weight of the labels."
            )


@dataclass(frozen=True)
class TrainingRecipe:
    """Both phases and everything they share.

    `teacher` is `none`, `parent` (the candidate's own full-precision model, phase 2 only) or the path of weights. A
    file of `searcher teacher` says itself which timm model it holds and for which images; for other files
    `teacher_model` is the timm model and `teacher_image_size` the side it was made for (none: the candidate's).
    `schedule` changes the learning rate per `epoch` (as published) or per `step`. `amp` is `auto` (bfloat16 on CUDA)
    or `off`. `augment` says where images are cropped and flipped: `cpu` (timm, decoded anew or kept, see `DataConfig`)
    or `device` (all decoded once and kept there). `compile` and `fused_optimizer` change speed and rounding alone.
    """

    fp: Phase
    qat: Phase
    batch_size: int
    weight_decay: float = 0.05
    drop_path: float = 0.0
    schedule: str = "epoch"
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: LossWeights = field(default_factory=LossWeights)
    teacher: str = NO_TEACHER
    teacher_model: str = ""
    teacher_image_size: int | None = None
    amp: str = "auto"
    augment: str = "cpu"
    compile: bool = False
    fused_optimizer: bool = True

    def __post_init__(self) -> None:
        _at_least("batch_size", self.batch_size, 2)
        _at_least("weight_decay", self.weight_decay, 0)
        if not 0 <= self.drop_path < 1:
            raise InvalidInput(f"drop_path must be at least 0 and below 1, but it is {self.drop_path}.")
        _one_of("schedule", self.schedule, ("epoch", "step"))
        _one_of("amp", self.amp, ("auto", "off"))
        _one_of("augment", self.augment, ("cpu", "device"))
        if self.augment == "device" and (self.augmentation.auto_augment or self.augmentation.color_jitter):
            name = "auto_augment" if self.augmentation.auto_augment else "color_jitter"
            raise InvalidInput(
                f"augmentation.{name} works on the CPU alone, but it is {getattr(self.augmentation, name)!r} with "
                "augment: device; use augment: cpu, or auto_augment: '' and color_jitter: 0."
            )
        if self.augmentation.mixes and self.batch_size % 2:
            raise InvalidInput(
                f"batch_size must be even where mixup or cutmix is on, but it is {self.batch_size}; use "
                f"{self.batch_size + 1}."
            )
        if self.teacher_file and self.teacher_file.suffix != SAFETENSORS and not self.teacher_model:
            raise unnamed_teacher(self.teacher)

    @property
    def teacher_file(self) -> Path | None:
        """The file of the teacher's weights, where the teacher is a file."""
        return None if self.teacher in (NO_TEACHER, PARENT_TEACHER) else Path(self.teacher)

    def to_json(self) -> dict[str, Any]:
        """Canonical plain data: equal recipes give equal data, `recipe_from` reads it back."""
        data: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return data

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of a hash of the canonical data."""
        return digest(self.to_json())

    def meaning_json(self) -> dict[str, Any]:
        """The canonical data without what changes rounding alone; recipes that agree in it are the same training."""
        data = self.to_json()
        for name in ROUNDING_ONLY:
            del data[name]
        return data

    def parent_json(self) -> dict[str, Any]:
        """The part of `meaning_json` on which phase 1 depends; recipes that agree in it share their parents."""
        data = self.meaning_json()
        del data["qat"]
        for name in ("regularizer", "regularizer_from", "regularize_downsampling"):
            del data["loss"][name]
        if self.teacher_file is None:
            for name in ("teacher", "teacher_model", "teacher_image_size"):
                del data[name]
            del data["loss"]["distillation"]
        return data


def recipe_from(value: str | Mapping[str, Any], where: str = "recipe") -> TrainingRecipe:
    """The recipe named `value`, or written out as a mapping, or `{base: NAME, ...}` with some keys replaced.

    Nested keys replace one by one: `{base: pets, qat: {epochs: 3}}` keeps the other values of pets' phase 2.
    Raises `InvalidInput` for unknown names, keys and values.
    """
    if isinstance(value, str):
        return from_mapping(TrainingRecipe, named_recipe(value), where)
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{where} must be the name of a recipe or a mapping, but it is {value!r}.")
    changes = dict(value)
    base = changes.pop("base", None)
    if base is None:
        return from_mapping(TrainingRecipe, changes, where)
    if not isinstance(base, str):
        raise InvalidInput(f"{where}.base must be the name of a recipe, but it is {base!r}.")
    return from_mapping(TrainingRecipe, overridden(named_recipe(base), changes), where)


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that ship with the package."""
    folder = resources.files("searcher") / "recipes"
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def named_recipe(name: str) -> dict[str, Any]:
    """The plain data of a shipped recipe; raises `InvalidInput` with the legal names."""
    if name not in recipe_names():
        raise unknown_name("recipe", name, recipe_names())
    text = (resources.files("searcher") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return data


def unnamed_teacher(path: str) -> InvalidInput:
    """The error for weights that do not say which timm model they belong to, in a recipe that does not either."""
    return InvalidInput(
        f"teacher_model must name the timm model whose weights {path!r} holds, but it is empty; use for example "
        "deit_tiny_patch16_224, a file made by `searcher teacher`, or teacher: parent."
    )


def digest(data: Any) -> str:
    """Sixteen hexadecimal digits of a hash of plain data, independent of the order of keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def overridden(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values in `changes`, mappings key by key."""
    merged = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = overridden(merged[key], value) if nested else value
    return merged


def _at_least(name: str, value: float, least: float) -> None:
    if value < least:
        raise InvalidInput(f"{name} must be at least {least}, but it is {value}.")


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InvalidInput(f"{name} must lie between 0 and 1, but it is {value}.")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise unknown_name(name, value, known)
