"""Optuna's tables, read by plain SQL that SQLite and PostgreSQL both understand."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from bhvit.errors import InvalidInput
from bhvit.wording import listed
from searcher.optuna_studies import OptunaStudy, OptunaTrial, TrialState, constraints_from, value_from

VERSIONS = ("v3.0.0.d", "v3.2.0.a")  # of the tables, by Optuna 3.0 to 5.0: they differ by an index
INFINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf}


def read_tables(
    rows: Callable[[str], list[tuple[Any, ...]]], place: str, name: str | None, params: bool
) -> list[OptunaStudy]:
    """All studies that the query function `rows` sees, or the one called `name`; with parameters where asked."""
    _check_version(rows, place)
    studies = [
        row for row in rows("SELECT study_id, study_name FROM studies ORDER BY study_id") if name in (None, row[1])
    ]
    within = f"study_id IN ({', '.join(str(int(study)) for study, _ in studies) or 'NULL'})"
    of_trials = f"JOIN trials t ON t.trial_id = x.trial_id WHERE t.{within}"
    maximize: dict[int, list[bool]] = defaultdict(list)
    for study, direction in rows(f"SELECT study_id, direction FROM study_directions WHERE {within} ORDER BY objective"):
        maximize[study].append(direction == "MAXIMIZE")
    in_utc = _in_utc(rows)
    names = _grouped(rows(f"SELECT DISTINCT t.study_id, x.param_name FROM trial_params x {of_trials} ORDER BY 2"))
    values = _grouped(
        rows(f"SELECT x.trial_id, x.value, x.value_type FROM trial_values x {of_trials} ORDER BY x.objective")
    )
    constraints = _constraints(rows, of_trials)
    found = _params(rows, of_trials) if params else {}
    trials: dict[int, list[OptunaTrial]] = defaultdict(list)
    columns = "trial_id, study_id, number, state, datetime_start, datetime_complete"
    for trial, study, number, state, start, end in rows(
        f"SELECT {columns} FROM trials WHERE {within} ORDER BY trial_id"
    ):
        trials[study].append(
            OptunaTrial(
                len(trials[study]) if number is None else number,  # numbered a moment after it is created
                TrialState[state],
                tuple(INFINITE.get(kind, value) for value, kind in values.get(trial, ())),
                constraints.get(trial, {}),
                found.get(trial, {}),
                _seconds(start, in_utc),
                _seconds(end, in_utc),
            )
        )
    return [
        OptunaStudy(text, place, tuple(maximize[i]), tuple(trials[i]), tuple(p for (p,) in names.get(i, ())))
        for i, text in studies
    ]


def _check_version(rows: Callable[[str], list[tuple[Any, ...]]], place: str) -> None:
    versions = [version for (version,) in rows("SELECT version_num FROM alembic_version")]
    if any(version in VERSIONS for version in versions):
        return
    found = ", ".join(versions) or "none"
    remedy = (
        "`optuna storage upgrade --storage URL` with Optuna 3 or later makes it one"
        if found < VERSIONS[0]
        else "update bhvit-searcher"
    )
    raise InvalidInput(f"{place} must have tables of version {listed(VERSIONS, 'or')}, but they are {found}; {remedy}.")


def _in_utc(rows: Callable[[str], list[tuple[Any, ...]]]) -> bool:
    """Whether times are in UTC, as Optuna writes them since 5.0; before, it wrote the local time of each worker."""
    versions = [str(version) for (version,) in rows("SELECT library_version FROM version_info")]
    return any(int(version.partition(".")[0]) >= 5 for version in versions if version[:1].isdigit())


def _constraints(rows: Callable[[str], list[tuple[Any, ...]]], of_trials: str) -> dict[int, dict[str, float]]:
    attributes: dict[int, dict[str, Any]] = defaultdict(dict)
    wanted = "(x.key = 'constraints' OR x.key LIKE 'constraints:%')"
    for trial, key, text in rows(
        f"SELECT x.trial_id, x.key, x.value_json FROM trial_system_attributes x {of_trials} AND {wanted}"
    ):
        attributes[trial][key] = json.loads(text)
    return {trial: constraints_from(found) for trial, found in attributes.items()}


def _params(rows: Callable[[str], list[tuple[Any, ...]]], of_trials: str) -> dict[int, dict[str, Any]]:
    distribution = cache(json.loads)  # the same few texts again and again
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    columns = "x.trial_id, x.param_name, x.param_value, x.distribution_json"
    for trial, name, value, text in rows(f"SELECT {columns} FROM trial_params x {of_trials} ORDER BY x.param_id"):
        found[trial][name] = value_from(value, distribution(text))
    return found


def _grouped(rows: Iterable[tuple[Any, ...]]) -> dict[Any, list[tuple[Any, ...]]]:
    """First column -> the other columns of its rows."""
    groups: dict[Any, list[tuple[Any, ...]]] = defaultdict(list)
    for key, *others in rows:
        groups[key].append(tuple(others))
    return groups


def _seconds(time: str | datetime | None, in_utc: bool) -> float | None:
    """Seconds since 1970."""
    if time is None:
        return None
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    return (moment.replace(tzinfo=UTC) if in_utc else moment).timestamp()
