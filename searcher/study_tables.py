"""Trials as rows of Optuna's tables, written many at once and safe to write again.

Optuna's own way is a transaction with several queries for every value, which costs a search of short trials more than
all the rest of its coordinator. These are the tables of `optuna.storages.RDBStorage`, whose version is checked when the
study is opened (`searcher.study_database`); the tests read them back with Optuna.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from optuna.distributions import CategoricalDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.trial import TrialState
from sqlalchemy import Connection, Insert, Table, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from searcher.quantities import QUANTITIES
from searcher.records import Outcome, TrialRecord
from searcher.repeats import candidate_id
from searcher.space import Space
from searcher.trial_table import SEARCH_PHASE

CHUNK = 500  # trials in one statement
STATES = {
    Outcome.WAITING: TrialState.RUNNING,  # proposed: Optuna's waiting trials are free for anyone to take
    Outcome.RUNNING: TrialState.RUNNING,
    Outcome.INTERRUPTED: TrialState.RUNNING,
    Outcome.COMPLETE: TrialState.COMPLETE,
    Outcome.STOPPED: TrialState.PRUNED,
}  # every other outcome has failed

STUDIES: Table = models.StudyModel.__table__
DIRECTIONS: Table = models.StudyDirectionModel.__table__
STUDY_ATTRIBUTES: Table = models.StudyUserAttributeModel.__table__
TRIALS: Table = models.TrialModel.__table__
PARAMS: Table = models.TrialParamModel.__table__
USER_ATTRIBUTES: Table = models.TrialUserAttributeModel.__table__
SYSTEM_ATTRIBUTES: Table = models.TrialSystemAttributeModel.__table__
VALUES: Table = models.TrialValueModel.__table__
CURVES: Table = models.TrialIntermediateValueModel.__table__
HEARTBEATS: Table = models.TrialHeartbeatModel.__table__
NUMBER = func.coalesce(TRIALS.c.number, -1)  # Optuna numbers a trial a moment after it creates it
FINITE = models.TrialValueModel.TrialValueType.FINITE
FINITE_STEP = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
OF_TRIALS = (PARAMS, USER_ATTRIBUTES, SYSTEM_ATTRIBUTES, VALUES, CURVES, HEARTBEATS)
OF_STUDIES = (DIRECTIONS, STUDY_ATTRIBUTES, models.StudySystemAttributeModel.__table__)
KEYS = {  # of rows that may be written twice
    PARAMS: ("trial_id", "param_name"),
    USER_ATTRIBUTES: ("trial_id", "key"),
    SYSTEM_ATTRIBUTES: ("trial_id", "key"),
    VALUES: ("trial_id", "objective"),
    CURVES: ("trial_id", "step"),
    STUDY_ATTRIBUTES: ("study_id", "key"),
}


@dataclass(frozen=True)
class TrialRows:
    """What the tables hold of one trial; attributes as JSON texts, times in UTC.

    `curve` (step -> accuracy) may be a part of the whole: it is added to what is there.
    """

    number: int
    state: TrialState
    params: Mapping[str, float]
    user: Mapping[str, str]
    system: Mapping[str, str]
    values: Sequence[float] = ()
    curve: Mapping[int, float] = field(default_factory=dict)
    started: datetime.datetime | None = None
    ended: datetime.datetime | None = None

    @property
    def content(self) -> tuple[Any, ...]:
        """All but curve and times."""
        return self.number, self.state, dict(self.params), dict(self.user), dict(self.system), tuple(self.values)


@dataclass(frozen=True)
class RowsOf:
    """How the records of `space` become rows."""

    space: Space

    @property
    def directions(self) -> tuple[StudyDirection, ...]:
        """Accuracy is to be high, everything else low."""
        objectives = self.space.search.objectives
        return (StudyDirection.MAXIMIZE,) + (StudyDirection.MINIMIZE,) * (len(objectives) - 1)

    @property
    def has_curves(self) -> bool:
        """Whether Optuna takes intermediate values: only where there is one objective."""
        return len(self.space.search.objectives) == 1

    @cached_property
    def distributions(self) -> dict[str, str]:
        """Variable -> its distribution as Optuna stores it."""
        return {v.name: distribution_to_json(CategoricalDistribution(v.choices)) for v in self.space.variables}

    def trial(self, record: TrialRecord) -> TrialRows:
        """The rows of a trial but its curve and times."""
        accuracy = 0.0 if record.metrics is None else record.metrics.accuracy
        costs = [QUANTITIES[name] for name in self.space.quantities]
        values = {"accuracy": accuracy, **{cost.name: cost.of(record) for cost in costs}}
        user = {"candidate": candidate_id(record), **{cost.field: cost.of(record) for cost in costs}}
        if record.outcome.finished:
            user["outcome"] = record.outcome.value
        if record.outcome is Outcome.OVER_BUDGET:
            user["never_trained"] = True
        used, limits = self.space.budget.used(record), self.space.budget.limits
        digits = zip(self.space.variables, self.space.digits_of(record.choices), strict=True)
        return TrialRows(
            record.number,
            STATES.get(record.outcome, TrialState.FAIL),
            {variable.name: float(digit) for variable, digit in digits if digit != variable.inactive},
            {key: json.dumps(value) for key, value in user.items()},
            {f"{_CONSTRAINTS_KEY}:{name}": json.dumps(used[name] - limit) for name, limit in limits.items()},
            [values[name] for name in self.space.search.objectives] if record.outcome.trained else (),
        )

    def curve(self, record: TrialRecord) -> dict[int, float]:
        """The learning curve of a finished trial, as far as its record has it."""
        if record.metrics is None or not self.has_curves:
            return {}
        return {e.epoch: e.accuracy for e in record.metrics.epochs if e.phase == SEARCH_PHASE}


def write(connection: Connection, study: int, rows: Sequence[TrialRows], distributions: Mapping[str, str]) -> None:
    """Bring the trials of `rows` to the states they say; those that are new are created, under their own numbers."""
    known = _known(connection, study, [row.number for row in rows])
    ids = {number: trial_id for number, (trial_id, _) in known.items()}
    new = [row for row in rows if row.number not in known]
    ids |= _create(connection, study, new)
    moved = [row for row in rows if row.number in known and known[row.number][1] is not row.state]
    for row in moved:
        values = {"state": row.state, "datetime_complete": row.ended}
        connection.execute(update(TRIALS).where(TRIALS.c.trial_id == ids[row.number]).values(values))
    params, user, system, results = [], [], [], []
    for row in (*new, *moved):
        of = {"trial_id": ids[row.number]}
        params += [
            {**of, "param_name": name, "param_value": value, "distribution_json": distributions[name]}
            for name, value in row.params.items()
        ]
        user += [{**of, "key": key, "value_json": text} for key, text in row.user.items()]
        system += [{**of, "key": key, "value_json": text} for key, text in row.system.items()]
        results += [{**of, "objective": i, "value": value, "value_type": FINITE} for i, value in enumerate(row.values)]
    curves = [
        {"trial_id": ids[r.number], "step": step, "intermediate_value": v, "intermediate_value_type": FINITE_STEP}
        for r in rows
        for step, v in r.curve.items()
    ]
    for table, data in (
        (PARAMS, params),
        (USER_ATTRIBUTES, user),
        (SYSTEM_ATTRIBUTES, system),
        (VALUES, results),
        (CURVES, curves),
    ):
        put(connection, table, data)


def put(connection: Connection, table: Table, data: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace what is there under their keys."""
    if data:
        connection.execute(_upsert(table, tuple(data[0]), connection.dialect.name), list(data))


