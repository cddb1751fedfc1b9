"""The Pareto front of a study: the trials that no other one beats in every objective; no torch, no optuna."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from searcher.budget import Budget
from searcher.ranking import metrics_of
from searcher.records import TrialRecord

COSTS = ("accuracy", "memory", "ops")  # what the front of a study with a single objective is drawn in


def pareto_front(records: Iterable[TrialRecord], budget: Budget, objectives: Sequence[str]) -> list[TrialRecord]:
    """Trained trials within `budget` that none other dominates, most accurate first.

    `objectives` are accuracy and then quantities that are to be small (memory, ops). Of trials that are equal in every
    objective the earliest stands for all.
    """
    trained = [r for r in records if r.outcome.trained and not budget.violations(r)]
    left = sorted(trained, key=lambda r: (*_point(r, objectives), r.number))
    points = np.array([_point(r, objectives) for r in left]).reshape(len(left), len(objectives))
    rows = np.arange(len(left))
    front: list[TrialRecord] = []
    while len(rows):  # nothing later in this order can dominate the first, which dominates or equals what it removes
        front.append(left[rows[0]])
        rows = rows[(points[rows] < points[rows[0]]).any(axis=1)]
    return front


def _point(record: TrialRecord, objectives: Sequence[str]) -> tuple[float, ...]:
    """The objectives of a trained trial, each to be small."""
    values = {"accuracy": -metrics_of(record).accuracy, "memory": record.memory_bytes, "ops": record.ops}
    return tuple(values[name] for name in objectives)
