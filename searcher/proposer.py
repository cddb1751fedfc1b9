"""What to train next: the configuration within the budget that promises most, never one twice; no torch, no optuna."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from searcher.evidence import Digits, TrialResult
from searcher.feasible import FeasibleSet, neighbours
from searcher.gaussian_process import GaussianProcess, Points
from searcher.grid import Codes, Floats
from searcher.improvement import expected_improvement
from searcher.learning_curves import expected_accuracies
from searcher.quantities import QUANTITIES
from searcher.records import Outcome
from searcher.space import Space
from searcher.variables import Kind

STARTUP = 1
SLOPED = ("memory", "ops")  # along which accuracy is presumed to rise; the first of a space's quantities
SLOPE = 0.5  # prior gain in accuracy with the costs: standard deviations of accuracy per one of the log costs
TYPICAL_UNIT = 0.02  # standard deviation of accuracy while nothing is known
AMBITION = 2.0  # accuracy (standard deviations above the mean) to improve on while nothing is known
FLOOR = -2.0  # with costs among the objectives: less accuracy than this is worth nothing
MOST_EVIDENCE = 512  # trials that the model learns from; of more, the most accurate and the latest
WORK = 2**23  # configurations scored x trials learnt from (0.1 s); of more configurations a draw is scored
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]


class Proposer:
    """Proposes configurations of `feasible`, each once, by expected improvement under a Gaussian process.

    The first `startup` proposals are drawn at random. With costs among `space.search.objectives`, improvement is that
    of the dominated volume over accuracy and the logarithms of these costs. A proposal depends on the arguments alone,
    not on earlier calls. `prior` may say, for each variable, what each choice is expected to add to accuracy (0..1);
    an inactive variable adds nothing.
    """

    def __init__(
        self,
        space: Space,
        feasible: FeasibleSet,
        seed: int,
        startup: int | None = None,
        prior: Sequence[Floats] | None = None,
    ) -> None:
        self.space, self.feasible, self.seed, self.prior = space, feasible, seed, prior
        self.startup = STARTUP if startup is None else startup
        costs = [QUANTITIES[name].of(feasible) for name in space.quantities]
        logs = np.log(np.stack(costs, axis=1)) if len(feasible) else np.zeros((1, len(costs)))
        mean, spread = logs.mean(axis=0), logs.std(axis=0) + 1e-9
        logs = (logs - mean) / spread
        slopes = slice(len(SLOPED))  # of which the model knows; latency only says what is wanted
        self._logs, self._mean_logs, self._spread = np.ascontiguousarray(logs[:, slopes]), mean[slopes], spread[slopes]
        lowest, highest = logs.min(axis=0), logs.max(axis=0)
        objectives = [i for i, name in enumerate(space.quantities) if name in space.search.objectives]
        # Costs among the objectives on a logarithmic scale: 0 is the cheapest feasible, 1 the dearest.
        self._shares: Floats = ((logs - lowest) / (highest - lowest + 1e-9))[:, objectives]

    def propose(self, number: int, finished: Sequence[TrialResult], pending: Sequence[Digits]) -> Digits | None:
        """The configuration of trial `number`, None where all have been tried.

        `finished` are the results known, by trial number, `pending` the configurations of trials still under way.
        Results outside the feasible set (of an earlier budget) are evidence, too; failed trials count as the worst.
        """
        tried = [r for r in finished if r.outcome is not Outcome.OVER_BUDGET]
        waiting = self.feasible.rows_of(self._codes(pending))
        waiting = waiting[waiting >= 0]
        untried = self._untried(tried, waiting)
        rows = np.flatnonzero(untried)
        if not len(rows):
            return None
        draw = np.random.default_rng([self.seed, number])
        if len(tried) + len(pending) < self.startup:
            row = draw.choice(rows)
        else:
            evidence = _most_telling(tried)
            most = WORK // max(1, len(evidence)) // (1 + 3 * self._shares.shape[1])
            if len(rows) > most:
                rows = np.concatenate((self._around_best(evidence, untried), self._drawn(rows, most, draw)))
            row = rows[self._scores(rows, evidence, waiting).argmax()]
        return tuple(int(digit) for digit in self.feasible.codes[row])

    def _untried(self, tried: Sequence[TrialResult], waiting: Rows) -> Mask:
        """Which rows may be proposed; those expected to run out of memory only where nothing else is left."""
        untried = np.ones(len(self.feasible), bool)
        known = self.feasible.rows_of(self._codes([r.digits for r in tried]))
        untried[known[known >= 0]] = False
        untried[waiting] = False
        fitting = untried.copy()
        for failed in self._too_large(tried):
            fitting &= ~self._as_wide(self.feasible.codes, failed)
        return fitting if fitting.any() else untried

    def _too_large(self, tried: Sequence[TrialResult]) -> list[Codes]:
        """Configurations with whose widths, or with larger ones, training is expected to run out of memory.

        Training keeps weights and activations in floating point whatever their precision, so what it needs grows with
        the widths. A later trial at least as wide that was trained refutes a failure.
        """
        found = []
        for failure in (r for r in tried if r.outcome is Outcome.OUT_OF_MEMORY):
            code = self._codes([failure.digits])
            later = [r.digits for r in tried if r.outcome.trained and r.number > failure.number]
            if not self._as_wide(self._codes(later), code).any():
                found.append(code)
        return found

    def _as_wide(self, codes: Codes, than: Codes) -> Mask:
        """Which of `codes` are of the model of the configuration `than` and at least as wide everywhere."""
        wide = np.ones(len(codes), bool)
        for i, variable in enumerate(self.space.variables):
            if not variable.ordinal:
                wide &= codes[:, i] == than[0, i]
            elif variable.kind is not Kind.PRECISION:
                places = np.array(variable.places)
                wide &= places[codes[:, i]] >= places[than[0, i]]
        return wide

    def _around_best(self, evidence: Sequence[TrialResult], untried: Mask) -> Rows:
        """What differs in one variable from the most accurate trial."""
        best = max((r for r in evidence if r.accuracy), key=lambda r: r.accuracy or 0.0, default=None)
        if best is None:
            return np.empty(0, np.intp)
        rows = self.feasible.rows_of(neighbours(self.space, np.array(best.digits, np.uint8)))
        return rows[(rows >= 0) & untried[rows]]

    def _drawn(self, rows: Rows, most: int, draw: np.random.Generator) -> Rows:
        """About `most` of `rows`, as many of each model: all of a model that has fewer."""
        if not self.space.mixed:
            return draw.choice(rows, most)
        models = self.feasible.codes[rows, 0]  # in ascending order
        drawn, parts = [], np.split(rows, np.flatnonzero(np.diff(models)) + 1)
        for left, part in zip(range(len(parts), 0, -1), sorted(parts, key=len), strict=True):
            drawn.append(part if len(part) <= most // left else draw.choice(part, most // left))
            most -= len(drawn[-1])
        return np.concatenate(drawn)

    def _scores(self, rows: Rows, evidence: Sequence[TrialResult], waiting: Rows) -> Floats:
        """Expected improvement at each of `rows`, in standard deviations of the evidence's accuracies."""
        accuracies = accuracies_of(evidence)
        level, unit = (accuracies.mean(), accuracies.std() + 1e-6) if len(evidence) else (0.0, TYPICAL_UNIT)
        costs = [[QUANTITIES[name].of(r) for name in SLOPED] for r in evidence]
        logs = np.log(np.array(costs).reshape(-1, len(SLOPED)))
        seen = Points(self._codes([r.digits for r in evidence]), (logs - self._mean_logs) / self._spread)
        values = (accuracies - level) / unit - self._foreseen(seen, unit)
        process = GaussianProcess(self.space.variables, seen, values, self._points(waiting))

        points = self._points(rows)
        mean, deviation = process.predict(points)
        seen_rows = self.feasible.rows_of(seen.codes)
        known = (seen_rows >= 0) & np.array([r.outcome.trained for r in evidence], bool)
        tried = seen[known].joined(self._points(waiting))
        return expected_improvement(
            mean + self._foreseen(points, unit),
            deviation,
            self._shares[rows],
            process.predict(tried)[0] + self._foreseen(tried, unit),
            self._shares[np.concatenate((seen_rows[known], waiting))],
            FLOOR if self._shares.shape[1] or known.any() else AMBITION,
        )

    def _foreseen(self, points: Points, unit: float) -> Floats:
        """Accuracy expected before any trial, relative to the mean, in `unit`s."""
        expected: Floats = SLOPE * points.log_costs.mean(axis=1)
        for column, differences in enumerate(self.prior or ()):
            expected += np.append(differences, 0.0)[points.codes[:, column]] / unit
        return expected

    def _points(self, rows: Rows) -> Points:
        return Points(self.feasible.codes[rows], self._logs[rows])

    def _codes(self, digits: Sequence[Digits]) -> Codes:
        return np.array(digits, np.uint8).reshape(len(digits), len(self.space.variables))


def accuracies_of(results: Sequence[TrialResult]) -> Floats:
    """What each trial came to (0..1), or would have (`expected_accuracies`); failed ones count as the worst."""
    expected = expected_accuracies(results)
    for i, result in enumerate(results):
        if np.isnan(expected[i]) and result.outcome.trained:  # its record has no epochs
            expected[i] = result.accuracy
    lowest = 0.0 if np.isnan(expected).all() else float(np.nanmin(expected))
    return np.nan_to_num(expected, nan=lowest)


def _most_telling(tried: Sequence[TrialResult]) -> Sequence[TrialResult]:
    """All trials; of too many the most accurate and the latest."""
    if len(tried) <= MOST_EVIDENCE:
        return tried
    half = MOST_EVIDENCE // 2
    return [*sorted(tried[:-half], key=lambda r: r.accuracy or 0.0)[-half:], *tried[-half:]]
