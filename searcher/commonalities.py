"""What the best trials of a study have in common that the others do not; no torch, no optuna, no rich."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from searcher.importances import codes_of
from searcher.records import TrialRecord
from searcher.space import Space
from searcher.variables import Choice, Variable

BEST_SHARE, FEWEST, MOST = 0.1, 5, 20  # how many are the best
CHANCE = 0.05  # that anything at all would be said of a draw of the trials


@dataclass(frozen=True)
class Commonality:
    """`variable` `relation` (=, ≥ or ≤) `choice`: true of `best_share` of the best, and of `share` of all (0..1).

    Shares are of those trials whose model has the variable: one of `models`, where not all have it.
    """

    variable: str
    relation: str
    choice: Choice
    best_share: float
    share: float
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Commonalities:
    """What is remarkable of the `best` first of `trials` ranked trials, surest first; maybe nothing."""

    best: int
    trials: int
    found: tuple[Commonality, ...]


def best_count(trials: int) -> int:
    """How many of `trials` ranked ones count as the best, where a user names no number."""
    return min(trials, MOST, max(FEWEST, round(BEST_SHARE * trials)))


def commonalities(space: Space, ranked: Sequence[TrialRecord]) -> Commonalities | None:
    """What most of the best of `ranked` share and what chance explains badly; None with fewer than twice `FEWEST`.

    One statement a variable: the one whose frequency among the best would be rarest if they were drawn blindly from
    all (hypergeometric tail), where that is below `CHANCE` over all statements that were tried (Bonferroni). Of a
    variable that some models lack, only the trials that have it count, the best and all.
    """
    best = best_count(len(ranked))
    if len(ranked) < 2 * FEWEST:
        return None
    codes = codes_of(space, ranked)
    found: list[tuple[float, Commonality]] = []
    tried = 0
    for column, variable in enumerate(space.variables):
        rarest: tuple[float, Commonality] | None = None
        active = codes[:, column] != variable.inactive
        drawn, total = int(active[:best].sum()), int(active.sum())
        for relation, choice, digits in _statements(variable):
            true = np.isin(codes[:, column], digits)
            among, everywhere = int(true[:best].sum()), int(true.sum())
            if not (drawn and 0 < everywhere < total):
                continue
            tried += 1
            chance = _tail(among, drawn, everywhere, total)
            if 2 * among > drawn and (rarest is None or chance < rarest[0]):
                shares = among / drawn, everywhere / total
                rarest = chance, Commonality(variable.name, relation, choice, *shares, variable.models)
        if rarest is not None:
            found.append(rarest)
    kept = sorted((pair for pair in found if pair[0] * tried < CHANCE), key=lambda pair: pair[0])
    return Commonalities(best, len(ranked), tuple(commonality for _, commonality in kept))


def _statements(variable: Variable) -> Iterator[tuple[str, Choice, list[int]]]:
    """Relation, choice, and the digits for which it is true; those that say the same are given once."""
    digits = sorted(range(len(variable.choices)), key=variable.positions.__getitem__)
    for digit in digits:
        yield "=", variable.choices[digit], [digit]
    for place in range(1, len(digits) - 1) if variable.ordinal else ():
        yield "≥", variable.choices[digits[place]], digits[place:]
        yield "≤", variable.choices[digits[place]], digits[: place + 1]


def _tail(among: int, drawn: int, marked: int, total: int) -> float:
    """Probability that `drawn` of `total`, of which `marked` are marked, hold at least `among` marked ones."""
    most = min(drawn, marked)
    ways = sum(math.comb(marked, k) * math.comb(total - marked, drawn - k) for k in range(among, most + 1))
    return ways / math.comb(total, drawn)
