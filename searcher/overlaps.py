"""Candidates that several models of a list have in common: one code for each, that of the first model; no torch.

Alternatives of one family may overlap: one has other groups or widths, another starts from twice the width. Whether an
earlier model has the candidate of a configuration is decided by what sets each width and each layer's precision in
either, for many configurations at once.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from searcher.grid import Codes
from searcher.model_space import ModelSpace
from searcher.space import Space
from searcher.variables import Kind, Variable

Site: TypeAlias = "tuple[Kind, int] | str"
"""What a candidate is made of: a kind of width and its stage, or a layer's address."""
Setting: TypeAlias = tuple[int, Mapping[int, Hashable]]
"""The column that decides a site, and what the site is under each digit of it."""
Rows = NDArray[np.intp]
Masks = NDArray[np.uint64]


class Overlaps:
    """The pairs of models of a space that have candidates in common; none in most spaces."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._twins: dict[int, list[_Twins]] = {}  # by the later model
        forms = [_form(model) for model in space.models]
        for later, earlier in itertools.product(range(len(forms)), repeat=2):
            if earlier < later and forms[earlier] == forms[later]:
                twins = _Twins(earlier, _tables(space, earlier, later))
                if twins.possible:
                    self._twins.setdefault(later, []).append(twins)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._twins)

    def repeated(self, codes: Codes) -> int:
        """How many of these configurations are candidates of an earlier model."""
        return int((self.first(codes)[:, 0] != codes[:, 0]).sum()) if self else 0

    def first(self, codes: Codes) -> Codes:
        """Each configuration as that of the first model that has its candidate: mostly itself.

        Whether that is within a sample of the earlier model makes no difference. The result may be `codes` itself.
        """
        found = codes
        for later, earlier in self._twins.items():
            rows = np.flatnonzero(codes[:, 0] == later)
            for twins in earlier:
                there, digits = twins.among(codes[rows])
                if len(there):
                    found = codes.copy() if found is codes else found
                    found[rows[there]] = self._inactive
                    found[rows[there], 0] = twins.earlier
                    for column, column_digits in digits.items():
                        found[rows[there], column] = column_digits
                    rows = np.delete(rows, there)
        return found

    def first_digits(self, digits: Sequence[int]) -> tuple[int, ...]:
        """The same of one configuration."""
        if not self or digits[0] not in self._twins:
            return tuple(digits)
        return tuple(self.first(np.array([digits], np.uint8))[0].tolist())

    @cached_property
    def _inactive(self) -> Codes:
        return np.array([variable.inactive for variable in self.space.variables], np.uint8)


@dataclass(frozen=True)
class _Twins:
    """How an `earlier` model expresses configurations of a later one.

    Column of the earlier model -> column of the later one -> for each digit of that the set of the digits of the
    earlier model's that set all that both decide alike, as bits (`MAX_CHOICES` is 64). A model's choices differ, so a
    configuration leaves one digit at most of every column.
    """

    earlier: int
    tables: Mapping[int, Mapping[int, Masks]]

    @property
    def possible(self) -> bool:
        """Whether any configuration may be expressed: not where one column of either model excludes it by itself."""
        some = (np.bitwise_and.reduce([np.bitwise_or.reduce(t) for t in ts.values()]) for ts in self.tables.values())
        alive: dict[int, NDArray[np.bool_]] = {}
        for column, table in (item for tables in self.tables.values() for item in tables.items()):
            alive[column] = alive.get(column, np.True_) & (table != 0)
        return all(some) and all(digits.any() for digits in alive.values())

    def among(self, codes: Codes) -> tuple[Rows, dict[int, NDArray[np.uint8]]]:
        """The rows of the later model's `codes` that the earlier one expresses, and its digits by its columns."""
        rows = np.arange(len(codes))
        digits: dict[int, NDArray[np.uint8]] = {}
        for column, tables in self.tables.items():
            masks = np.full(len(rows), ~np.uint64(0))
            for later_column, table in tables.items():
                masks &= table[codes[rows, later_column]]
            there = masks != 0
            rows, digits = rows[there], {c: d[there] for c, d in digits.items()}
            digits[column] = (np.frexp(masks[there].astype(np.float64))[1] - 1).astype(np.uint8)  # the bit's number
        return rows, digits


def _form(model: ModelSpace) -> str:
    """All that a candidate of the model is but widths and precisions."""
    stages = [(stage.depth, stage.num_heads) for stage in model.base.stages]
    options = {**model.base.to_json(), "stages": stages}
    return json.dumps([model.family, options, model.section.norm, model.section.recu], sort_keys=True)


def _tables(space: Space, earlier: int, later: int) -> dict[int, dict[int, Masks]]:
    """The tables of `_Twins`, columns that decide less before those that decide more."""
    tables: dict[int, dict[int, Masks]] = {}
    theirs = _settings(space, later)
    for site, (column, values) in _settings(space, earlier).items():
        later_column, later_values = theirs[site]
        masks = np.zeros(space.variables[later_column].inactive + 1, np.uint64)
        for digit, value in later_values.items():
            masks[digit] = sum(1 << own for own, own_value in values.items() if own_value == value)
        of_column = tables.setdefault(column, {})
        of_column[later_column] = of_column.get(later_column, ~np.uint64(0)) & masks
    return dict(sorted(tables.items(), key=lambda item: len(item[1])))


def _settings(space: Space, place: int) -> dict[Site, Setting]:
    """What decides each site of the model number `place`; what is fixed is decided by the model, which has column 0."""
    model = space.models[place]
    base = model.base
    found: dict[Site, Setting] = {}
    for kind, dims in ((Kind.HIDDEN, base.embed_dims), (Kind.INTERMEDIATE, base.intermediate_dims)):
        found |= {(kind, stage): (0, {place: dim}) for stage, dim in enumerate(dims)}
    found |= {address: (0, {place: model.precision.default}) for address in base.addresses}
    for (column, digits), variable in zip(space.own_digits[place], model.variables, strict=True):
        for site, values in _values(model, variable):
            found[site] = column, dict(zip(digits, values, strict=True))
    return found


def _values(model: ModelSpace, variable: Variable) -> Iterator[tuple[Site, Sequence[Hashable]]]:
    """The sites that a variable of the model decides, each with what it is under each choice."""
    for address in variable.addresses:
        yield address, variable.choices
    scaled = [model.base.scaled(**{str(variable.kind): float(c)}) for c in variable.choices] if variable.stages else []
    for stage in variable.stages:
        dims = [a.embed_dims if variable.kind is Kind.HIDDEN else a.intermediate_dims for a in scaled]
        yield (variable.kind, stage), [widths[stage] for widths in dims]
