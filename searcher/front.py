"""The Pareto front of a study: the trials that no other one beats in every objective; no torch, no optuna."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from searcher.budget import Budget
from searcher.quantities import QUANTITIES
from searcher.ranking import metrics_of
from searcher.records import TrialRecord


def pareto_front(records: Iterable[TrialRecord], budget: Budget, objectives: Sequence[str]) -> list[TrialRecord]:
    """Trained trials within `budget` that none other dominates, most accurate first.

    `objectives` are accuracy and then quantities that are to be small. Of trials that are equal in every
    objective the earliest stands for all.
    """
    trained = [r for r in records if r.outcome.trained and not budget.violations(r)]
    trained.sort(key=lambda r: r.number)
    return [trained[i] for i in not_dominated([_point(r, objectives) for r in trained])]


def not_dominated(points: Sequence[tuple[float, ...]]) -> list[int]:
    """Indices of the points that none other dominates, where every coordinate is to be small.

    In the order of the points' coordinates; of equal points the first one stands for all.
    """
    rows = np.array(sorted(range(len(points)), key=points.__getitem__), int)
    table = np.array(points)
    front: list[int] = []
    while len(rows):  # nothing later in this order can dominate the first, which dominates or equals what it removes
        front.append(int(rows[0]))
        rows = rows[(table[rows] < table[rows[0]]).any(axis=1)]
    return front


def _point(record: TrialRecord, objectives: Sequence[str]) -> tuple[float, ...]:
    """The objectives of a trained trial, each to be small."""
    accuracy = metrics_of(record).accuracy
    return tuple(-accuracy if name == "accuracy" else QUANTITIES[name].of(record) for name in objectives)
