"""One coordinator per study: a file lock that the operating system drops with its process, however that dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from bhvit.errors import InvalidInput

POLL_SECONDS = 0.1
# POSIX locks do not exclude their own process, which loses one when it closes any descriptor of the file.
_held: dict[Path, Holder] = {}
_guard = threading.Lock()


@dataclass(frozen=True)
class Holder:
    """Who holds a lock; `started` in seconds since 1970."""

    host: str
    pid: int
    started: float

    def __str__(self) -> str:
        if self == UNKNOWN:
            return "another process"
        return f"process {self.pid} on {self.host}, started {_age(time.time() - self.started)} ago"


UNKNOWN = Holder("", 0, 0.0)  # in the moment between locking and writing, or of another version


class InUse(InvalidInput):
    """Somebody else holds the lock."""


@contextmanager
def hold(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path` for the duration of a `with` block.

    Raises `InUse` with host, process and age where somebody else holds it, for longer than `patience` seconds.
    A lock left by a killed process, and by its forked children, is free.
    """
    path = path.resolve()
    deadline = time.monotonic() + patience
    own = Holder(socket.gethostname(), os.getpid(), time.time())
    while not _reserve(path, own):
        _wait(path, deadline, _held.get(path))
    try:
        with path.open("a+", encoding="utf-8") as file:
            while not _try(file):
                _wait(path, deadline, _read(file))
            _write(file, json.dumps(asdict(own)))
            yield
            _write(file, "")
    finally:
        del _held[path]


def holder_of(path: Path) -> Holder | None:
    """Who holds the lock file `path` now; None where it is free."""
    path = path.resolve()
    if path in _held:
        return _held[path]
    if not path.exists():
        return None
    with path.open("r", encoding="utf-8") as file:  # a reader may have no right to write
        return None if _try(file, fcntl.LOCK_SH) else _read(file)


def _reserve(path: Path, own: Holder) -> bool:
    """Whether no other thread of this process has `path`, which nobody else opens from now on."""
    with _guard:
        return _held.setdefault(path, own) is own


def _wait(path: Path, deadline: float, holder: Holder | None) -> None:
    if time.monotonic() >= deadline:
        raise InUse(f"{path.parent} is in use by {holder or UNKNOWN}; wait until it ends, or stop it.")
    time.sleep(POLL_SECONDS)


def _try(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _read(file: IO[str]) -> Holder:
    """The holder as it wrote itself down."""
    file.seek(0)
    try:
        data = json.loads(file.read())
        return Holder(str(data["host"]), int(data["pid"]), float(data["started"]))
    except (ValueError, KeyError, TypeError):
        return UNKNOWN


def _write(file: IO[str], text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
