"""temporary"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searcher.evidence import Digits, TrialResult
from searcher.feasible import FeasibleSet
from searcher.parzen import acquisition, good_count
from searcher.records import Outcome
from searcher.space import Space


class Proposer:
    def __init__(self, space: Space, feasible: FeasibleSet, seed: int, startup: int | None = None) -> None:
        self.space, self.feasible, self.seed = space, feasible, seed
        self.startup = 4 if startup is None else startup

    def propose(self, number: int, finished: Sequence[TrialResult], pending: Sequence[Digits]) -> Digits | None:
        known = [r for r in finished if r.outcome is not Outcome.OVER_BUDGET]
        mask = np.ones(len(self.feasible), bool)
        for d in [r.digits for r in known] + list(pending):
            row = self.feasible.row_of(d)
            if row is not None:
                mask[row] = False
        rows = np.flatnonzero(mask)
        if not len(rows):
            return None
        luck = np.random.default_rng([self.seed, number]).random(len(self.feasible), np.float32)[rows]
        if len(known) + len(pending) >= self.startup:
            order = sorted(
                known,
                key=lambda r: (r.outcome.trained, r.outcome is Outcome.COMPLETE, len(r.curve), r.accuracy or 0),
                reverse=True,
            )
            c = good_count(len(order))
            n = len(self.space.variables)
            f = lambda x: np.array(x, np.uint8).reshape(len(x), n)
            s = acquisition(
                self.space.variables,
                self.feasible.codes[rows],
                f([r.digits for r in order[:c]]),
                f([r.digits for r in order[c:]] + list(pending)),
            )
            luck[s < s.max()] = -1
        return tuple(int(x) for x in self.feasible.codes[rows[luck.argmax()]])
