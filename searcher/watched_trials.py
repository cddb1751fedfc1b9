"""The trials of a watched study in the order and with the filter that its watcher chose; no rich, no torch."""

from __future__ import annotations

import math
from typing import Any

from searcher.records import Outcome, TrialRecord
from searcher.space import Space
from searcher.trial_fields import TrialFields
from searcher.watching import WatchedStudy
from searcher.where import Predicate, condition

NEWEST = "newest"
SORTS = {NEWEST: True, "accuracy": True, "memory": False, "ops": False, "trial": False}  # name -> largest first


class WatchedTrials:
    """The numbers of all trials that have been begun and are not under way, sorted by one of `sorts`.

    `where` is a condition (`searcher.where`), empty for none. Sorting and filtering is done where something changed.
    """

    def __init__(self, study: WatchedStudy) -> None:
        self.study = study
        self.sort, self.reverse, self.where = NEWEST, False, ""
        self._matches: Predicate | None = None
        self._fields, self._space = TrialFields(study.space), study.space
        self._verdicts: dict[int, tuple[TrialRecord, bool]] = {}
        self._sorted: tuple[tuple[Any, ...], list[int]] | None = None

    def filter(self, where: str) -> None:
        """List only trials that satisfy `where`; raises `InvalidInput`, changing nothing, where it is none."""
        self._matches = condition(where, self._fields_of(self.study.space)) if where else None
        self.where = where
        self._verdicts.clear()

    @property
    def sorts(self) -> dict[str, bool]:
        """What the trials can be sorted by, and whether the largest comes first; latency where a device is known."""
        return SORTS if self.study.space.device is None else {**SORTS, "latency": False}

    def next_sort(self) -> None:
        """Sort by the next of `sorts`."""
        names = list(self.sorts)
        self.sort = names[(names.index(self.sort) + 1) % len(names)]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the trials, in order."""
        key = self.study.version, self.sort, self.reverse, self.where
        if self._sorted is None or self._sorted[0] != key:
            self._sorted = key, self._listed()
        return self._sorted[1]

    @property
    def listable(self) -> int:
        """How many trials would be listed without a filter."""
        outcomes = self.study.standing.outcomes
        return len(self.study.records) - outcomes[Outcome.WAITING] - outcomes[Outcome.RUNNING]

    def _listed(self) -> list[int]:
        if self._space is not self.study.space and self.where:  # another budget has other shares
            self.filter(self.where)
        known: list[tuple[Any, int]] = []
        unknown: list[tuple[Any, int]] = []  # they have no such value, and come last in either order
        for number, record in sorted(self.study.records.items()):
            if record.outcome not in (Outcome.WAITING, Outcome.RUNNING) and self._passes(record):
                key = self._key(record)
                (unknown if key is None else known).append((key, number))
        known.sort(key=lambda pair: pair[0], reverse=self.sorts[self.sort] != self.reverse)
        return [number for _, number in known + unknown]

    def _key(self, record: TrialRecord) -> Any:
        if self.sort == NEWEST:
            killed = math.inf  # just now, as far as anybody knows
            return self.study.finished.get(record.number, killed), record.number
        return self._fields_of(self.study.space).named(self.sort).key(record)

    def _passes(self, record: TrialRecord) -> bool:
        if self._matches is None:
            return True
        known = self._verdicts.get(record.number)
        if known is None or known[0] is not record:
            known = self._verdicts[record.number] = record, self._matches(record)
        return known[1]

    def _fields_of(self, space: Space) -> TrialFields:
        if self._space is not space:
            self._fields, self._space = TrialFields(space), space
        return self._fields
