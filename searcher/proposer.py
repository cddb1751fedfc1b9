"""The sampler: of all configurations within the budget that no trial stands for, the one that promises most.

The feasible set is known, so nothing over the budget is proposed and nothing twice, and the acquisition is not searched
but computed for every configuration. No optuna here: proposals are a function of their arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from searcher.budget import QUANTITIES
from searcher.evidence import Digits, TrialResult
from searcher.feasible import FeasibleSet
from searcher.grid import Codes
from searcher.improvement import expected_improvement, expected_volume_growth
from searcher.learning_curves import expected_accuracies
from searcher.records import Outcome
from searcher.space import Space
from searcher.surrogate import Surrogate
from searcher.variables import Kind

STARTUP = 4
MOST_EVIDENCE = 128  # trials that the surrogate is fitted to: half the best, half at random
MOST_EXPECTED = 2**18  # configurations whose accuracy is predicted: drawn, and those near the best trials
BEST, NEAR = 4, 2  # how many trials, and how many variables may differ from them
MOST_SCORED = 2**13  # configurations whose uncertainty is worked out: half those of highest mean, half at random
Floats: TypeAlias = NDArray[np.float64]


class Proposer:
    """Proposes configurations of `feasible`, all objectives of the space considered.

    The first `startup` proposals are random; then a Gaussian process (`searcher.surrogate`) is fitted to the finished
    trials and expected improvement decides. Randomness derives from (`seed`, trial number).
    """

    def __init__(self, space: Space, feasible: FeasibleSet, seed: int, startup: int | None = None) -> None:
        self._space, self._feasible, self._seed = space, feasible, seed
        self._startup = STARTUP if startup is None else startup
        self._costs = self._standardised(feasible.memory_bytes, feasible.ops)
        self._rows: dict[Digits, int | None] = {}

    def propose(self, number: int, finished: Sequence[TrialResult], pending: Sequence[Digits]) -> Digits | None:
        """Digits of trial `number`; None where every feasible configuration has been tried.

        `finished` are results by trial number, `pending` the configurations of trials whose results are not to be used:
        they are taken to end as expected. Trials over the budget that were never trained count for nothing; failed ones
        count as the worst seen. Results of configurations beyond the budget are evidence like others.
        """
        evidence = [r for r in finished if r.outcome is not Outcome.OVER_BUDGET]
        rows = np.flatnonzero(self._untried(evidence, pending))
        if not len(rows):
            return None
        rows = self._without_memory_risk(rows, evidence)
        draw = np.random.default_rng([self._seed, number])
        # One draw a configuration, not one among `rows`: it stays the same whatever has been tried.
        luck = draw.random(len(self._feasible), np.float32)[rows]
        trained = [r for r in evidence if r.accuracy is not None]
        if len(evidence) >= self._startup and trained:
            chosen = self._most_promising(rows, luck, evidence, pending, draw)
        else:
            chosen = rows[luck.argmax()]
        return tuple(self._feasible.codes[chosen].tolist())

    def _most_promising(
        self,
        rows: NDArray[np.intp],
        luck: NDArray[np.float32],
        evidence: Sequence[TrialResult],
        pending: Sequence[Digits],
        draw: np.random.Generator,
    ) -> np.intp:
        known = _selected(evidence, draw)
        accuracies, codes = accuracies_of(known, evidence), self._codes([r.digits for r in known])
        costs = self._standardised(*np.array([(r.memory_bytes, r.ops) for r in known]).T)
        surrogate = Surrogate(self._space.variables, codes, costs, accuracies)
        if pending:  # as if they had ended as expected: certain about them, no wiser about the rest
            waiting = self._codes(pending)
            waiting_costs = self._costs_of(pending)
            accuracies = np.append(accuracies, surrogate.means(waiting, waiting_costs))
            codes, costs = np.concatenate((codes, waiting)), np.concatenate((costs, waiting_costs))
            surrogate = Surrogate(self._space.variables, codes, costs, accuracies)
        if len(rows) > MOST_EXPECTED:
            some = self._narrowed(rows, luck, codes[np.argsort(-accuracies)[:BEST]])
            rows, luck = rows[some], luck[some]
        means = surrogate.means(self._feasible.codes[rows], self._costs[rows])
        if len(rows) > MOST_SCORED:
            half = MOST_SCORED // 2
            some = np.union1d(np.argpartition(-means, half)[:half], np.argpartition(-luck, half)[:half])
            rows, luck, means = rows[some], luck[some], means[some]
        deviations = surrogate.deviations(self._feasible.codes[rows], self._costs[rows])
        expected = surrogate.means(codes, costs)
        scores = self._scores(means, deviations, self._costs[rows], expected, costs)
        best: np.intp = rows[np.lexsort((luck, scores))[-1]]
        return best

    def _narrowed(self, rows: NDArray[np.intp], luck: NDArray[np.float32], best: Codes) -> NDArray[np.intp]:
        """Which of very many `rows` to look at: a draw of them, and all that differ little from the best trials."""
        near = np.zeros(len(rows), bool)
        for digits in best:
            near |= np.count_nonzero(self._feasible.codes[rows] != digits, axis=1) <= NEAR
        return np.union1d(np.flatnonzero(near), np.argpartition(-luck, MOST_EXPECTED)[:MOST_EXPECTED])

    def _scores(self, means: Floats, deviations: Floats, costs: Floats, known: Floats, known_costs: Floats) -> Floats:
        """Expected improvement on the `known` trials, whose expected accuracies count: measured ones carry noise."""
        names = self._space.search.objectives[1:]
        if names:
            columns = [QUANTITIES.index(name) for name in names]
            low, high = self._costs[:, columns].min(axis=0), self._costs[:, columns].max(axis=0)
            costs, known_costs = ((c[:, columns] - low) / np.maximum(high - low, 1e-9) for c in (costs, known_costs))
            return expected_volume_growth(
                means, deviations, costs, known, np.maximum(known_costs, 0), float(known.min())
            )
        within = (known_costs <= self._costs.max(axis=0)).all(axis=1)
        best = float(known[within].max()) if within.any() else float(known.min())
        return expected_improvement(means, deviations, best)

    def _untried(self, evidence: Sequence[TrialResult], pending: Sequence[Digits]) -> NDArray[np.bool_]:
        mask = np.ones(len(self._feasible), bool)
        tried = [self._row_of(d) for d in (*(r.digits for r in evidence), *pending)]
        mask[[row for row in tried if row is not None]] = False
        return mask

    def _without_memory_risk(self, rows: NDArray[np.intp], evidence: Sequence[TrialResult]) -> NDArray[np.intp]:
        """Without configurations at least as wide everywhere as one whose training ran out of memory.

        What a training keeps grows with the widths and hardly depends on precisions, which are emulated. Where nothing
        else is left, or the same widths were trained since, they stay.
        """
        columns = [i for i, v in enumerate(self._space.variables) if v.kind is not Kind.PRECISION]
        factors = [np.array([float(c) for c in self._space.variables[i].choices]) for i in columns]
        trained = {tuple(r.digits[i] for i in columns) for r in evidence if r.accuracy is not None}
        safe = np.ones(len(rows), bool)
        for widths in {tuple(r.digits[i] for i in columns) for r in evidence if r.outcome is Outcome.OUT_OF_MEMORY}:
            if widths not in trained:
                wider = np.ones(len(rows), bool)
                for column, factor, digit in zip(columns, factors, widths, strict=True):
                    wider &= factor[self._feasible.codes[rows, column]] >= factor[digit]
                safe &= ~wider
        return rows[safe] if safe.any() else rows

    def _row_of(self, digits: Digits) -> int | None:
        if digits not in self._rows:
            self._rows[digits] = self._feasible.row_of(digits)
        return self._rows[digits]

    def _codes(self, trials: Sequence[Digits]) -> Codes:
        return np.array(trials, np.uint8).reshape(len(trials), len(self._space.variables))

    def _costs_of(self, trials: Sequence[Digits]) -> Floats:
        """Standardised log costs of configurations, within the budget or not."""
        amounts = []
        for digits in trials:
            row = self._row_of(digits)
            if row is None:
                cost = self._space.candidate(self._space.choices_of(digits)).cost(self._space.budget.accounting).total
                amounts.append((cost.memory_bytes, cost.ops))
            else:
                amounts.append((self._feasible.memory_bytes[row], self._feasible.ops[row]))
        return self._standardised(*np.array(amounts).T)

    def _standardised(self, memory_bytes: Floats, ops: Floats) -> Floats:
        """Logarithms of costs (`trials x quantities`), of mean 0 and deviation 1 over the feasible set."""
        logs = np.log(np.stack((memory_bytes, ops), axis=1))
        centre, spread = self._scales
        result: Floats = (logs - centre) / spread
        return result

    @cached_property
    def _scales(self) -> tuple[Floats, Floats]:
        logs = np.log(np.stack((self._feasible.memory_bytes, self._feasible.ops), axis=1))
        return logs.mean(axis=0), np.maximum(logs.std(axis=0), 1e-9)


def _selected(evidence: Sequence[TrialResult], draw: np.random.Generator) -> Sequence[TrialResult]:
    """At most `MOST_EVIDENCE` trials: the best ones and a draw of the others."""
    if len(evidence) <= MOST_EVIDENCE:
        return evidence
    half = MOST_EVIDENCE // 2
    ranked = sorted(evidence, key=lambda r: (r.accuracy is None, -(r.accuracy or 0.0), r.number))
    return [*ranked[:half], *(ranked[half + i] for i in draw.permutation(len(ranked) - half)[:half])]


def accuracies_of(known: Sequence[TrialResult], evidence: Sequence[TrialResult]) -> Floats:
    """What each of the `known` trials came to, or would have (`expected_accuracies`); failed ones are the worst."""
    found = {
        r.number: r.accuracy if np.isnan(expected) else float(expected)  # a record without epochs
        for r, expected in zip(evidence, expected_accuracies(evidence), strict=True)
        if r.accuracy is not None
    }
    worst = min(found.values())
    return np.array([found.get(r.number, worst) for r in known])
