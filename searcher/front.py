"""The Pareto front of a study: the trials that no other one beats in every objective; no torch, no optuna."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from searcher.budget import Budget
from searcher.records import TrialRecord


def pareto_front(records: Iterable[TrialRecord], budget: Budget, objectives: Sequence[str]) -> list[TrialRecord]:
    """Trained trials within `budget` that none other dominates, most accurate first.

    `objectives` are accuracy and then quantities that are to be small (memory, ops). Of trials that are equal in every
    objective the earliest stands for all.
    """
    front: list[TrialRecord] = []
    points: list[tuple[float, ...]] = []
    trained = [r for r in records if r.outcome.trained and not budget.violations(r)]
    for record in sorted(trained, key=lambda r: (*_point(r, objectives), r.number)):
        point = _point(record, objectives)  # nothing later in this order can dominate it
        if not any(all(a <= b for a, b in zip(other, point, strict=True)) for other in points):
            front.append(record)
            points.append(point)
    return front


def _point(record: TrialRecord, objectives: Sequence[str]) -> tuple[float, ...]:
    """The objectives of a trained trial, each to be small."""
    assert record.metrics is not None
    values = {"accuracy": -record.metrics.accuracy, "memory": record.memory_bytes, "ops": record.ops}
    return tuple(values[name] for name in objectives)
