"""What quantizing parts of a trained full-precision parent costs before any training: the data, and a prior from it.

No torch here; `searcher.sensitivity_measurement` measures.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bhvit.errors import InvalidInput
from bhvit.precision import precision_named
from bhvit.wording import listed
from searcher.feasible import FeasibleSet
from searcher.files import read_json, write_json
from searcher.grid import Codes
from searcher.schema import from_mapping
from searcher.space import Space
from searcher.variables import Choice, Kind, Variable

BINARY = "binary"
Part: TypeAlias = tuple[tuple[str, ...], str]
"""Addresses of layers, and the precision that they get together while all others stay fp32."""


@dataclass(frozen=True)
class Change:
    """Mean cross-entropy and Top-1 (0..1) on the validation images with `layers` alone at `precision`."""

    layers: tuple[str, ...]
    precision: str
    loss: float
    accuracy: float

    @property
    def part(self) -> Part:
        """What was changed."""
        return self.layers, self.precision


@dataclass(frozen=True)
class Sensitivity:
    """What was measured on the parent filed under `parent_key`, whose own `loss` and `accuracy` on the same images.

    `batches` bounds the images of training (for statistics) and of validation; `images` is the number of the latter.
    """

    parent_key: str
    batches: int
    images: int
    loss: float
    accuracy: float
    changes: tuple[Change, ...] = ()

    def find(self, layers: tuple[str, ...], precision: str) -> Change | None:
        """The measurement of a part, None where there is none; real-valued precisions change nothing."""
        if precision_named(precision).real_valued:
            return Change(layers, precision, self.loss, self.accuracy)
        return next((change for change in self.changes if change.part == (layers, precision)), None)


def parts_of(space: Space) -> tuple[Part, ...]:
    """What to measure: each layer alone, binary and in what the space offers it, and the layers of each variable.

    Raises `InvalidInput` for a model whose layers cannot be binary.
    """
    if BINARY not in space.base.precisions:
        raise InvalidInput(
            f"sensitivity is that of layers to being binary, but those of a {space.base.title} can only be "
            f"{listed(space.base.precisions, 'or')}; there is nothing to measure."
        )
    variables = [v for v in space.variables if v.kind is Kind.PRECISION]
    offered = {address: _quantizing(v) for v in variables for address in v.addresses}
    parts: list[Part] = [((a,), name) for a in space.base.addresses for name in (BINARY, *offered.get(a, ()))]
    parts += [(v.addresses, name) for v in variables for name in _quantizing(v)]
    return tuple(dict.fromkeys(parts))


def prior_of(space: Space, sensitivity: Sensitivity) -> list[NDArray[np.float64]]:
    """For each variable an expected difference of accuracy (0..1, mostly negative) for each of its choices.

    The loss tells small effects apart that a few images' accuracy does not: a loss larger by d divides the (geometric
    mean) probability of the right class by exp(d), and the accuracy is taken to shrink by the same factor. That is
    before any training; phase 2 restores much of it. Widths, of which a single parent says nothing, have zeros.
    """
    prior = []
    for variable in space.variables:
        precise = variable.kind is Kind.PRECISION
        prior.append(np.array([_lost(sensitivity, variable, str(c)) if precise else 0.0 for c in variable.choices]))
    return prior


def expected_of(prior: Sequence[NDArray[np.float64]], codes: Codes) -> NDArray[np.float64]:
    """The sum of a prior's differences for each configuration (`configurations x variables`)."""
    total = np.zeros(len(codes))
    for column, differences in enumerate(prior):
        total += differences[codes[:, column]]
    return total


def most_promising(
    space: Space, feasible: FeasibleSet, prior: Sequence[NDArray[np.float64]], choices: Mapping[str, Choice]
) -> dict[str, Choice] | None:
    """The configuration within the budget of which the prior expects most, among those with the widths of `choices`.

    Of those equal to a tenth of a point the one of least memory; None where none of these widths is within the budget.
    """
    same = np.ones(len(feasible), bool)
    for column, variable in enumerate(space.variables):
        if variable.kind is not Kind.PRECISION:
            same &= feasible.codes[:, column] == variable.digit_of(choices[variable.name])
    rows = np.flatnonzero(same)
    if not len(rows):
        return None
    best = rows[np.lexsort((feasible.memory_bytes[rows], -expected_of(prior, feasible.codes[rows]).round(3)))[0]]
    return space.choices_of(feasible.codes[best].tolist())


def _lost(sensitivity: Sensitivity, variable: Variable, choice: str) -> float:
    change = sensitivity.find(variable.addresses, choice)
    if change is None:
        raise InvalidInput(f"the sensitivity of {variable.name} to {choice} must be measured, but it was not.")
    return sensitivity.accuracy * math.expm1(sensitivity.loss - change.loss)


def sensitivity_file(parent: Path, batches: int) -> Path:
    """Where the measurements with so many batches are kept, in the folder of the parent."""
    return parent / f"sensitivity-{batches}.json"


def write_sensitivity(path: Path, sensitivity: Sensitivity) -> None:
    """Store it, whole or not at all."""
    write_json(path, dataclasses.asdict(sensitivity))


def read_sensitivity(path: Path) -> Sensitivity:
    """What `write_sensitivity` stored; raises `InvalidInput` naming the file where it is something else."""
    data: Any = read_json(path)
    try:
        return from_mapping(Sensitivity, data, "sensitivity")
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error} Delete it to measure again.") from error


def _quantizing(variable: Variable) -> list[str]:
    return [str(c) for c in variable.choices if not precision_named(str(c)).real_valued]
