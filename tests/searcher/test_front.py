"""The Pareto front against its definition, on random trials."""

import itertools
import random

import pytest

from searcher.budget import Budget
from searcher.front import pareto_front
from searcher.records import Metrics, Outcome, TrialRecord
from tests.searcher.spaces import small_space

SPACE = small_space()


def record(number: int, accuracy: float | None, memory: float, ops: float) -> TrialRecord:
    choices = SPACE.decode(number % SPACE.size)
    outcome = Outcome.CRASHED if accuracy is None else Outcome.COMPLETE
    metrics = None if accuracy is None else Metrics(accuracy, accuracy, 1, "key", 0.6, parent_trained=True)
    return TrialRecord(number, SPACE.candidate(choices), choices, memory, ops, outcome, metrics)


def dominates(a: TrialRecord, b: TrialRecord, objectives: tuple[str, ...]) -> bool:
    def values(r: TrialRecord) -> list[float]:
        costs = {"memory": r.memory_bytes, "ops": r.ops}
        return [-r.metrics.accuracy, *(costs[name] for name in objectives[1:])]

    pairs = list(zip(values(a), values(b), strict=True))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


@pytest.mark.parametrize("objectives", [("accuracy", "memory"), ("accuracy", "memory", "ops"), ("accuracy",)])
def test_front_holds_exactly_the_trials_that_none_dominates(objectives: tuple[str, ...]) -> None:
    draw = random.Random(len(objectives))
    for _ in range(20):
        records = [record(n, draw.randrange(8) / 8, draw.randrange(8), draw.randrange(8)) for n in range(30)]
        front = pareto_front(records, Budget(), objectives)
        best = [r for r in records if not any(dominates(other, r, objectives) for other in records)]
        places = {tuple(_place(r, objectives)) for r in best}
        assert {tuple(_place(r, objectives)) for r in front} == places
        assert len(front) == len(places)
        assert [r.metrics.accuracy for r in front] == sorted((r.metrics.accuracy for r in front), reverse=True)
        for a, b in itertools.permutations(front, 2):
            assert not dominates(a, b, objectives)


def _place(r: TrialRecord, objectives: tuple[str, ...]) -> list[float]:
    return [{"accuracy": r.metrics.accuracy, "memory": r.memory_bytes, "ops": r.ops}[name] for name in objectives]


def test_failed_and_over_budget_trials_are_not_on_the_front() -> None:
    records = [record(0, None, 1, 1), record(1, 0.9, 50, 1), record(2, 0.5, 5, 1)]
    assert [r.number for r in pareto_front(records, Budget(memory=10), ("accuracy", "memory"))] == [2]