def read(connection: Connection, study: int) -> list[TrialRows]:
    """The trials of a study by number, without their curves."""
    columns = (TRIALS.c.trial_id, NUMBER, TRIALS.c.state)
    found = connection.execute(select(*columns).where(TRIALS.c.study_id == study).order_by(TRIALS.c.number)).all()
    parts: dict[Table, dict[int, dict[Any, Any]]] = {}
    for table, key, value in (
        (PARAMS, "param_name", "param_value"),
        (USER_ATTRIBUTES, "key", "value_json"),
        (SYSTEM_ATTRIBUTES, "key", "value_json"),
        (VALUES, "objective", "value"),
    ):
        owned = parts.setdefault(table, {})
        query = select(table.c.trial_id, table.c[key], table.c[value]).join(TRIALS).where(TRIALS.c.study_id == study)
        for trial_id, name, content in connection.execute(query.order_by(table.c[key])):
            owned.setdefault(trial_id, {})[name] = content
    return [
        TrialRows(
            number,
            state,
            parts[PARAMS].get(trial_id, {}),
            parts[USER_ATTRIBUTES].get(trial_id, {}),
            parts[SYSTEM_ATTRIBUTES].get(trial_id, {}),
            tuple(parts[VALUES].get(trial_id, {}).values()),
        )
        for trial_id, number, state in found
    ]


