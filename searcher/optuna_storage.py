"""Where Optuna keeps studies (an SQLite file, PostgreSQL, a journal), and reading them without changing a byte.

Plain SQL on Optuna's tables: importing optuna alone takes longer than a view may.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from bhvit.errors import InvalidInput
from searcher.optuna_journal import is_journal, read_journal
from searcher.optuna_studies import OptunaStudy
from searcher.optuna_tables import read_tables

SQLITE_MAGIC = b"SQLite format 3\0"
SUFFIXES = (".db", ".sqlite", ".sqlite3", ".log")
FORMS = "sqlite:///FILE, postgresql://USER@HOST/DATABASE, or a file of Optuna"
BUSY_SECONDS, CONNECT_SECONDS = 5, 10
Rows: TypeAlias = Callable[[str], list[tuple[Any, ...]]]
"""Runs a query."""


@dataclass(frozen=True)
class OptunaStorage:
    """A file (SQLite or a journal), or a PostgreSQL server with its `url`; the text form shows no password."""

    place: str
    path: Path | None = None
    url: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.place

    def studies(self, name: str | None = None, params: bool = False) -> list[OptunaStudy]:
        """All studies in the order of their creation, or the one called `name`; with the trials' `params`.

        Raises `InvalidInput` where the storage cannot be read, or is of a version whose tables we do not know.
        """
        if self.path is not None and is_journal(self.path):
            return [s for s in read_journal(self.path, self.place) if name in (None, s.name)]
        with _postgresql(self) if self.path is None else _sqlite(self.path) as rows:
            return read_tables(rows, self.place, name, params)


def names_storage(text: str) -> bool:
    """Whether `text` looks like a storage of Optuna's, and not like a study's folder."""
    path = Path(text)
    return "://" in text or path.is_file() or (path.suffix in SUFFIXES and not path.is_dir())


def storage_named(text: str) -> OptunaStorage:
    """The storage at a URL or in a file; raises `InvalidInput`, without repeating a URL's password."""
    scheme, sign, rest = text.partition("://")
    kind = scheme.partition("+")[0]
    if not sign:
        return _file(Path(text))
    if kind == "sqlite":
        path = rest.removeprefix("/").partition("?")[0]
        if path in ("", ":memory:"):
            raise InvalidInput(
                f"a study in memory ends with its program, but {text} names no file; use sqlite:///FILE."
            )
        return _file(Path(path))
    if kind in ("postgresql", "postgres"):
        return OptunaStorage(_without_password(text), None, f"postgresql://{rest}")
    raise InvalidInput(f"a storage must be {FORMS}, but its scheme is {kind!r}.")


def files_in(folder: Path) -> list[Path]:
    """The files of Optuna's in `folder`: those that hold its tables or a journal; others, and others', are left out."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return []
    found = (p for p in sorted(folder.iterdir()) if p.suffix in SUFFIXES and p.is_file() and os.access(p, os.R_OK))
    return [path for path in found if is_journal(path) or _has_tables(path)]


def _file(path: Path) -> OptunaStorage:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "not there"
        raise InvalidInput(
            f"{path} must be a file of Optuna's (SQLite or journal), but it is {found}; correct the path."
        )
    if not (is_journal(path) or _is_sqlite(path)):
        raise InvalidInput(
            f"{path} must be a file of Optuna's (SQLite or journal), but it is another; correct the path."
        )
    return OptunaStorage(str(path), path)


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC


def _has_tables(path: Path) -> bool:
    """Whether it is an SQLite file with Optuna's tables; one that cannot be read is worth a word, so it counts too."""
    if not _is_sqlite(path):
        return False
    try:
        with _sqlite(path) as rows:
            return bool(rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'study_directions'"))
    except InvalidInput:
        return True


@contextmanager
def _sqlite(path: Path) -> Iterator[Rows]:
    """Queries within one transaction, which sees one state of the file."""
    try:
        with _opened(path) as connection:
            connection.execute("BEGIN")
            yield lambda sql: connection.execute(sql).fetchall()
    except sqlite3.Error as error:
        if "no such table" in str(error):
            raise _without_tables(path) from error
        remedy = "open it once with the program that writes it, or try again"
        raise InvalidInput(f"{path} must be a readable SQLite file, but {error}; {remedy}.") from error


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write.

    In WAL mode SQLite makes files beside the database even for a reader. Where nobody is connected there is no log, and
    the file is opened as one that nobody changes; where a killed program left its log, a copy is read.
    """
    with path.open("rb") as file:
        has_log = file.read(20)[18:] == b"\2\2"
    log, shared = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    if has_log and log.exists() and not shared.exists():
        with TemporaryDirectory() as folder:
            copy(path, folder), copy(log, folder)
            with _connection(Path(folder) / path.name, "") as connection:
                yield connection
        return
    with _connection(path, "&immutable=1" if has_log and not log.exists() else "") as connection:
        yield connection


@contextmanager
def _connection(path: Path, options: str) -> Iterator[sqlite3.Connection]:
    uri = f"{path.resolve().as_uri()}?mode=ro{options}"
    connection = sqlite3.connect(uri, BUSY_SECONDS, isolation_level=None, uri=True)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _postgresql(storage: OptunaStorage) -> Iterator[Rows]:
    """Queries within one read-only transaction."""
    try:
        import psycopg
    except ImportError as error:
        needed = 'pip install "bhvit-searcher[postgresql]"'
        raise InvalidInput(f"reading {storage} needs psycopg, but it is not installed; {needed}.") from error
    try:
        with psycopg.connect(storage.url, connect_timeout=CONNECT_SECONDS) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            yield lambda sql: connection.execute(sql).fetchall()
    except psycopg.errors.UndefinedTable as error:
        raise _without_tables(storage) from error
    except psycopg.Error as error:
        reason = _redacted(" ".join(str(error).split()), storage.url)
        raise InvalidInput(f"{storage} must be a readable database, but {reason}; correct that.") from error


def _without_tables(place: object) -> InvalidInput:
    return InvalidInput(f"{place} must hold studies of Optuna, but it has none of its tables; name another.")


def _without_password(url: str) -> str:
    """A URL as it may be shown; raises `InvalidInput` where it is none, without repeating it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidInput(f"a storage must be {FORMS}, but the URL is none; correct it.") from None
    user, sign, host = parts.netloc.rpartition("@")
    query = urlencode([(key, value) for key, value in parse_qsl(parts.query) if key != "password"])
    netloc = f"{user.partition(':')[0]}{sign}{host}"
    return parts._replace(scheme=parts.scheme.partition("+")[0], netloc=netloc, query=query).geturl()


def _redacted(text: str, url: str) -> str:
    parts = urlsplit(url)
    secrets = {parts.password, unquote(parts.password or ""), dict(parse_qsl(parts.query)).get("password")}
    for secret in filter(None, secrets):
        text = re.sub(re.escape(secret), "***", text)
    return text
