"""`model:` of a space file: one model, or a list of alternatives among which a study chooses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from bhvit.errors import InvalidInput
from searcher.model_section import ModelSection, model_from, with_default_precision
from searcher.schema import from_mapping
from searcher.variables import MAX_CHOICES, PrecisionSection, WidthsSection
from searcher.yaml_file import parse_yaml

_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,40}")
_SHARED = ("image_size", "classes")  # a study has one data set, decoded and judged in one way


@dataclass(frozen=True)
class Alternative:
    """One entry of the list: a model with its name, and what it has instead of the file's `widths` and `precision`.

    A section given here replaces the file's as a whole; None leaves that in force.
    """

    name: str
    model: ModelSection
    widths: WidthsSection | None = None
    precision: PrecisionSection | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidInput(
                f"name must be 1 to 40 letters, digits or any of _ . + -, but it is {self.name!r}; it stands for the "
                "model in tables and in --set model=NAME."
            )
        if not _is_word(self.name):
            raise InvalidInput(
                f"name must be a word, but YAML reads {self.name} as something else, as --set model={self.name} does; "
                f"use for example m{self.name}."
            )

    def to_plain(self) -> dict[str, Any]:
        """The entry of a file, only the sections that it replaces among its keys."""
        sections = {"widths": self.widths, "precision": self.precision}
        given = {name: _plain(section) for name, section in sections.items() if section is not None}
        return {"name": self.name, **self.model.to_plain(), **given}


def models_from(data: object, where: str) -> ModelSection | tuple[Alternative, ...]:
    """The model or the alternatives from plain data, read strictly; raises `InvalidInput` naming the place."""
    if not isinstance(data, list | tuple):
        return model_from(data, where)
    if not 2 <= len(data) <= MAX_CHOICES:
        raise InvalidInput(
            f"{where}, as a list, must have 2 to {MAX_CHOICES} alternatives, but it has {len(data)}; a single model is "
            "written without the list."
        )
    found = tuple(_alternative_from(entry, f"{where}[{i}]") for i, entry in enumerate(data))
    _check_together(found, where)
    return found


def with_own_defaults(
    alternatives: tuple[Alternative, ...], precision: object, where: str
) -> tuple[tuple[Alternative, ...], object]:
    """The alternatives, and the file's `precision` with its default, which is that of the first that goes by it.

    Where the file has no default, those of families with another one get a section of their own, so that their order
    does not matter.
    """
    going_by_it = [alternative.model for alternative in alternatives if alternative.precision is None]
    section = with_default_precision(precision, (going_by_it or [alternatives[0].model])[0])
    if not isinstance(precision, Mapping):
        return alternatives, section
    found = []
    for alternative in alternatives:
        own = with_default_precision(precision, alternative.model)
        if alternative.precision is None and own != section:
            alternative = replace(alternative, precision=from_mapping(PrecisionSection, own, where))
        found.append(alternative)
    return tuple(found), section


def _alternative_from(data: object, where: str) -> Alternative:
    if isinstance(data, Alternative):
        return data
    if not isinstance(data, Mapping):
        raise InvalidInput(f"{where} must be a mapping of keys to values, but it is {data!r}.")
    own = {f.name for f in fields(Alternative)} - {"model"}
    model = model_from({key: value for key, value in data.items() if key not in own}, where, sorted(own))
    label = model.family if model.preset is None else f"{model.family}_{model.preset}"
    sections = {"name": label, **{key: value for key, value in data.items() if key in own}, "model": model}
    if sections.get("precision") is not None:
        sections["precision"] = with_default_precision(sections["precision"], model)
    return from_mapping(Alternative, sections, where)


def _check_together(alternatives: tuple[Alternative, ...], where: str) -> None:
    """Rules between alternatives: names differ, and all look at the same images and classes."""
    first = alternatives[0]
    for i, alternative in enumerate(alternatives):
        for j, earlier in enumerate(alternatives[:i]):
            if alternative.name == earlier.name:
                raise InvalidInput(
                    f"{where}: names must be distinct, but {where}[{j}] and {where}[{i}] are both {alternative.name}; "
                    "give one of them another name."
                )
        for key in _SHARED:
            values = getattr(first.model, key), getattr(alternative.model, key)
            if values[0] != values[1]:
                raise InvalidInput(
                    f"{where}: all alternatives must have the same {key}, because they share one data set, but "
                    f"{first.name} has {values[0]} and {alternative.name} has {values[1]}; search them in two studies."
                )


def _is_word(name: str) -> bool:
    """Whether YAML reads `name` as a text."""
    try:
        return isinstance(parse_yaml(name, "name"), str)
    except InvalidInput:
        return False


def _plain(section: WidthsSection | PrecisionSection) -> Any:
    return json.loads(json.dumps(asdict(section)))
