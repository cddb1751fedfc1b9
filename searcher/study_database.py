"""The Optuna study that mirrors a study folder: in `study.db` there, or on a server; opened, compared, written."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine, NullPool, func, select, update
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from bhvit.errors import InvalidInput
from searcher import study_tables as tables
from searcher.pricing import priced
from searcher.records import RECORD_FILE, TrialRecord
from searcher.space import Space
from searcher.storage_url import CONNECT_OPTIONS, Storage, remember, remembered
from searcher.study_folder import StudyFolder
from searcher.study_tables import STUDIES, TRIALS, RowsOf, TrialRows

LOCK_SECONDS = 5  # to wait for another program that reads or writes the SQLite file, such as optuna-dashboard
MAX_REASON = 160


class Unavailable(Exception):
    """The database cannot be read or written now; the message is the reason, in one line."""


class StudyGone(Unavailable):
    """Somebody deleted the study from the database."""


class Unusable(InvalidInput):
    """The database is not what it should be, for `reason`; it can be set aside and written anew."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Difference:
    """How the study in the database differs from the records: trials by number."""

    missing: tuple[int, ...] = ()
    extra: tuple[int, ...] = ()
    other: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.other)


class StudyDatabase:
    """The rows of one study; `storage` None is the SQLite file in `folder`. Used by one thread at a time.

    Methods raise `Unavailable` where it may be well later, `InvalidInput` where somebody has to do something.
    """

    def __init__(self, folder: StudyFolder, space: Space, storage: Storage | None) -> None:
        self.folder, self.space, self.storage = folder, space, storage
        self.rows_of = RowsOf(space)
        self.name = folder.path.resolve().name
        self._engine: Engine | None = None
        self._study = -1

    def __str__(self) -> str:
        return str(self.storage or self.folder.database)

    def bring_up_to_date(self, records: Sequence[TrialRecord]) -> Difference:
        """Make the study equal to `records`, creating it where there is none; what was different."""
        wanted = self._by_number(records)
        with self._transaction() as connection:
            self._study = self._find(connection) or self._create(connection)
            tables.set_attributes(connection, self._study, self._attributes())
            found = self._difference(connection, wanted)
            tables.remove_trials(connection, self._study, {*found.extra, *found.other})
            rows = [self._whole(wanted[n]) for n in sorted({*found.missing, *found.other})]
            tables.write(connection, self._study, rows, self.rows_of.distributions)
        return found

    def compare(self, records: Sequence[TrialRecord]) -> Difference | None:
        """What `bring_up_to_date` would mend, without writing; None where there is no study yet."""
        if self.storage is None and not self.folder.database.exists():
            return None
        with self._transaction(create=False) as connection:
            study = self._find(connection, mend=False)
            if study is None:
                return None
            self._study = study
            return self._difference(connection, self._by_number(records))

    def _by_number(self, records: Sequence[TrialRecord]) -> dict[int, TrialRecord]:
        """The records as rows are made of them: with latencies by the study's present device."""
        return {record.number: record for record in priced(self.space, records)}

    def write(self, rows: Sequence[TrialRows]) -> None:
        """Write some trials in one transaction; to be repeated freely."""
        with self._transaction() as connection:
            ours = select(STUDIES.c.study_id).where(STUDIES.c.study_id == self._study)
            if connection.execute(ours).first() is None:
                raise StudyGone("somebody deleted the study")
            tables.write(connection, self._study, rows, self.rows_of.distributions)

    def set_aside(self, suffix: str) -> str:
        """Keep a study that cannot be used under another name, so that a new one can be written; that name."""
        self.close()
        if self.storage is None:
            return _moved(self.folder.database, suffix)
        with self._transaction() as connection:
            statement = update(STUDIES).where(STUDIES.c.study_name == self.name)
            connection.execute(statement.values(study_name=f"{self.name}{suffix}"))
        return f"study {self.name}{suffix}"

    def close(self) -> None:
        """End the connections; the next use opens new ones."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _connect(self, create: bool = True) -> None:
        """Tables that Optuna of this version can read; `create` them where there are none."""
        if self._engine is not None:
            return
        if self.storage is None:
            path = self.folder.database.resolve()
            mode = "rwc" if create else "rw"
            options = {
                "creator": lambda: sqlite3.connect(f"{path.as_uri()}?mode={mode}", LOCK_SECONDS, uri=True),
                "poolclass": NullPool,  # a file that was replaced meanwhile is noticed
            }
            url = "sqlite://"
        else:
            options = {"connect_args": dict(CONNECT_OPTIONS), "pool_size": 1}
            url = self.storage.for_sqlalchemy.replace("{", "{{").replace("}", "}}")  # Optuna formats it
        try:
            self._engine = RDBStorage(url, options, skip_table_creation=not create).engine
        except ImportError as error:
            raise InvalidInput(
                'a PostgreSQL storage needs psycopg, but it is not installed; pip install "bhvit-searcher[postgresql]".'
            ) from error

    def _find(self, connection: Connection, mend: bool = True) -> int | None:
        """The id of our study, checked to be ours; a study in our own file is ours by whatever name.

        `mend` renames that one (its folder was renamed, or it is of an earlier version), and removes an empty study of
        other objectives.
        """
        query = select(STUDIES.c.study_id)
        study = connection.execute(query.where(STUDIES.c.study_name == self.name)).scalar()
        if study is None and self.storage is None:
            only = connection.execute(query).scalars().all()
            study = only[0] if len(only) == 1 else None
            if study is not None and mend:
                connection.execute(update(STUDIES).where(STUDIES.c.study_id == study).values(study_name=self.name))
        if study is None:
            return None
        known, ours = tables.attributes_of(connection, study), remembered(self.folder)
        is_ours = known.get("folder") == self._place if ours is None else known.get("token") == ours.token
        if self.storage is not None and not is_ours:
            raise InvalidInput(
                f"{self} has a study named {self.name} already, of {known.get('folder', 'another program')}; give this "
                "one another name (--study NAME), or use another database."
            )
        if tables.directions_of(connection, study) == self.rows_of.directions:
            return int(study)
        trials = connection.execute(select(func.count()).where(TRIALS.c.study_id == study)).scalar()
        if trials or not mend:
            raise self._unusable("its objectives are not those of the space")
        tables.remove_study(connection, study)
        return None

    @property
    def _place(self) -> str:
        return f"{socket.gethostname()}:{self.folder.path.resolve()}"

    def _create(self, connection: Connection) -> int:
        return tables.create_study(connection, self.name, self.rows_of.directions)

    def _attributes(self) -> dict[str, str]:
        own = {"space": self.space.fingerprint, "folder": self._place}
        return own if self.storage is None else {**own, "token": remember(self.folder, self.storage).token}

    def _difference(self, connection: Connection, wanted: Mapping[int, TrialRecord]) -> Difference:
        found = tables.read(connection, self._study)
        counts = Counter(row.number for row in found)
        extra = counts.keys() - wanted.keys()
        other = {number for number, count in counts.items() if count > 1} | {
            row.number
            for row in found
            if row.number in wanted and row.content != self.rows_of.trial(wanted[row.number]).content
        }
        results = sum(bool(row.values) for row in found)
        if results and not wanted:
            raise self._unusable(f"it has {results} results of trials whose records are gone")
        missing = wanted.keys() - counts.keys()
        return Difference(tuple(sorted(missing)), tuple(sorted(extra)), tuple(sorted(other - extra)))

    def _whole(self, record: TrialRecord) -> TrialRows:
        """Rows with curve and times: a trial ended when its record was written, and took as long as it trained."""
        try:
            written = datetime.fromtimestamp((self.folder.trial(record) / RECORD_FILE).stat().st_mtime, UTC)
        except OSError:
            written = datetime.now(UTC)
        seconds = 0.0 if record.metrics is None else record.metrics.seconds
        return replace(
            self.rows_of.trial(record),
            curve=self.rows_of.curve(record),
            started=(written - timedelta(seconds=seconds)).replace(tzinfo=None),
            ended=written.replace(tzinfo=None) if record.outcome.finished else None,
        )

    @contextlib.contextmanager
    def _transaction(self, create: bool = True) -> Iterator[Connection]:
        """A transaction, with the database's errors as ours; after one of them the next begins anew."""
        try:
            self._connect(create)
            assert self._engine is not None
            with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
            self.close()
            cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
            if isinstance(cause, (OperationalError, InterfaceError)):
                raise Unavailable(self._reason(cause)) from error
            if self.storage is not None and isinstance(cause, SQLAlchemyError):
                raise self.refused(self._reason(cause)) from error
            raise self._unusable(self._reason(cause)) from error

    def _reason(self, error: BaseException) -> str:
        text = " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__
        text = text if self.storage is None else self.storage.redact(text)
        return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 4]} ..."

    def refused(self, reason: object) -> InvalidInput:
        """The error for a database that cannot be used, where nothing of ours is wrong with it."""
        return InvalidInput(f"{self} cannot be used: {reason}; correct that, or choose another storage.")

    def _unusable(self, reason: str) -> Unusable:
        return Unusable(
            f"{self} must be a usable study, but {reason}; `searcher doctor {self.folder.path} --fix` keeps it aside "
            "and writes it anew from the trials' records.",
            reason,
        )


def _moved(path: Path, suffix: str) -> str:
    """Rename an SQLite file and what belongs to it: without its journal it may not be whole."""
    aside = path.with_name(path.name + suffix)
    for part in ("-journal", "-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + part).rename(aside.with_name(aside.name + part))
    return str(aside)
