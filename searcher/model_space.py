"""What can be chosen of one model: the whole of most spaces, one alternative of those that choose among models."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bhvit.errors import InvalidInput
from bhvit.precision import PrecisionPlan, precision_named
from bhvit.staged import Architecture
from searcher.budget import RelativeTo
from searcher.candidate import Candidate
from searcher.model_section import ModelSection
from searcher.space_file import SpaceFile
from searcher.variables import (
    MAX_CHOICES,
    Choice,
    Kind,
    PrecisionSection,
    Variable,
    WidthsSection,
    precision_layers,
    size_of,
    variables_of,
)

MODEL = str(Kind.MODEL)


@dataclass(frozen=True)
class ModelSpace:
    """An architecture whose widths and precisions are chosen by `variables`, of which every one is active.

    `label` is the alternative's name, empty where the file has a single model. Configurations are numbered
    0 .. size - 1 in mixed radix over `variables`, the last of which varies fastest.
    """

    label: str
    section: ModelSection
    widths: WidthsSection
    precision: PrecisionSection
    base: Architecture
    variables: tuple[Variable, ...]

    @property
    def family(self) -> str:
        """Name of the model family."""
        return self.section.family

    @cached_property
    def size(self) -> int:
        """Number of configurations."""
        return size_of(self.variables)

    def candidate(self, choices: Mapping[str, Choice]) -> Candidate:
        """The candidate with these choices, one for every variable."""
        everywhere = [1.0] * len(self.base.stages)
        widths: dict[str, list[float]] = {str(kind): list(everywhere) for kind in (Kind.HIDDEN, Kind.INTERMEDIATE)}
        scaled = False
        for variable in self.variables:
            for stage in variable.stages:
                widths[variable.kind][stage] = float(choices[variable.name])
                scaled = True
        architecture = self.base.scaled(**widths) if scaled else self.base
        default = precision_named(self.precision.default)
        layers = precision_layers(self.base.addresses, default, self.variables, choices)
        return self._candidate(architecture, PrecisionPlan.of_layers(layers))

    def reference(self, relative_to: RelativeTo) -> Candidate:
        """The candidate of this model that relative limits refer to."""
        self.check_unit_scale()
        architecture = self.base.scaled(**relative_to.factors)
        return self._candidate(architecture, PrecisionPlan.named(relative_to.precision))

    def decode(self, index: int) -> dict[str, Choice]:
        """Choices of configuration `index`."""
        digits: list[int] = []
        for variable in reversed(self.variables):
            index, digit = divmod(index, len(variable.choices))
            digits.append(digit)
        return self.choices_of(digits[::-1])

    def encode(self, choices: Mapping[str, Choice]) -> int:
        """Index of the configuration with these choices; the inverse of `decode`."""
        index = 0
        for variable, digit in zip(self.variables, self.digits_of(choices), strict=True):
            index = index * len(variable.choices) + digit
        return index

    def choices_of(self, digits: Sequence[int]) -> dict[str, Choice]:
        """Choices from the index of each variable's choice."""
        return {v.name: v.choices[int(digit)] for v, digit in zip(self.variables, digits, strict=True)}

    def digits_of(self, choices: Mapping[str, Any]) -> tuple[int, ...]:
        """Index of each variable's choice; raises `InvalidInput` where one is missing or unknown."""
        missing = [v.name for v in self.variables if v.name not in choices]
        if missing:
            raise InvalidInput(f"choices lack {', '.join(missing)}; use Space.complete.")
        return tuple(v.digit_of(choices[v.name]) for v in self.variables)

    def check_unit_scale(self) -> None:
        """Raise `InvalidInput` unless a width factor of 1 leaves the architecture as it is."""
        given, scaled = self.base.embed_dims, self.base.scaled().embed_dims
        if given != scaled:
            each = [self.base.width_step(i) for i in range(len(given))]
            raise InvalidInput(
                f"embed_dims must be multiples of {each}, stage by stage, for widths to scale, but are {list(given)}; "
                f"use {list(scaled)}."
            )

    def _candidate(self, architecture: Architecture, plan: PrecisionPlan) -> Candidate:
        return Candidate(self.family, architecture, plan, self.section.norm, self.section.recu)


