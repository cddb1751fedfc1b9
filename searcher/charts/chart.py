"""A chart as values: two axes, series of points that stand for something, and lines at fixed values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from searcher.quantities import QUANTITIES
from searcher.records import Outcome


class Unit(StrEnum):
    """What the numbers of an axis are."""

    ACCURACY = "accuracy"  # 0..1
    BYTES = "bytes"
    OPS = "ops"
    SECONDS = "seconds"
    COUNT = "count"  # of trials or epochs


class Role(StrEnum):
    """What a series or line stands for, beyond the outcomes of trials; every view gives it one mark and one colour."""

    FRONT = "front"  # the Pareto front
    BEST = "best"
    BEST_SO_FAR = "best so far"
    PARENT = "full precision"  # an FP parent, or its accuracy
    LIMIT = "limit"  # of the budget
    FP = "fp"  # phase 1
    QAT = "qat"  # phase 2
    SWITCH = "switch"  # from phase 1 to phase 2
    RANK = "rank"  # one of several alike, told apart by `Series.index`
    LEVEL = "level"  # one of several classes from low to high, told apart by `Series.index`


Meaning: TypeAlias = Role | Outcome


class Form(StrEnum):
    """How the points of a series are drawn."""

    POINTS = "points"
    LINE = "line"
    STEPS = "steps"  # a value holds until the next point


@dataclass(frozen=True)
class Axis:
    """What is measured along one side of a chart; `log` asks for a logarithmic scale."""

    label: str
    unit: Unit
    log: bool = False


ACCURACY = Axis("Top-1", Unit.ACCURACY)
COST_UNITS = {"memory": Unit.BYTES, "ops": Unit.OPS, "latency": Unit.SECONDS}
LOG_SPAN = 20  # costs that differ by this factor are drawn on a logarithmic scale


def cost_axis(quantity: str, values: Sequence[float]) -> Axis:
    """The axis of a `quantity` of cost, logarithmic where `values` need it and none is 0."""
    low, high = min(values, default=0), max(values, default=0)
    return Axis(QUANTITIES[quantity].label, COST_UNITS[quantity], 0 < low * LOG_SPAN <= high)


@dataclass(frozen=True)
class Series:
    """Points that stand for the same thing, in the units of the chart's axes.

    A `y` of None is a trial without a value, drawn in a row of its own. `trials` are the numbers of the trials that the
    points are, where they are trials. `index` counts from 0 the series of one chart whose role is `RANK` or `LEVEL`.
    """

    name: str
    role: Meaning
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    form: Form = Form.POINTS
    trials: tuple[int, ...] = ()
    index: int = 0

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or (self.trials and len(self.trials) != len(self.x)):
            raise ValueError(f"{self.name}: {len(self.x)} x, {len(self.y)} y and {len(self.trials)} trials")
        if not all(math.isfinite(v) for v in (*self.x, *self.y) if v is not None):
            raise ValueError(f"{self.name}: every value must be finite")


@dataclass(frozen=True)
class Rule:
    """A line across the chart at `value` of the axis `along` (x or y)."""

    name: str
    role: Role
    along: str
    value: float


@dataclass(frozen=True)
class Chart:
    """Points and lines over two axes; later series are drawn over earlier ones."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    rules: tuple[Rule, ...] = ()
    y_missing: str = "failed"  # heading of the row of points without y

    @property
    def missing(self) -> bool:
        """Whether any point has no y."""
        return any(y is None for s in self.series for y in s.y)

    def values(self, along: str) -> Iterator[float]:
        """All finite values along x or y, with those of the rules."""
        for s in self.series:
            yield from (v for v in (s.x if along == "x" else s.y) if v is not None)
        yield from (rule.value for rule in self.rules if rule.along == along)

    def to_json(self) -> dict[str, Any]:
        """Plain data, in the units of `Unit`."""
        return {
            "title": self.title,
            "x": {"label": self.x.label, "unit": self.x.unit.value, "log": self.x.log},
            "y": {"label": self.y.label, "unit": self.y.unit.value, "log": self.y.log},
            "series": [
                {
                    "name": s.name,
                    "role": s.role.value,
                    "form": s.form.value,
                    "trials": list(s.trials),
                    "x": list(s.x),
                    "y": list(s.y),
                }
                for s in self.series
            ],
            "rules": [{"name": r.name, "role": r.role.value, "along": r.along, "value": r.value} for r in self.rules],
        }


