"""The rules that stop a trial early by its learning curve: `search.pruner` of a space file; no torch, no optuna.

A rule is asked after every epoch of phase 2 but the last. It looks at nothing but the curves it is given, so that a
resumed search decides as an undisturbed one.
"""

from __future__ import annotations

import binascii
import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from bhvit.errors import InvalidInput, unknown_name
from searcher.evidence import TrialResult
from searcher.quantities import QUANTITIES
from searcher.records import Outcome, TrialRecord
from searcher.schema import from_mapping

WITNESSES = 500  # complete trials that are asked whether an epoch tells who ends well


@dataclass(frozen=True)
class Pruning(ABC):
    """A rule that stops trials early."""

    @abstractmethod
    def stops(self, number: int, curve: Sequence[float], epochs: int, others: Sequence[TrialResult]) -> bool:
        """Whether trial `number` ends here: `curve` holds its accuracies (0..1) after each of its epochs so far.

        `epochs` (more than `curve` has) is the length of phase 2. `others` are the finished trials that it is compared
        with, numbered below it (`comparable`).
        """

    def earliest(self, epochs: int) -> int | None:
        """The first epoch of a phase 2 of `epochs` that a trial may end after; None where none ends before the last."""
        first = self._first(epochs)
        return None if first is None or first >= epochs else first

    @abstractmethod
    def _first(self, epochs: int) -> int | None:
        """The first epoch that the rule looks at, which may lie beyond the end of the phase."""


@dataclass(frozen=True)
class NoPruning(Pruning):
    """Every trial trains to its end."""

    def stops(self, number: int, curve: Sequence[float], epochs: int, others: Sequence[TrialResult]) -> bool:
        return False

    def _first(self, epochs: int) -> int | None:
        return None


@dataclass(frozen=True)
class Median(Pruning):
    """Stop below the median of earlier trials at the same epoch.

    Not before `startup_trials` have finished, nor in a trial's first `warmup_epochs`.
    """

    startup_trials: int = 4
    warmup_epochs: int = 1

    def __post_init__(self) -> None:
        _at_least("startup_trials", self.startup_trials, 1)
        _at_least("warmup_epochs", self.warmup_epochs, 0)

    def stops(self, number: int, curve: Sequence[float], epochs: int, others: Sequence[TrialResult]) -> bool:
        epoch = len(curve)
        complete = [o.curve for o in others if _is_complete(o, epoch)]
        if epoch <= self.warmup_epochs or len(complete) < self.startup_trials:
            return False
        return max(curve) < statistics.median(other[epoch - 1] for other in complete)

    def _first(self, epochs: int) -> int:
        return self.warmup_epochs + 1


@dataclass(frozen=True)
class Rank(Pruning):
    """Keep the best of those that came as far, where that has told who ends well.

    With `reduction_factor` 2 and 3 `rungs`: after an eighth, a quarter and a half of phase 2 (epochs rounded up) a
    trial goes on only if its best accuracy so far is in the better half, rounded up, of all trials that reached this
    epoch. Nothing is stopped before `startup_trials` are complete, nor where less than a share `concordance` of the
    pairs of complete trials had the same order at this epoch as at their end: 0.5 is pure chance, 0 trusts every epoch.

    This is asynchronous successive halving (`SuccessiveHalving`) counted from the end of the phase, because learning
    rates fall towards it however long it is, by the measure that the result is chosen by.
    """

    startup_trials: int = 4
    reduction_factor: int = 2
    rungs: int = 3
    concordance: float = 0.55

    def __post_init__(self) -> None:
        _at_least("startup_trials", self.startup_trials, 1)
        _at_least("reduction_factor", self.reduction_factor, 2)
        _at_least("rungs", self.rungs, 1)
        if not 0 <= self.concordance <= 1:
            raise InvalidInput(f"concordance must lie between 0 and 1, but it is {self.concordance}.")

    def stops(self, number: int, curve: Sequence[float], epochs: int, others: Sequence[TrialResult]) -> bool:
        epoch, best = len(curve), max(curve)
        if epoch not in {math.ceil(epochs / self.reduction_factor**k) for k in range(1, self.rungs + 1)}:
            return False
        seen = [max(o.curve[:epoch]) for o in others if len(o.curve) >= epoch]
        if sum(accuracy > best for accuracy in seen) < math.ceil((len(seen) + 1) / self.reduction_factor):
            return False
        complete = [(max(o.curve[:epoch]), max(o.curve)) for o in others if _is_complete(o, epoch)]
        return len(complete) >= self.startup_trials and _concordance(complete[-WITNESSES:]) >= self.concordance

    def _first(self, epochs: int) -> int:
        first: int = math.ceil(epochs / self.reduction_factor**self.rungs)
        return first


