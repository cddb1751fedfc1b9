"""The variables of a space: what the search may choose, read from `widths:` and `precision:` of a space file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from bhvit.errors import InvalidInput, nearest
from bhvit.precision import PLANS, Precision, in_short, precision_named
from bhvit.staged import Architecture

Choice: TypeAlias = "float | str"

MAX_CHOICES = 64
MAX_FACTOR = 64
TIES = ("all", "stage", "each")
SPACE = "the space"  # in messages


class Kind(StrEnum):
    """What a variable sets."""

    MODEL = "model"
    HIDDEN = "hidden"
    INTERMEDIATE = "intermediate"
    PRECISION = "precision"


@dataclass(frozen=True)
class Variable:
    """One choice of the search; its `choices` keep the file's order, unless models list different ones.

    `group` is the key it was written under (hidden, intermediate, or a glob), `stages` the stages whose width it
    scales (all of them, or one), `addresses` the layers whose precision it sets. `default` is the choice that an
    enqueued point gets which does not name the variable. `models` are the alternatives that have the variable, where
    not all have it; under the others it is inactive.
    """

    name: str
    kind: Kind
    group: str
    choices: tuple[Choice, ...]
    default: Choice
    stages: tuple[int, ...] = ()
    addresses: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    @property
    def ordinal(self) -> bool:
        """Whether choices are more or less of something; models are merely different."""
        return self.kind is not Kind.MODEL

    @property
    def inactive(self) -> int:
        """The digit of being inactive, one more than that of the last choice."""
        return len(self.choices)

    @property
    def radix(self) -> int:
        """Number of digits in codes: one a choice, and a last one for being inactive where it can be."""
        return len(self.choices) + bool(self.models)

    @property
    def places(self) -> tuple[float, ...]:
        """`positions` of all digits: being inactive is in the middle, as near to one end as to the other."""
        return (*self.positions, 0.5) if self.models else self.positions

    @property
    def positions(self) -> tuple[float, ...]:
        """Place of each choice on an ordinal scale from 0 to 1: its rank among widths, or among bits.

        Models are in the file's order, which is for drawing only.
        """
        if self.kind is Kind.MODEL:
            order: list[Any] = list(range(len(self.choices)))
        elif self.kind is Kind.PRECISION:
            order = [precision_named(str(c)).bits for c in self.choices]
        else:
            order = [float(c) for c in self.choices]
        ranked = sorted(order)
        return tuple(ranked.index(value) / max(1, len(ranked) - 1) for value in order)

    def digit_of(self, choice: object) -> int:
        """Index of `choice` among the choices; raises `InvalidInput` where it is none of them."""
        for digit, known in enumerate(self.choices):
            if known == choice and isinstance(known, str) == isinstance(choice, str) and not isinstance(choice, bool):
                return digit
        raise InvalidInput(f"{self.name} must be one of {', '.join(map(str, self.choices))}, but it is {choice!r}.")

    def covered_by(self, key: str) -> bool:
        """Whether `key` (a name, a group, or a glob over layers) speaks of this variable."""
        if key in (self.name, self.group):
            return True
        return bool(self.addresses) and all(fnmatchcase(address, key) for address in self.addresses)


@dataclass(frozen=True)
class WidthSection:
    """`widths.hidden` or `widths.intermediate`: factors on the base architecture, for all stages or each its own."""

    choices: tuple[float, ...]
    per_stage: bool = False

    def __post_init__(self) -> None:
        _check_choices(self.choices)
        for factor in self.choices:
            if not 0 < factor <= MAX_FACTOR:
                raise InvalidInput(f"width factors must be above 0 and at most {MAX_FACTOR}, but one is {factor!r}.")


@dataclass(frozen=True)
class WidthsSection:
    """`widths:` of a space file."""

    hidden: WidthSection | None = None
    intermediate: WidthSection | None = None

    @property
    def any(self) -> bool:
        """Whether any width is chosen."""
        return self.hidden is not None or self.intermediate is not None


@dataclass(frozen=True)
class GroupSection:
    """One entry of `precision.groups`: the layers matching a glob choose among `choices`.

    `tie`: `all` layers together, the layers of a `stage` together, or `each` for itself.
    """

    layers: str
    choices: tuple[str, ...]
    tie: str = "all"

    def __post_init__(self) -> None:
        _check_choices(self.choices)
        for name in self.choices:
            precision_named(name)
        if self.tie not in TIES:
            raise InvalidInput(f"tie must be one of {', '.join(TIES)}, but it is {self.tie!r}.")


@dataclass(frozen=True)
class PrecisionSection:
    """`precision:` of a space file: the precision of all layers, and groups of layers that choose."""

    default: str = "binary"
    groups: tuple[GroupSection, ...] = ()

    def __post_init__(self) -> None:
        if self.default in PLANS:
            plan = PLANS[self.default]
            groups = ", ".join(f'{{layers: "{pattern}", choices: [{name}]}}' for pattern, name in plan.rules)
            raise InvalidInput(
                f"default must be a precision, but {plan.name} is a plan; write {{default: {plan.default}, groups: "
                f"[{groups}]}}."
            )
        precision_named(self.default)


def variables_of(
    architecture: Architecture, widths: WidthsSection, precision: PrecisionSection
) -> tuple[Variable, ...]:
    """All variables, widths first, then precisions in the file's order."""
    found: list[Variable] = []
    for kind, section in ((Kind.HIDDEN, widths.hidden), (Kind.INTERMEDIATE, widths.intermediate)):
        if section is not None:
            found += _width_variables(architecture, kind, section)
    owner: dict[str, str] = {}
    for i, group in enumerate(precision.groups):
        found += _precision_variables(architecture, group, f"precision.groups[{i}]", precision.default, owner)
    if any(address not in owner for address in architecture.addresses):
        architecture.require_precision(precision_named(precision.default), "precision.default")
    return tuple(found)