def model_spaces(file: SpaceFile) -> tuple[ModelSpace, ...]:
    """What can be chosen of each model of a file, in its order; variables and choices are in the order of `union`."""
    if isinstance(file.model, ModelSection):
        return (_model_space("", file.model, file.widths, file.precision),)
    found = []
    for alternative in file.model:
        sections = alternative.widths or file.widths, alternative.precision or file.precision
        try:
            found.append(_model_space(alternative.name, alternative.model, *sections))
        except InvalidInput as error:
            raise InvalidInput(f"model {alternative.name}: {error}") from error
    _check_distinct(found)
    joined = union(found)
    return tuple(dataclasses.replace(model, variables=_in_order(model.variables, joined)) for model in found)


def _check_distinct(models: Sequence[ModelSpace]) -> None:
    """Raise `InvalidInput` where two models have the same candidates, however they are written."""
    label_of: dict[object, str] = {}
    for model in models:
        free = ((v.kind, frozenset(v.choices), v.stages, v.addresses) for v in model.variables if len(v.choices) > 1)
        some = model.candidate({v.name: min(v.choices, key=str) for v in model.variables})
        earlier = label_of.setdefault((some.id, frozenset(free)), model.label)
        if earlier != model.label:
            raise InvalidInput(
                f"model: alternatives must differ, but {earlier} and {model.label} are the same model with the same "
                "widths and precision; remove one."
            )


def union(models: Sequence[ModelSpace]) -> tuple[Variable, ...]:
    """The variable `model`, then those of all models by name: widths, then precisions, each where it first stands.

    A variable of several models has the choices of all: in the order in which all list the same ones, else ascending.
    """
    labels = tuple(model.label for model in models)
    having: dict[str, list[tuple[ModelSpace, Variable]]] = {}
    for model in models:
        for variable in model.variables:
            having.setdefault(variable.name, []).append((model, variable))
    joined = [_joined(owners, len(models)) for owners in having.values()]
    joined.sort(key=lambda v: list(Kind).index(v.kind))  # keeps the order within a kind
    return (Variable(MODEL, Kind.MODEL, MODEL, labels, labels[0]), *joined)


def _joined(owners: Sequence[tuple[ModelSpace, Variable]], models: int) -> Variable:
    """One variable for those of one name: the choices, stages and layers of all."""
    _, first = owners[0]
    choices = tuple(dict.fromkeys(choice for _, variable in owners for choice in variable.choices))
    if len(choices) > MAX_CHOICES:
        raise InvalidInput(
            f"{first.name} must have at most {MAX_CHOICES} choices in all models together, but it has {len(choices)}; "
            "leave some out."
        )
    joined = dataclasses.replace(
        first,
        choices=choices,
        stages=tuple(sorted({stage for _, variable in owners for stage in variable.stages})),
        addresses=tuple(dict.fromkeys(address for _, variable in owners for address in variable.addresses)),
        models=() if len(owners) == models else tuple(model.label for model, _ in owners),
    )
    if all(variable.choices == choices for _, variable in owners):
        return joined
    return dataclasses.replace(joined, choices=tuple(c for _, c in sorted(zip(joined.positions, choices, strict=True))))


def _in_order(variables: Sequence[Variable], joined: Sequence[Variable]) -> tuple[Variable, ...]:
    """A model's variables and their choices in the order of those of all models."""
    choices_of = {variable.name: variable.choices for variable in joined}
    names = list(choices_of)
    return tuple(
        dataclasses.replace(v, choices=tuple(sorted(v.choices, key=choices_of[v.name].index)))
        for v in sorted(variables, key=lambda v: names.index(v.name))
    )


def _model_space(label: str, section: ModelSection, widths: WidthsSection, precision: PrecisionSection) -> ModelSpace:
    base = section.architecture()
    model = ModelSpace(label, section, widths, precision, base, variables_of(base, widths, precision))
    if widths.any:
        model.check_unit_scale()
    return model
