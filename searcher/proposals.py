"""Which trial comes next, and from whose results it is proposed; no torch, no optuna."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from searcher.device_profiles import device_id
from searcher.evidence import Digits
from searcher.feasible import FeasibleSet
from searcher.proposer import Proposer
from searcher.records import Outcome, TrialRecord
from searcher.space import Space
from searcher.trial_table import TrialTable


class Proposals:
    """The trials that are not in the `table` yet, one at a time: first the enqueued points, then the sampler's.

    A proposal depends on the seed and on results, never on time: trial n is proposed from the trials numbered below
    its horizon, n - lookahead + 1, and only when all of these have ended. `exhausted` says whether the last `next`
    found every feasible configuration tried.
    """

    def __init__(self, space: Space, feasible: FeasibleSet, table: TrialTable) -> None:
        self.exhausted = False
        self._space, self._feasible, self._table = space, feasible, table
        self._proposer = Proposer(space, feasible, space.search.seed, space.search.startup)
        self._lookahead = lookahead_of(space)
        self._enqueued = iter(list(self._to_enqueue()))

    def next(self) -> TrialRecord | None:
        """The next trial, not stored yet; None where it must wait for results, or nothing is left."""
        number = self._table.next_number
        horizon = max(0, number - self._lookahead + 1)
        if any(record.number < horizon for record in self._table.unfinished):
            return None
        digits = next(self._enqueued, None)
        if digits is None:
            digits = self._proposed(number, horizon)
        self.exhausted = digits is None
        return None if digits is None else self._record(number, horizon, digits)

    def _proposed(self, number: int, horizon: int) -> Digits | None:
        """The sampler's choice; of a trial that was removed, the one of that time unless another one stands for it."""
        results, pending = self._table.results(horizon), self._table.pending(horizon, number)
        digits = self._proposer.propose(number, results, pending)
        later = self._table.pending(number + 1, len(self._table) + 1)
        return self._proposer.propose(number, results, [*pending, *later]) if digits in later else digits

    def _record(self, number: int, horizon: int, digits: Digits) -> TrialRecord:
        choices: dict[str, Any] = self._space.choices_of(digits)
        candidate, device = self._space.candidate(choices), self._space.device
        cost = self._space.cost_of(candidate).total
        return TrialRecord(
            number,
            candidate,
            choices,
            cost.memory_bytes,
            cost.ops,
            Outcome.WAITING,
            attempts=0,
            horizon=horizon,
            latency_seconds=cost.latency_seconds,
            device="" if device is None else device_id(device),
        )

    def _to_enqueue(self) -> Iterator[Digits]:
        """The space's enqueued points that no trial stands for yet; one refused earlier only if it now fits.

        Points of several models that are the same candidate are one; it is trained as the first of them was written.
        """
        known: set[Digits] = set()
        refused: set[Digits] = set()
        for record in self._table:
            digits = self._table.configuration(record.choices)
            (refused if record.outcome is Outcome.OVER_BUDGET else known).add(digits)
        for point in self._space.enqueued:
            digits = self._table.configuration(point)
            if digits not in known and (digits not in refused or self._feasible.row_of(digits) is not None):
                known.add(digits)
                yield self._space.digits_of(point)


def lookahead_of(space: Space) -> int:
    """How many trials may be under way or unread, the proposed one included; by default 1 for a single worker."""
    search = space.search
    if search.lookahead is not None:
        return search.lookahead
    return 1 if search.workers == 1 else 2 * search.workers
