"""Trials in the groups that charts tell apart, and as series of points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from searcher.charts.chart import Form, Meaning, Role, Series, TrialPoint
from searcher.quantities import QUANTITIES
from searcher.ranking import metrics_of
from searcher.records import Outcome, TrialRecord
from searcher.snapshot import StudySnapshot

Place: TypeAlias = Callable[[TrialRecord], float]
Value: TypeAlias = Callable[[TrialRecord], float | None]


def accuracy_of(record: TrialRecord) -> float | None:
    """Top-1 in 0..1; None where the trial has none to compare."""
    return metrics_of(record).accuracy if record.outcome.trained else None


def cost_of(quantity: str) -> Place:
    """What reads what a trial costs of a quantity."""
    return QUANTITIES[quantity].of


def beyond(snapshot: StudySnapshot) -> list[TrialRecord]:
    """Trained trials that are over the budget."""
    return [r for r in snapshot.records if r.outcome.trained and snapshot.budget.violations(r)]


def of_outcome(records: Iterable[TrialRecord], outcome: Outcome) -> list[TrialRecord]:
    """Those that ended like this, in their order."""
    return [r for r in records if r.outcome is outcome]


def points(name: str, role: Meaning, records: Sequence[TrialRecord], x: Place, y: Value, index: int = 0) -> Series:
    """Trials as points that can be pointed at; their number stands behind `name`."""
    name = f"{name} ({len(records):,})"
    numbers = tuple(r.number for r in records)
    return Series(name, role, tuple(map(x, records)), tuple(map(y, records)), Form.POINTS, numbers, index)


def trained_points(snapshot: StudySnapshot, x: Place, y: Value) -> list[Series]:
    """Trained trials over the budget, stopped early, and complete, the last two within the budget."""
    return [
        points("over budget", Outcome.OVER_BUDGET, beyond(snapshot), x, y),
        points("stopped early", Outcome.STOPPED, of_outcome(snapshot.ranked, Outcome.STOPPED), x, y),
        points("complete", Outcome.COMPLETE, of_outcome(snapshot.ranked, Outcome.COMPLETE), x, y),
    ]


def best_point(snapshot: StudySnapshot, x: Place, y: Value) -> Series:
    """The most accurate trial within the budget."""
    best = snapshot.ranked[0]
    name = f"best: trial {best.number}, {100 * metrics_of(best).accuracy:.1f} %"
    return Series(name, Role.BEST, (x(best),), (y(best),), Form.POINTS, (best.number,))


def trial_points(records: Iterable[TrialRecord]) -> tuple[TrialPoint, ...]:
    """What is said of each trial."""
    return tuple(
        TrialPoint(r.number, r.outcome, accuracy_of(r), r.memory_bytes, r.ops, r.latency_seconds) for r in records
    )