def remove_trials(connection: Connection, study: int, numbers: Collection[int]) -> None:
    """Delete these trials of a study, all rows that have one of the numbers."""
    for some in _chunks(sorted(numbers)):
        theirs = select(TRIALS.c.trial_id).where(
            TRIALS.c.study_id == study, func.coalesce(TRIALS.c.number, -1).in_(some)
        )
        ids = connection.execute(theirs).scalars().all()
        for table in OF_TRIALS:
            connection.execute(delete(table).where(table.c.trial_id.in_(ids)))
        connection.execute(delete(TRIALS).where(TRIALS.c.trial_id.in_(ids)))


def create_study(connection: Connection, name: str, directions: Iterable[StudyDirection]) -> int:
    """A new study; its id."""
    study = int(connection.execute(insert(STUDIES).values(study_name=name).returning(STUDIES.c.study_id)).scalar_one())
    rows = [{"study_id": study, "objective": i, "direction": way} for i, way in enumerate(directions)]
    connection.execute(insert(DIRECTIONS), rows)
    return study


def set_attributes(connection: Connection, study: int, attributes: Mapping[str, str]) -> None:
    """Set user attributes of a study."""
    rows = [{"study_id": study, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
    put(connection, STUDY_ATTRIBUTES, rows)


def attributes_of(connection: Connection, study: int) -> dict[str, Any]:
    """User attributes of a study."""
    columns = (STUDY_ATTRIBUTES.c.key, STUDY_ATTRIBUTES.c.value_json)
    found = connection.execute(select(*columns).where(STUDY_ATTRIBUTES.c.study_id == study))
    return {key: json.loads(text) for key, text in found}


def directions_of(connection: Connection, study: int) -> tuple[StudyDirection, ...]:
    """Directions of a study's objectives."""
    query = select(DIRECTIONS.c.direction).where(DIRECTIONS.c.study_id == study).order_by(DIRECTIONS.c.objective)
    return tuple(connection.execute(query).scalars())


def remove_study(connection: Connection, study: int) -> None:
    """Delete a study with all its trials."""
    numbers = connection.execute(select(NUMBER).where(TRIALS.c.study_id == study))
    remove_trials(connection, study, set(numbers.scalars()))
    for table in (*OF_STUDIES, STUDIES):
        connection.execute(delete(table).where(table.c.study_id == study))


@cache
def _upsert(table: Table, columns: tuple[str, ...], dialect: str) -> Insert:
    statement: Any = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    keys = KEYS[table]
    others = {name: statement.excluded[name] for name in columns if name not in keys}
    result: Insert = statement.on_conflict_do_update(index_elements=keys, set_=others)
    return result


def _known(connection: Connection, study: int, numbers: Sequence[int]) -> dict[int, tuple[int, TrialState]]:
    columns = (TRIALS.c.number, TRIALS.c.trial_id, TRIALS.c.state)
    known: dict[int, tuple[int, TrialState]] = {}
    for some in _chunks(numbers):
        query = select(*columns).where(TRIALS.c.study_id == study, TRIALS.c.number.in_(some))
        known |= {number: (trial_id, state) for number, trial_id, state in connection.execute(query)}
    return known


def _create(connection: Connection, study: int, rows: Sequence[TrialRows]) -> dict[int, int]:
    """Number -> id of new trials."""
    if not rows:
        return {}
    data = [
        {
            "study_id": study,
            "number": row.number,
            "state": row.state,
            "datetime_start": row.started or row.ended,
            "datetime_complete": row.ended,
        }
        for row in rows
    ]
    statement = insert(TRIALS).returning(TRIALS.c.number, TRIALS.c.trial_id)
    return {row.number: row.trial_id for row in connection.execute(statement, data)}


def _chunks(numbers: Sequence[int]) -> Iterable[Sequence[int]]:
    return (numbers[i : i + CHUNK] for i in range(0, len(numbers), CHUNK))
