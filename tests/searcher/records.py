"""Records of trials that nobody trained, for the tests of what reads them."""

from __future__ import annotations

from typing import Any

from searcher.records import EpochRecord, Metrics, Outcome, TrialRecord, write_record
from searcher.space import Space
from searcher.study_folder import StudyFolder
from tests.searcher.spaces import small_space

EPOCHS = 4


def half_feasible_space(**sections: Any) -> Space:
    """36 configurations of which 18 are within the budget."""
    free = small_space()
    memory = sorted(free.candidate(free.decode(i)).cost().memory_bytes for i in range(free.size))
    return small_space(**{"budget": {"memory": memory[17]}, **sections})


def record_of(space: Space, number: int, outcome: Outcome = Outcome.RUNNING, **fields: Any) -> TrialRecord:
    """Trial `number` of configuration `number`; its accuracy after epoch e is (number + e) / 1000."""
    choices = space.decode(number % space.size)
    candidate = space.candidate(choices)
    cost = candidate.cost().total
    metrics = None
    if outcome.trained:
        epochs = tuple(
            EpochRecord("qat", e, EPOCHS, 1.0, 1.0, (number + e) / 1000, 1.0)
            for e in range(1, (EPOCHS if outcome is Outcome.COMPLETE else 2) + 1)
        )
        best = epochs[-1]
        metrics = Metrics(best.accuracy, best.accuracy, best.epoch, "parent", 0.9, True, epochs, 8.0)
    return TrialRecord(number, candidate, dict(choices), cost.memory_bytes, cost.ops, outcome, metrics, **fields)


def store(folder: StudyFolder, *records: TrialRecord) -> None:
    """Write records where the coordinator does."""
    for record in records:
        write_record(folder.trial(record), record)
