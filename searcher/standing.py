"""How a study stands, kept up to date one trial at a time; no rich, no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from searcher.budget import Budget
from searcher.front import pareto_front
from searcher.ranking import ranked
from searcher.records import Outcome, TrialRecord


@dataclass
class Standing:
    """Trials by outcome, how many count as done, the best within the budget and the Pareto front of `objectives`.

    `on_front` has the numbers of the front, `within` counts the trained trials within the budget, `done` those that
    ended within it, whatever came of them.
    """

    budget: Budget
    objectives: tuple[str, ...]
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    done: int = 0
    within: int = 0
    best: TrialRecord | None = None
    front: list[TrialRecord] = field(default_factory=list)
    on_front: frozenset[int] = frozenset()

    @classmethod
    def of(cls, records: Iterable[TrialRecord], budget: Budget, objectives: tuple[str, ...]) -> Standing:
        """The standing of many trials."""
        standing, records = cls(budget, objectives), list(records)
        for record in records:
            standing._count(record, 1)
        standing._compare(records)
        return standing

    def put(self, record: TrialRecord, before: TrialRecord | None) -> None:
        """Take a trial as it is now, in the place of what it was `before`."""
        if before is not None:
            self._count(before, -1)
        self._count(record, 1)
        self._compare([record])

    def _count(self, record: TrialRecord, by: int) -> None:
        self.outcomes[record.outcome] += by
        if record.outcome.finished and record.attempts > 0 and not self.budget.violations(record):
            self.done += by
            self.within += by * record.outcome.trained

    def _compare(self, records: list[TrialRecord]) -> None:
        """A trained trial stays what it is, so that it has to be compared once only."""
        if any(record.outcome.trained for record in records):
            best = ranked(records if self.best is None else [self.best, *records], self.budget)
            self.best = best[0] if best else None
            self.front = pareto_front([*self.front, *records], self.budget, self.objectives)
            self.on_front = frozenset(record.number for record in self.front)
