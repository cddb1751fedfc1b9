"""What to train next: the configuration within the budget that promises most, never one twice; no torch, no optuna."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from searcher.budget import QUANTITIES
from searcher.evidence import Digits, TrialResult
from searcher.feasible import FeasibleSet
from searcher.gaussian_process import GaussianProcess, Points
from searcher.grid import Codes, Floats
from searcher.improvement import expected_improvement
from searcher.records import Outcome
from searcher.space import Space
from searcher.variables import Kind

STARTUP = 2
MOST_EVIDENCE = 512  # trials that the model learns from; of more, the most accurate and the latest
WORK = 2**23  # configurations scored x trials learnt from, 0.2 s; where there are more, a draw of them is scored
FLOOR = -2.0  # with costs among the objectives, accuracy below this (in deviations of the trials) is worth nothing
Rows = NDArray[np.intp]


class Proposer:
    """Proposes configurations of `feasible`, each once, by expected improvement under a Gaussian process.

    The first `startup` proposals are drawn at random. With costs among `space.search.objectives`, improvement is that
    of the dominated volume over accuracy and the logarithms of these costs. A proposal depends on the arguments alone,
    not on earlier calls. `prior` may say, for each variable, what each choice is expected to add to accuracy (0..1).
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
        self._scale = _Scale(_log_costs(feasible.memory_bytes, feasible.ops))
        self._objectives = [i for i, name in enumerate(QUANTITIES) if name in space.search.objectives]

    def propose(self, number: int, finished: Sequence[TrialResult], pending: Sequence[Digits]) -> Digits | None:
        """The configuration of trial `number`, None where all have been tried.

        `finished` are the results known, by trial number, `pending` the configurations of trials still under way.
        Results outside the feasible set (of an earlier budget) are evidence, too; failed trials count as the worst.
        """
        tried = [r for r in finished if r.outcome is not Outcome.OVER_BUDGET]
        waiting = self.feasible.rows_of(self._codes(pending))
        waiting = waiting[waiting >= 0]
        rows = self._untried(tried, waiting)
        if not len(rows):
            return None
        draw = np.random.default_rng([self.seed, number])
        evidence = _most_telling(tried)
        if len(tried) + len(pending) < self.startup or not any(r.outcome.trained for r in evidence):
            row = draw.choice(rows)
        else:
            rows = self._pool(rows, evidence, draw)
            row = rows[self._scores(rows, evidence, waiting).argmax()]
        return tuple(int(digit) for digit in self.feasible.codes[row])

    def _untried(self, tried: Sequence[TrialResult], waiting: Rows) -> Rows:
        """Rows that may be proposed; those expected to run out of memory only where nothing else is left."""
        untried = np.ones(len(self.feasible), bool)
        known = self.feasible.rows_of(self._codes([r.digits for r in tried]))
        untried[known[known >= 0]] = False
        untried[waiting] = False
        fitting = untried.copy()
        for widths in self._too_large(tried):
            fitting &= ~(self._widths(self.feasible.codes) >= widths).all(axis=1)
        return np.flatnonzero(fitting if fitting.any() else untried)

    def _too_large(self, tried: Sequence[TrialResult]) -> list[Floats]:
        """Widths with which, or with larger ones, training is expected to run out of memory.

        Training keeps weights and activations in floating point whatever their precision, so what it needs grows with
        the widths. A later trial at least as wide that was trained refutes a failure.
        """
        failed = [r for r in tried if r.outcome is Outcome.OUT_OF_MEMORY]
        trained = [r for r in tried if r.outcome.trained] if failed else []
        widths = [self._widths(self._codes([r.digits]))[0] for r in failed]
        later = [self._widths(self._codes([t.digits for t in trained if t.number > r.number])) for r in failed]
        return [w for w, others in zip(widths, later, strict=True) if not (others >= w).all(axis=1).any()]

    def _pool(self, rows: Rows, evidence: Sequence[TrialResult], draw: np.random.Generator) -> Rows:
        """All of `rows`; of too many a random part, and what is close to the most accurate trial."""
        most = WORK // len(evidence)
        if len(rows) <= most:
            return rows
        best = max(evidence, key=lambda r: r.accuracy or 0)
        close = (self.feasible.codes[rows] != np.array(best.digits, np.uint8)).sum(axis=1) <= 1
        return np.unique(np.concatenate((rows[close], draw.choice(rows, most))))

    def _scores(self, rows: Rows, evidence: Sequence[TrialResult], waiting: Rows) -> Floats:
        """Expected improvement at each of `rows`."""
        codes = self._codes([r.digits for r in evidence])
        logs = _log_costs(*np.array([(r.memory_bytes, r.ops) for r in evidence]).T)
        trained = Points(codes, self._scale.standard(logs))
        values = expected_accuracies(evidence) - self._foreseen(codes)
        level, unit = values.mean(), values.std() + 1e-6
        process = GaussianProcess(self.space.variables, trained, (values - level) / unit, self._points(waiting))
        mean, deviation = process.predict(self._points(rows))
        known = (self.feasible.rows_of(codes) >= 0) & np.array([r.outcome.trained for r in evidence])
        return expected_improvement(
            mean + self._foreseen(self.feasible.codes[rows]) / unit,
            deviation,
            self._scale.shares(self._logs(rows))[:, self._objectives],
            process.predict(trained[known])[0] + self._foreseen(codes[known]) / unit,
            self._scale.shares(logs[known])[:, self._objectives],
            FLOOR,
        )

    def _foreseen(self, codes: Codes) -> Floats:
        """Sum of the prior's differences of accuracy."""
        differences = np.zeros(len(codes))
        for column, choices in enumerate(self.prior or ()):
            differences += np.asarray(choices)[codes[:, column]]
        return differences

    def _points(self, rows: Rows) -> Points:
        return Points(self.feasible.codes[rows], self._scale.standard(self._logs(rows)))

    def _logs(self, rows: Rows) -> Floats:
        return _log_costs(self.feasible.memory_bytes[rows], self.feasible.ops[rows])

    def _codes(self, digits: Sequence[Digits]) -> Codes:
        return np.array(digits, np.uint8).reshape(len(digits), len(self.space.variables))

    def _widths(self, codes: Codes) -> Floats:
        """Rank of each width, `n x width variables`."""
        widths = [(i, v) for i, v in enumerate(self.space.variables) if v.kind is not Kind.PRECISION]
        return np.array([np.array(v.positions)[codes[:, i]] for i, v in widths]).reshape(len(widths), len(codes)).T


