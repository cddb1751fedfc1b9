"""The study as Optuna sees it: a mirror of the trials' records that the search never waits for.

The records are the truth. One thread writes them to the database, in order, many at once, and tries again while that is
unavailable; what it has not written when the search ends is written at the next start.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from bhvit.errors import InvalidInput
from searcher.records import TrialRecord
from searcher.space import Space
from searcher.storage_url import choose_storage
from searcher.study_database import StudyDatabase, StudyGone, Unavailable
from searcher.study_folder import StudyFolder

GATHER_SECONDS = 2.0  # what happens within this time is one transaction
FIRST_RETRY, LAST_RETRY = 1.0, 30.0  # seconds from a failed attempt to the next, doubling
LAST_PAUSE = 0.25  # seconds between attempts while the end of a search waits for them
PATIENCE, IMPATIENCE = 10.0, 1.0  # seconds that the end of a search waits for the database, done or failed


@dataclass(frozen=True)
class _Change:
    """What the database has not been told about a trial: how it stands, and new points of its curve."""

    record: TrialRecord
    curve: Mapping[int, float] = field(default_factory=dict)
    started: datetime | None = None
    ended: datetime | None = None

    def then(self, later: _Change) -> _Change:
        """This change and a later one."""
        return _Change(
            later.record, {**self.curve, **later.curve}, self.started or later.started, later.ended or self.ended
        )


class StudyMirror:
    """Takes what happens to trials and writes it in its own thread; see `open_mirror`."""

    def __init__(self, database: StudyDatabase, folder: StudyFolder, known: bool) -> None:
        self.trouble: str | None = None
        self._database, self._folder, self._known = database, folder, known
        self._news = threading.Condition()
        self._changes: dict[int, _Change] = {}
        self._records: dict[int, TrialRecord] = {}  # of unfinished trials
        self._behind = False  # the study must be compared with the records before anything else
        self._closing: float | None = None
        self._thread = threading.Thread(target=self._write_on, name="study mirror", daemon=True)
        self._thread.start()

    def bring_up_to_date(self, records: Sequence[TrialRecord]) -> None:
        """Make the study equal to the `records` of all trials.

        Raises `InvalidInput` where the database is not usable, and where it has never been reached. One that was
        reached in an earlier run and is not available now is brought up to date as soon as it is.
        """
        self._records = {record.number: record for record in records if not record.outcome.finished}
        try:
            self._database.bring_up_to_date(records)
        except Unavailable as error:
            if not self._known:
                raise self._database.refused(error) from error
            with self._news:
                self.trouble, self._behind = self._line(error), True
                self._news.notify()

    def begin(self, record: TrialRecord) -> None:
        """A new trial."""
        self._records[record.number] = record
        self._tell(_Change(record, started=_now()))

    def report(self, number: int, epoch: int, accuracy: float) -> None:
        """One more point of the learning curve of an unfinished trial; `epoch` counts from 1 in phase 2."""
        record = self._records.get(number)
        if record is not None and self._database.rows_of.has_curves:
            self._tell(_Change(record, {epoch: accuracy}))

    def finish(self, record: TrialRecord) -> None:
        """A trial has ended."""
        self._records.pop(record.number, None)
        self._tell(_Change(record, self._database.rows_of.curve(record), ended=_now()))

    def close(self, patience: float) -> None:
        """Write what is left, for `patience` seconds; `trouble` says afterwards whether something was left over."""
        with self._news:
            self._closing = time.monotonic() + patience
            self._news.notify()
        self._thread.join(patience + 1)
        if self._changes or self._behind or self._thread.is_alive():
            reason = self.trouble or f"{self._database} is slow"
            self.trouble = f"{reason}; the next start of the search, or searcher doctor --fix, brings it up to date"

    def _tell(self, change: _Change) -> None:
        number = change.record.number
        with self._news:
            earlier = self._changes.get(number)
            self._changes[number] = change if earlier is None else earlier.then(change)
            self._news.notify()

    def _write_on(self) -> None:
        """The thread: gather, write, and try again."""
        retry = FIRST_RETRY
        while self._wait_for_news():
            try:
                self._write()
            except Exception as error:  # whatever it is, the search goes on and the records are safe
                self.trouble = self._line(error)
                if self._closing is not None and time.monotonic() > self._closing:
                    break
                self._pause(retry)
                retry = min(2 * retry, LAST_RETRY)
            else:
                self.trouble, retry = None, FIRST_RETRY
        self._database.close()

    def _wait_for_news(self) -> bool:
        """Wait until there is something to write and a little longer; False when there will be nothing more."""
        with self._news:
            while not (self._changes or self._behind):
                if self._closing is not None:
                    return False
                self._news.wait()
        if self._closing is None:
            self._pause(GATHER_SECONDS)
        return True

    def _pause(self, seconds: float) -> None:
        """Sleep, but not long while the search waits for the last writes."""
        deadline = time.monotonic() + seconds
        with self._news:
            if self._closing is not None:
                self._news.wait(LAST_PAUSE)
            while self._closing is None and (left := deadline - time.monotonic()) > 0:
                self._news.wait(left)

    def _write(self) -> None:
        if self._behind:
            self._database.bring_up_to_date(self._folder.records())
            self._behind = False
        with self._news:
            changes, self._changes = self._changes, {}
        try:
            rows = [
                replace(self._database.rows_of.trial(c.record), curve=c.curve, started=c.started, ended=c.ended)
                for _, c in sorted(changes.items())
            ]
            self._database.write(rows)
        except Exception as error:
            with self._news:
                for number, change in changes.items():
                    later = self._changes.get(number)
                    self._changes[number] = change if later is None else change.then(later)
            self._behind = isinstance(error, StudyGone)
            raise

    def _line(self, error: Exception) -> str:
        reason = str(error) if isinstance(error, Unavailable | InvalidInput) else f"{type(error).__name__}: {error}"
        return f"{self._database} is not written at present ({' '.join(reason.split())})"


@contextlib.contextmanager
def open_mirror(folder: StudyFolder, space: Space, storage: str | None) -> Iterator[StudyMirror]:
    """The mirror of the study in `folder`, which is locked by the caller, for the duration of a `with` block.

    `storage` is the URL of a PostgreSQL database, by default the one that the folder remembers, else `study.db` in the
    folder. Raises `InvalidInput` where it is another than the folder's, or no URL.
    """
    server, known = choose_storage(folder, storage)
    mirror = StudyMirror(StudyDatabase(folder, space, server), folder, known)
    try:
        yield mirror
    except BaseException:
        mirror.close(IMPATIENCE)
        raise
    mirror.close(PATIENCE)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
