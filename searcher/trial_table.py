"""All trials of a study: their records in memory and on disk, and what follows from them; no torch, no optuna."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bhvit.errors import InvalidInput
from searcher.evidence import Digits, TrialResult
from searcher.overlaps import Overlaps
from searcher.pricing import priced
from searcher.records import Outcome, TrialRecord, write_record
from searcher.space import Space
from searcher.study_folder import StudyFolder

SEARCH_PHASE = "qat"  # only phase 2 is the candidate's own: earlier epochs belong to its FP parent


class TrialTable:
    """The records of a study by number. A record is on disk before `store` returns.

    `trained` counts the finished trials within the space's budget that were trained, whatever came of it. A trial is
    known by the configuration of the first model that has its candidate.
    """

    def __init__(self, space: Space, folder: StudyFolder) -> None:
        self.space, self.folder = space, folder
        self.trained = 0
        self._overlaps = Overlaps(space)
        self._records: dict[int, TrialRecord] = {}
        self._digits: dict[int, Digits] = {}
        self._open: set[int] = set()
        self._results: list[TrialResult] = []  # by number
        for record in priced(space, folder.records()):
            if record.number in self._records:
                both = f"{self._records[record.number].name} and {record.name}"
                raise InvalidInput(f"{folder.trials} must hold every trial once, but it has {both}; move one away.")
            self._remember(record)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[TrialRecord]:
        """All records by number."""
        return (self._records[number] for number in sorted(self._records))

    def store(self, record: TrialRecord) -> TrialRecord:
        """Write `record` to its trial's folder; returns it."""
        write_record(self.folder.trial(record), record)
        self._remember(record)
        return record

    @property
    def unfinished(self) -> list[TrialRecord]:
        """Waiting, running and interrupted trials by number."""
        return [self._records[n] for n in sorted(self._open)]

    @property
    def next_number(self) -> int:
        """The smallest number that no trial has: a trial whose folder was removed is proposed again."""
        count = len(self._records)
        if count == max(self._records, default=-1) + 1:
            return count
        return next(n for n in range(count) if n not in self._records)

    def configuration(self, choices: Mapping[str, Any]) -> Digits:
        """The configuration that stands for the candidate with these choices (`Overlaps`)."""
        return self._overlaps.first_digits(self.space.digits_of(choices))

    def results(self, horizon: int) -> Sequence[TrialResult]:
        """What the finished trials numbered below `horizon` teach."""
        return self._results[: bisect_left(self._results, horizon, key=_number)]

    def pending(self, horizon: int, number: int) -> list[Digits]:
        """Configurations of the trials from `horizon` on that are numbered below `number`, finished or not."""
        numbers = (n for n in range(horizon, number) if n in self._records)
        return [self._digits[n] for n in numbers if self._records[n].outcome is not Outcome.OVER_BUDGET]

    def _remember(self, record: TrialRecord) -> None:
        number = record.number
        self._records[number] = record
        if number not in self._digits:
            self._digits[number] = self.configuration(record.choices)
        if not record.outcome.finished:
            self._open.add(number)
            return
        self._open.discard(number)
        insort(self._results, _result(record, self._digits[number]), key=_number)
        if record.outcome is not Outcome.OVER_BUDGET and not self.space.budget.violations(record):
            self.trained += 1


def _number(result: TrialResult) -> int:
    return result.number


def _result(record: TrialRecord, digits: Digits) -> TrialResult:
    metrics = record.metrics
    curve = () if metrics is None else tuple(e.accuracy for e in metrics.epochs if e.phase == SEARCH_PHASE)
    return TrialResult(
        record.number,
        digits,
        record.outcome,
        None if metrics is None else metrics.accuracy,
        curve,
        record.memory_bytes,
        record.ops,
        record.peak_bytes,
        record.latency_seconds,
    )
