"""The table of really trained candidates: every configuration of `space.yaml`, its costs and its learning curves."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from searcher.space import Space, load_space

SPACE = Path(__file__).with_name("space.yaml")
TABLE = Path(__file__).with_name("table.csv")
AFTER_CHOICES = ("memory_bytes", "ops", "parent_accuracy")


@dataclass(frozen=True)
class Row:
    """One training: `digits` of the configuration, costs, and validation accuracy (0..1) after every epoch of phase 2.

    `parent_accuracy` is that of the full-precision parent's best epoch, `seconds` those of phase 2.
    """

    seed: int
    digits: tuple[int, ...]
    memory_bytes: float
    ops: float
    parent_accuracy: float
    curve: tuple[float, ...]
    seconds: float

    @property
    def accuracy(self) -> float:
        """What a trial would report: the accuracy of the best epoch."""
        return max(self.curve)


@dataclass(frozen=True)
class Table:
    """All trainings of the space's configurations; `rows` by seed and digits."""

    space: Space
    rows: tuple[Row, ...]

    @cached_property
    def by_seed(self) -> dict[int, dict[tuple[int, ...], Row]]:
        """The rows of each seed, by digits."""
        seeds: dict[int, dict[tuple[int, ...], Row]] = {}
        for row in self.rows:
            seeds.setdefault(row.seed, {})[row.digits] = row
        return seeds

    @cached_property
    def complete_seeds(self) -> tuple[int, ...]:
        """Seeds for which every configuration was trained."""
        return tuple(seed for seed, rows in sorted(self.by_seed.items()) if len(rows) == self.space.size)

    @cached_property
    def truth(self) -> dict[tuple[int, ...], float]:
        """Accuracy of every configuration, the mean over the complete seeds."""
        each = [self.by_seed[seed] for seed in self.complete_seeds]
        return {digits: sum(rows[digits].accuracy for rows in each) / len(each) for digits in each[0]}

    @cached_property
    def noise(self) -> float | None:
        """Standard deviation of one training's accuracy between seeds; None with a single seed.

        From the differences where the first two seeds both trained, whose variance is twice that of one training; what
        all trainings of a seed have in common is left out.
        """
        if len(self.by_seed) < 2:
            return None
        first, second = (self.by_seed[seed] for seed in sorted(self.by_seed)[:2])
        differences: NDArray[np.float64] = np.array(
            [first[digits].accuracy - second[digits].accuracy for digits in first.keys() & second.keys()]
        )
        return float(differences.std(ddof=1) / np.sqrt(2))


def load_table(path: Path = TABLE) -> Table:
    """The table in a file that `make_table.py` wrote, complete or not."""
    space = load_space(SPACE)
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    return Table(space, tuple(read_row(space, lines[0], line) for line in lines[1:] if len(line) == len(lines[0])))


def header(space: Space) -> list[str]:
    """Names of the columns."""
    recipe, _ = space.training
    epochs = [f"accuracy_{epoch}" for epoch in range(1, recipe.qat.epochs + 1)]
    return ["seed", *(v.name for v in space.variables), *AFTER_CHOICES, *epochs, "seconds"]


def read_row(space: Space, names: Sequence[str], line: Sequence[str]) -> Row:
    """The training on one line; `names` are those of the first line."""
    cells = dict(zip(names, line, strict=True))
    choices = {v.name: next(choice for choice in v.choices if str(choice) == cells[v.name]) for v in space.variables}
    memory, ops, parent = (float(cells[name]) for name in AFTER_CHOICES)
    curve = tuple(float(cells[name]) for name in names if name.startswith("accuracy_"))
    return Row(int(cells["seed"]), space.digits_of(choices), memory, ops, parent, curve, float(cells["seconds"]))


def write_row(space: Space, row: Row) -> list[str]:
    """The line of one training; the inverse of `read_row`."""
    choices = [str(choice) for choice in space.choices_of(row.digits).values()]
    costs = [repr(row.memory_bytes), repr(row.ops), f"{row.parent_accuracy:.6f}"]
    return [str(row.seed), *choices, *costs, *(f"{a:.6f}" for a in row.curve), f"{row.seconds:.1f}"]