@dataclass(frozen=True)
class SuccessiveHalving(Pruning):
    """Asynchronous successive halving: after `min_epochs` keep one in `reduction_factor`, again at each rung.

    Rungs are the epochs min_epochs * reduction_factor^k. Until a rung has seen `reduction_factor` trials only the best
    of them passes. Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020.
    """

    min_epochs: int = 1
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        _at_least("min_epochs", self.min_epochs, 1)
        _at_least("reduction_factor", self.reduction_factor, 2)

    def stops(self, number: int, curve: Sequence[float], epochs: int, others: Sequence[TrialResult]) -> bool:
        epoch = len(curve)
        rung = self.min_epochs
        while rung < epoch:
            rung *= self.reduction_factor
        if rung != epoch:
            return False
        seen = sorted((*(o.curve[epoch - 1] for o in others if len(o.curve) >= epoch), curve[-1]), reverse=True)
        kept = max(1, len(seen) // self.reduction_factor)
        return curve[-1] < seen[kept - 1]

    def _first(self, epochs: int) -> int:
        return self.min_epochs


@dataclass(frozen=True)
class Hyperband(Pruning):
    """Several successive halvings that differ in how early they start; `max_epochs` is the phase's length.

    A trial's number says which of them it belongs to. Li et al., "Hyperband", JMLR 18 (2018), algorithm 1.
    """

    max_epochs: int
    min_epochs: int = 1
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        _at_least("min_epochs", self.min_epochs, 1)
        _at_least("max_epochs", self.max_epochs, self.min_epochs)
        _at_least("reduction_factor", self.reduction_factor, 2)

    def stops(self, number: int, curve: Sequence[float], epochs: int, others: Sequence[TrialResult]) -> bool:
        bracket = self._bracket(number)
        halving = SuccessiveHalving(self.min_epochs * self.reduction_factor**bracket, self.reduction_factor)
        return halving.stops(number, curve, epochs, [o for o in others if self._bracket(o.number) == bracket])

    def _first(self, epochs: int) -> int:
        return self.min_epochs

    def _bracket(self, number: int) -> int:
        """Bracket of a trial, spread evenly over numbers in proportion to the brackets' sizes."""
        last = 0
        while self.min_epochs * self.reduction_factor ** (last + 1) <= self.max_epochs:
            last += 1
        sizes = [
            math.ceil((last + 1) * self.reduction_factor ** (last - bracket) / (last - bracket + 1))
            for bracket in range(last + 1)
        ]
        place = binascii.crc32(f"search_{number}".encode()) % sum(sizes)
        bracket = 0
        while place >= sizes[bracket]:
            place -= sizes[bracket]
            bracket += 1
        return bracket


PRUNERS: Mapping[str, type[Any]] = MappingProxyType(
    {"none": NoPruning, "rank": Rank, "median": Median, "successive_halving": SuccessiveHalving, "hyperband": Hyperband}
)


def comparable(
    others: Sequence[TrialResult], trial: TrialRecord | TrialResult, objectives: Sequence[str]
) -> Sequence[TrialResult]:
    """Those of `others` that a `trial` is judged by, for its costs: all, where accuracy is the only objective.

    With costs among the `objectives`, a trial that is less accurate than a dearer one can be the best of its cost.
    """
    costs = [QUANTITIES[name] for name in objectives if name != "accuracy"]
    return [other for other in others if all(cost.of(other) <= cost.of(trial) for cost in costs)]


def pruning_from(value: object, where: str) -> Pruning:
    """A rule from its name, or from `{name: ..., option: ...}`."""
    options = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in PRUNERS:
        raise unknown_name(f"{where}.name" if isinstance(value, Mapping) else where, name, PRUNERS)
    rule: Pruning = from_mapping(PRUNERS[name], options, where)
    return rule


def pruning_to_plain(rule: Pruning) -> dict[str, Any]:
    """The inverse of `pruning_from`."""
    name = next(name for name, kind in PRUNERS.items() if type(rule) is kind)
    return {"name": name, **asdict(rule)}


def _is_complete(other: TrialResult, epoch: int) -> bool:
    return other.outcome is Outcome.COMPLETE and len(other.curve) >= epoch


def _concordance(pairs: Sequence[tuple[float, float]]) -> float:
    """Share of the pairs of points that have the same order in both coordinates, ties as a half; 0.5 for one point."""
    here, there = np.array(pairs).T
    order = np.sign(here[:, None] - here) * np.sign(there[:, None] - there)
    return float(0.5 + 0.5 * order.sum() / max(1, order.size - len(order)))


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InvalidInput(f"{name} must be at least {least}, but it is {value}.")