def unknown_variable(key: object, names: Sequence[str], whose: str = SPACE) -> InvalidInput:
    """Error for a key of a point that covers no variable; `names` are those `whose` variables there are."""
    known = ", ".join(names) or f"none, {whose} has a single candidate"
    return InvalidInput(f"{key!r} is no variable of {whose}{nearest(key, names)}; its variables are {known}.")


def choices_from(
    variables: Sequence[Variable], point: Mapping[str, Any], where: str, whose: str = SPACE
) -> dict[str, Choice]:
    """Variable name -> choice for every variable, from the keys of an enqueued `point`.

    A key is a variable's name, a group (`hidden`, or the glob it was written with) or another glob over layers, and
    sets every variable it covers; variables that no key covers get their default (width factor 1 or the default
    precision where that is a choice, the first choice otherwise). Messages say `whose` variables and choices they are.
    """
    chosen: dict[str, Choice] = {}
    for key, value in point.items():
        covered = [v for v in variables if isinstance(key, str) and v.covered_by(key)]
        if not covered:
            raise InvalidInput(f"{where}: {unknown_variable(key, [v.name for v in variables], whose)}")
        for variable in covered:
            if variable.name in chosen:
                raise InvalidInput(f"{where}: {variable.name} is set twice, by {key!r} too; remove one.")
            try:
                chosen[variable.name] = variable.choices[variable.digit_of(value)]
            except InvalidInput as error:
                raise InvalidInput(f"{where}: {'' if whose == SPACE else f'in {whose} '}{error}") from error
    return {v.name: chosen.get(v.name, v.default) for v in variables}


def _width_variables(base: Architecture, kind: Kind, section: WidthSection) -> list[Variable]:
    everywhere = tuple(range(len(base.stages)))
    parts = [(f"{kind}.stage{i}", (i,)) for i in everywhere] if section.per_stage else [(str(kind), everywhere)]
    default = 1 if 1 in section.choices else section.choices[0]
    for name, stages in parts:
        _check_distinct_widths(base, kind, section.choices, name, stages)
    return [Variable(name, kind, str(kind), section.choices, default, stages=stages) for name, stages in parts]


def _check_distinct_widths(
    base: Architecture, kind: Kind, choices: Sequence[float], name: str, stages: Sequence[int]
) -> None:
    factor_of: dict[tuple[int, ...], float] = {}
    for factor in choices:
        scaled = base.scaled(**{str(kind): factor})
        dims = scaled.embed_dims if kind is Kind.HIDDEN else scaled.intermediate_dims
        widths = tuple(dims[i] for i in stages)
        if widths in factor_of:
            raise InvalidInput(
                f"widths: the choices of {name} must give different widths, but {factor_of[widths]} and {factor} both "
                f"give {', '.join(map(str, widths))}; remove one."
            )
        factor_of[widths] = factor


def _precision_variables(
    base: Architecture, group: GroupSection, where: str, default: str, owner: dict[str, str]
) -> list[Variable]:
    matches = [address for address in base.addresses if fnmatchcase(address, group.layers)]
    if not matches:
        raise InvalidInput(
            f"{where}: {group.layers!r} must match a layer, but it matches none of {in_short(base.addresses)}."
        )
    for choice in group.choices:
        base.require_precision(precision_named(choice), f"a choice of {where}")
    tied: dict[str, list[str]] = {}
    for address in matches:
        if address in owner:
            raise InvalidInput(
                f"{where}: groups must not overlap, but {owner[address]!r} and {group.layers!r} both match {address}."
            )
        owner[address] = group.layers
        name = {"all": group.layers, "stage": f"{address.split('.')[0]}:{group.layers}", "each": address}[group.tie]
        tied.setdefault(name, []).append(address)
    first = default if default in group.choices else group.choices[0]
    return [
        Variable(name, Kind.PRECISION, group.layers, group.choices, first, addresses=tuple(addresses))
        for name, addresses in tied.items()
    ]


def _check_choices(choices: Sequence[Choice]) -> None:
    if not 1 <= len(choices) <= MAX_CHOICES:
        raise InvalidInput(f"choices must be a list of 1 to {MAX_CHOICES} values, but it has {len(choices)}.")
    doubles = [c for i, c in enumerate(choices) if c in choices[:i]]
    if doubles:
        raise InvalidInput(f"choices must be distinct, but {doubles[0]} stands twice.")


def precision_layers(
    addresses: Sequence[str], default: Precision, variables: Sequence[Variable], choices: Mapping[str, Choice]
) -> dict[str, Precision]:
    """Address -> precision under `choices`."""
    layers = dict.fromkeys(addresses, default)
    for variable in variables:
        if variable.kind is Kind.PRECISION:
            layers.update(dict.fromkeys(variable.addresses, precision_named(str(choices[variable.name]))))
    return layers


def size_of(variables: Sequence[Variable]) -> int:
    """Number of configurations."""
    return math.prod(len(v.choices) for v in variables)
