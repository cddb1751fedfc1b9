"""Where a study's mirror lives: `study.db` in its folder, or a PostgreSQL server that many studies share.

The folder remembers its server in `storage.json`, without the password.
"""

from __future__ import annotations

import dataclasses
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from bhvit.errors import InvalidInput
from searcher.files import read_json, write_json
from searcher.schema import from_mapping
from searcher.study_folder import StudyFolder

STORAGE_VARIABLE = "SEARCHER_STORAGE"
EXAMPLE = "postgresql://user:password@host/database"
SCHEMES = ("postgresql", "postgres")
DRIVER = "postgresql+psycopg"  # SQLAlchemy's own choice for these schemes would be psycopg2
CONNECT_OPTIONS: Mapping[str, Any] = {"connect_timeout": 10, "tcp_user_timeout": 15000}  # s, ms: a dead host is noticed


@dataclass(frozen=True)
class Storage:
    """A PostgreSQL database; its text form and its errors never show the password."""

    url: URL = field(repr=False)

    @property
    def place(self) -> tuple[Any, ...]:
        """What makes two URLs the same database, whoever logs in: host, port and name."""
        query = self.url.query
        return self.url.host or query.get("host"), self.url.port or query.get("port") or 5432, self.url.database

    @cached_property
    def without_password(self) -> str:
        """The URL as a user may keep it."""
        public = self.url.difference_update_query(["password"])._replace(drivername=SCHEMES[0], password=None)
        return public.render_as_string()

    @cached_property
    def for_sqlalchemy(self) -> str:
        """The URL with its password and our driver."""
        return self.url.set(drivername=DRIVER).render_as_string(hide_password=False)

    def redact(self, text: str) -> str:
        """`text` without the password."""
        secrets = (self.url.password, self.url.query.get("password"))
        for secret in filter(None, secrets):
            text = text.replace(str(secret), "***")
        return text

    def __str__(self) -> str:
        return self.without_password


def storage_from(text: str) -> Storage:
    """The storage at a URL; raises `InvalidInput` where it is none of PostgreSQL's, without repeating a password."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InvalidInput(
            f"the storage must be a URL such as {EXAMPLE}, but it is {_without_secrets(text)!r}; correct it."
        ) from None
    if url.drivername.partition("+")[0] not in SCHEMES:
        raise InvalidInput(
            f"the storage must be a URL such as {EXAMPLE}, but its scheme is {url.drivername}; leave it out for an "
            "SQLite file in the study's folder."
        )
    if not url.database:
        raise InvalidInput(f"the storage must name a database, as in {EXAMPLE}, but it names none; append /database.")
    return Storage(url)


def _without_secrets(text: str) -> str:
    """What was typed, without what may be a password in it: from a colon to the last @, and `password=`."""
    return re.sub(r"(password=)[^&]*", r"\1***", re.sub(r":(?!//).*@", ":***@", text))


@dataclass(frozen=True)
class Remembered:
    """`storage.json` of a study: the server, and a token by which the server's study knows this folder."""

    url: str
    token: str


def remembered(folder: StudyFolder) -> Remembered | None:
    """The server that the study was mirrored on; None where there is none."""
    path = folder.storage_file
    return from_mapping(Remembered, read_json(path), str(path)) if path.exists() else None


def choose_storage(folder: StudyFolder, asked: str | None) -> tuple[Storage | None, bool]:
    """The server to mirror on (None: the folder's own file), and whether the study was mirrored there before.

    Without `asked` it is where the study was mirrored before; for a new study, what the environment variable
    `SEARCHER_STORAGE` says. That may also give the password of a remembered server. Raises `InvalidInput` where
    `asked` is not where the study is mirrored.
    """
    known = remembered(folder)
    usual = os.environ.get(STORAGE_VARIABLE) or None
    if asked is None and known is not None:
        storage = storage_from(known.url)
        same = usual is not None and storage_from(usual).place == storage.place
        return (storage_from(usual) if usual is not None and same else storage), True
    if asked is None and (usual is None or folder.database.exists()):
        return None, folder.database.exists()
    storage = storage_from(asked or usual or "")
    if known is None and folder.database.exists():
        raise InvalidInput(
            f"{folder.path} is mirrored in {folder.database.name}, but the storage is {storage}; leave the storage "
            f"out, or move {folder.database} away: the study is then written to the server from its records."
        )
    if known is not None and storage_from(known.url).place != storage.place:
        raise InvalidInput(
            f"{folder.path} is mirrored on {known.url}, but the storage is {storage}; use the former, or delete "
            f"{folder.storage_file}: the study is then written to the latter from its records."
        )
    return storage, known is not None


def remember(folder: StudyFolder, storage: Storage) -> Remembered:
    """Keep in the folder where it is mirrored; the token stays the same from the first time on."""
    known = remembered(folder) or Remembered(storage.without_password, uuid.uuid4().hex)
    kept = dataclasses.replace(known, url=storage.without_password)
    if not folder.storage_file.exists() or kept != known:
        write_json(folder.storage_file, dataclasses.asdict(kept))
    return kept
