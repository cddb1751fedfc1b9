"""The Pareto front of a study: the trials that no other one beats in every objective; no torch, no optuna."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from searcher.budget import Budget
from searcher.ranking import metrics_of
from searcher.records import TrialRecord

COSTS = ("accuracy", "memory", "ops")  # the objectives in which the front of a study with a single one is shown


def pareto_front(records: Iterable[TrialRecord], budget: Budget, objectives: Sequence[str]) -> list[TrialRecord]:
    """Trained trials within `budget` that none other dominates, most accurate first.

    `objectives` are accuracy and then quantities that are to be small (memory, ops). Of trials that are equal in every
    objective the earliest stands for all. Takes n log n steps.
    """
    trained = [(_point(r, objectives), r.number, r) for r in records if r.outcome.trained and not budget.violations(r)]
    front: list[TrialRecord] = []
    firsts: list[float] = []  # the costs that no trial so far undercuts in both: rising,
    seconds: list[float] = []  # and falling
    for (_, first, second), _, record in sorted(trained, key=lambda row: row[:2]):
        place = bisect_right(firsts, first)
        if place and seconds[place - 1] <= second:
            continue  # an earlier one in this order is at least as accurate and as cheap; no later one can be
        start = place - 1 if place and firsts[place - 1] == first else place
        end = place
        while end < len(seconds) and seconds[end] >= second:
            end += 1
        firsts[start:end], seconds[start:end] = [first], [second]
        front.append(record)
    return front


def _point(record: TrialRecord, objectives: Sequence[str]) -> tuple[float, float, float]:
    """Accuracy and two costs of a trained trial, each to be small; 0 where there are fewer objectives."""
    costs = {"memory": record.memory_bytes, "ops": record.ops}
    first, second, *_ = *(costs[name] for name in objectives[1:]), 0.0, 0.0
    return -metrics_of(record).accuracy, first, second
