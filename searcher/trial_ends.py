"""How trials ended and why, like ones together; no torch, no optuna, no rich."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from searcher.budget import Budget
from searcher.quantities import labels_of
from searcher.records import Outcome, TrialRecord

_FIGURES = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Reason:
    """Trials that ended for one reason, by number; `text` is the message of the first, empty where there is none."""

    text: str
    trials: tuple[int, ...]


@dataclass(frozen=True)
class End:
    """One outcome, the number of its trials, and their reasons, commonest first."""

    outcome: Outcome
    count: int
    reasons: tuple[Reason, ...]


def trial_ends(records: Iterable[TrialRecord], budget: Budget) -> list[End]:
    """Every outcome that occurs, in the order of `Outcome`; messages that differ in their figures alone are one reason.

    The reason of a trial that was over the budget is the limits it exceeds.
    """
    of_outcome: dict[Outcome, list[TrialRecord]] = defaultdict(list)
    for record in records:
        of_outcome[record.outcome].append(record)
    return [End(o, len(of_outcome[o]), _reasons(of_outcome[o], budget)) for o in Outcome if o in of_outcome]


def _reasons(records: list[TrialRecord], budget: Budget) -> tuple[Reason, ...]:
    alike: dict[str, list[TrialRecord]] = defaultdict(list)
    for record in records:
        if text := _text(record, budget):
            alike[_FIGURES.sub("0", text)].append(record)
    found = [Reason(_text(group[0], budget), tuple(r.number for r in group)) for group in alike.values()]
    return tuple(sorted(found, key=lambda reason: -len(reason.trials)))


def _text(record: TrialRecord, budget: Budget) -> str:
    exceeded = [v.quantity for v in budget.violations(record)] if record.outcome is Outcome.OVER_BUDGET else []
    return f"more {labels_of(exceeded)} than the limit" if exceeded else record.message