class _Scale:
    """The feasible set's range of log costs: `standard` for the model, `shares` (0..1) for volumes."""

    def __init__(self, logs: Floats) -> None:
        logs = logs if len(logs) else np.zeros((1, 2))
        self._mean, self._deviation = logs.mean(axis=0), logs.std(axis=0) + 1e-9
        self._low, self._range = logs.min(axis=0), np.ptp(logs, axis=0) + 1e-9

    def standard(self, logs: Floats) -> Floats:
        return (logs - self._mean) / self._deviation

    def shares(self, logs: Floats) -> Floats:
        return (logs - self._low) / self._range


def expected_accuracies(results: Sequence[TrialResult]) -> Floats:
    """What each trial would have reached (0..1), had it been trained to its end.

    A trial that was stopped early gets what the complete ones gained on average after that epoch, a failed one the
    lowest accuracy of all.
    """
    curves = [np.maximum.accumulate(r.curve) for r in results if r.outcome is Outcome.COMPLETE and r.curve]
    accuracies = [r.accuracy if r.outcome.trained else None for r in results]
    expected = []
    for result, accuracy in zip(results, accuracies, strict=True):
        if accuracy is not None and result.outcome is Outcome.STOPPED:
            gains = [c[-1] - c[len(result.curve) - 1] for c in curves if len(c) >= len(result.curve) > 0]
            accuracy += float(np.mean(gains)) if gains else 0.0
        expected.append(accuracy)
    lowest = min((a for a in expected if a is not None), default=0.0)
    return np.array([lowest if a is None else a for a in expected])


def _most_telling(tried: Sequence[TrialResult]) -> Sequence[TrialResult]:
    """All trials; of too many the most accurate and the latest."""
    if len(tried) <= MOST_EVIDENCE:
        return tried
    latest, earlier = tried[-MOST_EVIDENCE // 2 :], tried[: -MOST_EVIDENCE // 2]
    return [*sorted(earlier, key=lambda r: r.accuracy or 0)[-MOST_EVIDENCE // 2 :], *latest]


def _log_costs(memory_bytes: Floats, ops: Floats) -> Floats:
    return np.log(np.stack((memory_bytes, ops), axis=1))
