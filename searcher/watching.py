"""A study that is looked at again and again: only what has changed is read anew; no rich, no torch."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from searcher.event_tail import EventTail, Timed
from searcher.events import EpochFinished, SearchEnded, SearchStarted, TrialFinished, TrialStarted, Trouble, WorkerLost
from searcher.lock import Holder, holder_of
from searcher.pricing import priced
from searcher.records import RECORD_FILE, Outcome, TrialRecord, read_record
from searcher.snapshot import State, StudySnapshot, left_alone, state_of
from searcher.standing import Standing
from searcher.status import STATUS_FILE, SearchStatus, WorkerStatus, of_holder, read_status
from searcher.study_folder import StudyFolder

LOSSES_KEPT = 100


class WatchedStudy:
    """A study as of the last `refresh`, which costs next to nothing where nothing has happened.

    `records` are by number; `under_way`, `failed` and `stranded` (whose search was killed) are numbers; `finished` says
    when each trial ended, `epochs` has the last epoch of trials under way as far as the end of the log tells it,
    `losses` the workers lost of late. `since` is when the last run `started`, `ended` when and how it ended; `version`
    changes with the records.
    """

    def __init__(self, folder: StudyFolder) -> None:
        self.folder = folder
        self.version = 0
        self._status: tuple[tuple[int, int], SearchStatus | None] | None = None
        self._read()

    def refresh(self) -> list[Timed]:
        """Look again; what has happened since the last look."""
        self._look()
        events = self._tail.new()
        if self._tail.restarted or any(isinstance(timed.event, SearchStarted) for timed in events):
            self._read()  # another run may have another budget, and have mended the study before
            return events
        for timed in events:
            self._take(timed)
        self._strand()
        return events

    @property
    def state(self) -> State:
        """As that of a snapshot, without counting."""
        goal = self.planned if self.started is None else self.started.goal
        return state_of(self.holder, len(self.records), self.standing.done, goal)

    @property
    def planned(self) -> int:
        """Trials that the last run was asked for."""
        return self.space.search.trials if self.started is None else self.started.planned

    @property
    def abandoned(self) -> bool:
        """Whether a coordinator died without saying so: trials were under way, and nobody is at work on them."""
        return self.holder is None and bool(self.stranded)

    @property
    def trouble(self) -> str:
        """What the coordinator wants the user to know now."""
        if self.holder is None:
            return ""
        return self._trouble if self.status is None else self.status.trouble

    @property
    def workers(self) -> list[WorkerStatus]:
        """The trials under way, each with what its worker last said, by the status, else by the log; by worker."""
        told = {} if self.status is None else {worker.number: worker for worker in self.status.workers}
        found = [self._worker(number, told.get(number)) for number in sorted(self.under_way)]
        self._names |= {worker.worker for worker in found if worker.worker}
        return by_name(found, self._names)

    def snapshot(self) -> StudySnapshot:
        """The same as what other views look at."""
        records = tuple(self.records[number] for number in sorted(self.records))
        return StudySnapshot(self.folder, self.space, records, self.started, self.holder, self.status)

    def _read(self) -> None:
        """Read everything; the log first, so that nothing is missed that happens meanwhile."""
        self._tail = EventTail(self.folder.events)
        events, history = self._tail.new(), self._tail.history()
        self.space = self.folder.space()
        self.started: SearchStarted | None = None
        self.since: float | None = None
        self.ended: tuple[float, SearchEnded] | None = None
        if history.started is not None:
            self.since, self.started = history.started
        self.records = {record.number: record for record in priced(self.space, self.folder.records())}
        self.under_way = {n for n, record in self.records.items() if record.outcome is Outcome.RUNNING}
        self.stranded: set[int] = set()
        self.failed = {n for n, record in self.records.items() if record.outcome.failed}
        self.standing = Standing.of(self.records.values(), self.space.budget, self.space.front_objectives)
        self.finished = history.finished
        self.epochs: dict[int, tuple[float, EpochFinished]] = {}
        self.losses: deque[tuple[float, WorkerLost]] = deque(maxlen=LOSSES_KEPT)
        self._names: set[str] = set()  # of the workers heard of in this run
        self._trouble = ""
        for timed in events:
            self._note(timed)
        self.version += 1
        self._look()
        self._strand()

    def _look(self) -> None:
        """Who is at work, and what the coordinator wrote down."""
        self.holder: Holder | None = holder_of(self.folder.lock)
        self.status = of_holder(self._read_status(), self.holder)

    def _strand(self) -> None:
        """Where nobody is at work, trials that run by their records were left by a search that was killed."""
        for number in sorted(self.under_way) if self.holder is None else ():
            self._put(left_alone(self.records[number]))
            self.stranded.add(number)

    def _read_status(self) -> SearchStatus | None:
        try:
            stat = os.stat(self.folder.path / STATUS_FILE)
        except OSError:
            return None
        key = stat.st_mtime_ns, stat.st_ino
        if self._status is None or self._status[0] != key:
            self._status = key, read_status(self.folder.path)
        return self._status[1]

    def _take(self, timed: Timed) -> None:
        """Take a new event, and read the record that it changed."""
        self._note(timed)
        event = timed.event
        if isinstance(event, TrialStarted):
            self._reread(event.number, [self.folder.trials / f"{event.number:04d}-{event.candidate}"])
        elif isinstance(event, TrialFinished | WorkerLost):
            known = self.records.get(event.number)
            folders = self.folder.trials.glob(f"{event.number:04d}-*") if known is None else [self.folder.trial(known)]
            self._reread(event.number, folders)

    def _note(self, timed: Timed) -> None:
        """Keep what an event itself says."""
        event = timed.event
        if isinstance(event, EpochFinished):
            self.epochs[event.number] = timed.time, event
        elif isinstance(event, TrialFinished):
            self.finished[event.number] = timed.time
            self.epochs.pop(event.number, None)
        elif isinstance(event, WorkerLost):
            self.losses.append((timed.time, event))
            self._names.discard(event.worker)
        elif isinstance(event, Trouble):
            self._trouble = event.message
        elif isinstance(event, SearchEnded):
            self.ended = timed.time, event
        elif isinstance(event, SearchStarted):
            self.ended = None

    def _reread(self, number: int, folders: Iterable[Path]) -> None:
        for folder in folders:
            if (folder / RECORD_FILE).exists():
                self._put(*priced(self.space, [read_record(folder)]))

    def _put(self, record: TrialRecord) -> None:
        before = self.records.get(record.number)
        self.records[record.number] = record
        self.standing.put(record, before)
        self.stranded.discard(record.number)
        (self.under_way.add if record.outcome is Outcome.RUNNING else self.under_way.discard)(record.number)
        (self.failed.add if record.outcome.failed else self.failed.discard)(record.number)
        self.version += 1

    def _worker(self, number: int, told: WorkerStatus | None) -> WorkerStatus:
        """What is known of a trial under way."""
        at, epoch = self.epochs.get(number, (None, None))
        if told is None:
            told = WorkerStatus("" if epoch is None else epoch.worker, number, "", 0, 0, 0, 0, at or 0.0)
        if epoch is None or told.accuracy is not None:
            return told
        record = epoch.record
        if told.phase in ("", record.phase):  # the accuracy of an FP parent says little of the candidate
            told = replace(told, accuracy=record.accuracy, loss=record.train_loss)
        if not told.phase:
            told = replace(told, phase=record.phase, epoch=record.epoch, epochs=record.epochs)
        return told


def by_name(workers: Iterable[WorkerStatus], names: Iterable[str]) -> list[WorkerStatus]:
    """Workers in the order of their names (`worker 2` before `worker 10`), so that each keeps its place.

    One that has not said anything of its trial yet stands where one of the known `names` is missing.
    """
    named: dict[str, list[WorkerStatus]] = {name: [] for name in sorted(names, key=_in_figures)}
    starting: deque[WorkerStatus] = deque()
    for worker in workers:
        (named[worker.worker] if worker.worker else starting).append(worker)
    rows: list[WorkerStatus] = []
    for found in named.values():
        rows += found or ([starting.popleft()] if starting else [])
    return [*rows, *starting]


def _in_figures(name: str) -> list[tuple[int, str]]:
    """A key by which the numbers in names are compared as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]
