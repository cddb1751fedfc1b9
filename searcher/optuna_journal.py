"""Optuna's journal files: every operation as a line of JSON, played back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bhvit.errors import InvalidInput
from searcher.optuna_studies import OptunaStudy, OptunaTrial, TrialState, constraints_from, value_from

# Numbers of the operations that we play back (optuna.storages.journal).
CREATE_STUDY, DELETE_STUDY, CREATE_TRIAL, SET_PARAM, SET_STATE, SET_SYSTEM_ATTRIBUTE = 0, 1, 4, 5, 6, 9
STATES = tuple(TrialState)
MAXIMIZE = 2
HEAD = 4096  # bytes that are looked at to recognise a journal


@dataclass
class _Trial:
    study: int
    number: int
    state: TrialState
    values: tuple[float, ...]
    started: float | None
    ended: float | None
    params: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)

    def frozen(self) -> OptunaTrial:
        constraints = constraints_from(self.system)
        return OptunaTrial(self.number, self.state, self.values, constraints, self.params, self.started, self.ended)


def is_journal(path: Path) -> bool:
    """Whether the file begins as a journal does."""
    with path.open("rb") as file:
        first = file.read(HEAD).partition(b"\n")[0]
    return first.startswith(b"{") and b'"op_code"' in first


def read_journal(path: Path, place: str) -> list[OptunaStudy]:
    """The studies of a journal; what another program is writing at the moment is left out.

    Raises `InvalidInput` naming the line that is no operation.
    """
    studies: dict[int, tuple[str, tuple[bool, ...]]] = {}
    trials: list[_Trial] = []
    created, sizes = 0, Counter[int]()
    for number, operation in enumerate(_operations(path), 1):
        try:
            code = operation["op_code"]
            if code == CREATE_STUDY:
                known = any(name == operation["study_name"] for name, _ in studies.values())
                if not known:
                    maximize = tuple(direction == MAXIMIZE for direction in operation["directions"])
                    studies[created] = operation["study_name"], maximize
                    created += 1
            elif code == DELETE_STUDY:
                studies.pop(operation["study_id"], None)
            elif code == CREATE_TRIAL and operation["study_id"] in studies:
                trials.append(_created(operation, sizes[operation["study_id"]]))
                sizes[operation["study_id"]] += 1
            elif code in (SET_PARAM, SET_STATE, SET_SYSTEM_ATTRIBUTE) and operation["trial_id"] < len(trials):
                _change(trials[operation["trial_id"]], code, operation)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InvalidInput(
                f"{path} must be a journal of Optuna's, but line {number} is none of its operations "
                f"({type(error).__name__} {error}); update bhvit-searcher, or restore the file."
            ) from error
    return [
        OptunaStudy(
            name,
            place,
            maximize,
            tuple(trial.frozen() for trial in trials if trial.study == study),
            tuple(sorted({name for trial in trials if trial.study == study for name in trial.params})),
        )
        for study, (name, maximize) in studies.items()
    ]


def _operations(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line; a last one without its end has not happened yet."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            yield json.loads(line)
        except ValueError:
            yield {}


def _created(operation: dict[str, Any], number: int) -> _Trial:
    kinds = {name: json.loads(text) for name, text in operation.get("distributions", {}).items()}
    value = operation.get("value")
    return _Trial(
        operation["study_id"],
        number,
        STATES[operation.get("state", 0)],
        tuple(operation.get("values") or (() if value is None else (value,))),
        _seconds(operation.get("datetime_start")),
        _seconds(operation.get("datetime_complete")),
        {name: value_from(value, kinds[name]) for name, value in operation.get("params", {}).items()},
        dict(operation.get("system_attrs", {})),
    )


def _change(trial: _Trial, code: int, operation: dict[str, Any]) -> None:
    """Apply an operation, as Optuna does: to trials that have not ended."""
    if trial.state not in (TrialState.RUNNING, TrialState.WAITING):
        return
    if code == SET_PARAM:
        name, kind = operation["param_name"], json.loads(operation["distribution"])
        trial.params[name] = value_from(operation["param_value_internal"], kind)
    elif code == SET_SYSTEM_ATTRIBUTE:
        trial.system.update(operation["system_attr"])
    else:
        trial.state = STATES[operation["state"]]
        trial.values = tuple(operation["values"] or ())
        trial.started = _seconds(operation.get("datetime_start")) or trial.started
        trial.ended = _seconds(operation.get("datetime_complete")) or trial.ended


def _seconds(time: str | None) -> float | None:
    return None if time is None else datetime.fromisoformat(time).timestamp()
