"""Studies of Optuna that are not ours: what they hold, which trials are feasible, and which of these are best.

Plain data; no optuna, no rich. `searcher.optuna_storage` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from bhvit.errors import InvalidInput, unknown_name
from searcher.front import not_dominated


class TrialState(StrEnum):
    """How a trial stands or ended, in the order of Optuna's numbers for it."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAIL = "failed"
    WAITING = "waiting"


@dataclass(frozen=True)
class OptunaTrial:
    """A trial; `constraints` above zero are violated, `started` and `ended` are in seconds since 1970.

    `values` are one for each objective of a complete trial, `params` as the user's objective saw them.
    """

    number: int
    state: TrialState
    values: tuple[float, ...] = ()
    constraints: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None

    @property
    def violated(self) -> tuple[str, ...]:
        """Names of the constraints above zero (and of those that are no number)."""
        return tuple(name for name, value in self.constraints.items() if not value <= 0)


@dataclass(frozen=True)
class OptunaStudy:
    """A study in the storage `place` (without its password); `maximize` says so of each objective.

    `parameters` are the names of all trials' parameters; the trials have theirs only where they were asked for.
    """

    name: str
    place: str
    maximize: tuple[bool, ...]
    trials: tuple[OptunaTrial, ...]
    parameters: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """State -> number of trials, without zeros, complete ones first."""
        order = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING)
        found = [trial.state for trial in self.trials]
        return {state.value: n for state in order if (n := found.count(state))}

    @property
    def complete(self) -> list[OptunaTrial]:
        """The trials with a result."""
        return [t for t in self.trials if t.state is TrialState.COMPLETE and len(t.values) == len(self.maximize)]

    @cached_property
    def feasible(self) -> list[OptunaTrial]:
        """The complete trials that violate no constraint."""
        return [trial for trial in self.complete if not trial.violated]

    @cached_property
    def ranked(self) -> list[OptunaTrial]:
        """The feasible trials, best first; with several objectives the front by its first one, then the rest."""
        order = sorted(self.feasible, key=lambda t: (*self._losses(t), t.number))
        if len(self.maximize) == 1:
            return order
        front = {trial.number for trial in self.front}
        return sorted(order, key=lambda t: t.number not in front)

    @cached_property
    def front(self) -> list[OptunaTrial]:
        """The feasible trials that none other dominates; of equal ones the earliest stands for all."""
        return [self.feasible[i] for i in not_dominated([self._losses(t) for t in self.feasible])]

    @property
    def best(self) -> OptunaTrial | None:
        """The best feasible trial of a study with one objective."""
        return self.ranked[0] if len(self.maximize) == 1 and self.ranked else None

    @property
    def constrained(self) -> bool:
        """Whether any trial has a constraint."""
        return any(trial.constraints for trial in self.trials)

    @property
    def active(self) -> float | None:
        """When a trial last started or ended, in seconds since 1970."""
        return max((time for t in self.trials for time in (t.started, t.ended) if time is not None), default=None)

    def _losses(self, trial: OptunaTrial) -> tuple[float, ...]:
        return tuple(-v if up else v for v, up in zip(trial.values, self.maximize, strict=True))


def constraints_from(attributes: Mapping[str, Any]) -> dict[str, float]:
    """The constraints in a trial's system attributes.

    `constraints` is a list (Optuna's samplers with `constraints_func`), `constraints:NAME` one by name (since 5.0).
    """
    listed = attributes.get("constraints") or ()
    found = {str(i): value for i, value in enumerate(listed)}
    found |= {key.partition(":")[2]: value for key, value in attributes.items() if key.startswith("constraints:")}
    return {name: math.nan if value is None else float(value) for name, value in found.items()}


def value_from(value: float, distribution: Mapping[str, Any]) -> Any:
    """A parameter as the objective saw it, from its stored number and the stored JSON of its distribution."""
    attributes = distribution.get("attributes", distribution)
    if "choices" in attributes:
        return attributes["choices"][int(value)]
    kind = str(distribution.get("name", distribution.get("type"))).lower()
    return int(value) if kind.startswith("int") else float(value)


def study_among(studies: list[OptunaStudy], name: str | None, place: str) -> OptunaStudy:
    """The study called `name`, or the only one; raises `InvalidInput` listing them where that is none."""
    if not studies:
        raise InvalidInput(f"{place} must hold a study, but it holds none yet.")
    if name is None and len(studies) > 1:
        names = ", ".join(sorted(study.name for study in studies))
        raise InvalidInput(f"{place} holds {len(studies)} studies; choose with --study NAME, one of: {names}.")
    for study in studies:
        if name in (None, study.name):
            return study
    raise unknown_name("study", name, (study.name for study in studies))