@dataclass(frozen=True)
class Bar:
    """One bar: a share in 0..1 and what is said beside it."""

    name: str
    value: float
    note: str = ""


@dataclass(frozen=True)
class Bars:
    """Shares of a whole, longest first."""

    title: str
    label: str
    bars: tuple[Bar, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "title": self.title,
            "label": self.label,
            "bars": [{"name": b.name, "value": b.value, "note": b.note} for b in self.bars],
        }


@dataclass(frozen=True)
class HeatMap:
    """A number (0..1) for every row and column, None where no trial has it; `counts` are the trials behind it.

    `decimals` are those of the percentages that are written; `model` is whose layers the rows are, of several models.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    counts: tuple[tuple[int, ...], ...]
    decimals: int = 1
    model: str = ""

    @property
    def caption(self) -> str:
        """What stands above it."""
        return f"{self.model}: {self.title}" if self.model else self.title

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "title": self.title,
            **({"model": self.model} if self.model else {}),
            "rows": list(self.rows),
            "columns": list(self.columns),
            "values": [list(row) for row in self.values],
            "counts": [list(row) for row in self.counts],
        }


@dataclass(frozen=True)
class Choices:
    """One variable as an axis: its choices from low to high, and how many of all and of the best trials took each."""

    name: str
    choices: tuple[str, ...]
    all: tuple[int, ...]
    best: tuple[int, ...]


@dataclass(frozen=True)
class Parallel:
    """Trials as lines across variables, best first: `digits` index each variable's choices, `accuracies` are 0..1.

    The first `best` of them are the ones to look at.
    """

    title: str
    variables: tuple[Choices, ...]
    trials: tuple[int, ...]
    digits: tuple[tuple[int, ...], ...]
    accuracies: tuple[float, ...]
    best: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "title": self.title,
            "variables": [
                {"name": v.name, "choices": list(v.choices), "all": list(v.all), "best": list(v.best)}
                for v in self.variables
            ],
            "best": list(self.trials[: self.best]),
            "lines": [
                {
                    "trial": trial,
                    "accuracy": accuracy,
                    "choices": [v.choices[d] for v, d in zip(self.variables, digits, strict=True)],
                }
                for trial, digits, accuracy in zip(self.trials, self.digits, self.accuracies, strict=True)
            ],
        }


Panel: TypeAlias = Chart | Bars | HeatMap | Parallel
MAPS = 2  # of one model


def panels_across(panels: Sequence[Panel]) -> int:
    """How many panels stand beside each other where there is room: all, or the maps of one model."""
    return min(MAPS, len(panels)) if all(isinstance(panel, HeatMap) for panel in panels) else len(panels)


@dataclass(frozen=True)
class TrialPoint:
    """What is said of a trial where its point is pointed at; `accuracy` (0..1) is None where it has none."""

    number: int
    outcome: Outcome
    accuracy: float | None
    memory_bytes: float
    ops: float
    latency_seconds: float | None = None


@dataclass(frozen=True)
class Figure:
    """What `plot` draws: panels beside or below each other, with the trials that are points in them.

    `nothing` says why there is nothing to draw; there are no panels then.
    """

    kind: str
    title: str
    panels: tuple[Panel, ...] = ()
    notes: tuple[str, ...] = ()
    trials: tuple[TrialPoint, ...] = field(default=(), repr=False)
    nothing: str = ""
