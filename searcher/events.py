"""What happens during a search, as values: shown live by a listener, and appended to `events.jsonl`."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_args

from bhvit.errors import InvalidInput
from searcher.executors.executor import Stepped
from searcher.records import EpochRecord, Outcome
from searcher.schema import from_mapping


@dataclass(frozen=True)
class SearchStarted:
    """A coordinator took the study up: `trained` of `planned` trials are done, `feasible` configurations exist.

    `sampled` says that the space is too large to enumerate and `feasible` counts within a sample; `share` is that of
    the whole space, estimated (None in logs of earlier versions). `repeated` of the `feasible` ones are candidates of
    an earlier model, too. `best_number` and `best_accuracy` (0..1) are the best trial within the budget of those done,
    where there is one.
    """

    planned: int
    trained: int
    feasible: int
    size: int
    sampled: bool
    share: float | None = None
    best_number: int | None = None
    best_accuracy: float | None = None
    repeated: int = 0

    @property
    def goal(self) -> int:
        """Trials after which the run ends: those planned, or all candidates within its budget."""
        return self.planned if self.sampled else min(self.planned, self.feasible - self.repeated)


@dataclass(frozen=True)
class TrialStarted:
    """A trial begins; with `attempt` above 1 it goes on where it was interrupted. `trained` are finished before it."""

    number: int
    attempt: int
    candidate: str
    choices: dict[str, Any]
    memory_bytes: float
    ops: float
    trained: int
    planned: int
    latency_seconds: float | None = None


@dataclass(frozen=True)
class EpochFinished:
    """One more epoch of a trial, trained by `worker`."""

    number: int
    record: EpochRecord
    worker: str = ""


@dataclass(frozen=True)
class WorkerLost:
    """A worker died while it trained a trial, which will go on from its last checkpoint."""

    number: int
    worker: str
    message: str


@dataclass(frozen=True)
class Trouble:
    """Something that the user should know and that does not stop the search; empty when it is over."""

    message: str


@dataclass(frozen=True)
class TrialFinished:
    """A trial ended, or was interrupted; `accuracy` (0..1) is None where nothing was measured.

    A trial that was begun under a larger budget is trained to its end, and may not be `within` the present one.
    """

    number: int
    outcome: Outcome
    accuracy: float | None
    message: str
    trained: int
    planned: int
    within: bool = True


@dataclass(frozen=True)
class SearchEnded:
    """The coordinator leaves the study; `reason` as in `SearchSummary.ended`."""

    reason: str
    trained: int
    planned: int


Event: TypeAlias = SearchStarted | TrialStarted | EpochFinished | WorkerLost | TrialFinished | Trouble | SearchEnded
TrialEvent: TypeAlias = TrialStarted | EpochFinished | WorkerLost | TrialFinished
_TRIAL_EVENTS: dict[str, type[TrialEvent]] = {
    kind.__name__: kind for kind in (TrialStarted, EpochFinished, WorkerLost, TrialFinished)
}
Listener: TypeAlias = Callable[[Event | Stepped], None]
"""Takes every event, and the training steps, of which the log keeps none."""
E = TypeVar("E")
KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
TAIL = 2**16  # bytes at the end of a log that hold its last event


@dataclass
class EventLog:
    """The file that keeps every event of a study, one JSON object a line, over all restarts; tells `listener` too.

    Epochs are kept once, though resumed trainings replay them: those of the `unfinished` trials are looked up.
    """

    path: Path
    listener: Listener | None = None
    unfinished: InitVar[Collection[int]] = ()
    epochs_seen: dict[int, set[tuple[str, int]]] = field(default_factory=dict)

    def __post_init__(self, unfinished: Collection[int]) -> None:
        if unfinished:
            for event in events_of(EpochFinished, self.path):
                if event.number in unfinished:
                    self._remember(event.number, event.record.phase, event.record.epoch)

    def append(self, event: Event) -> None:
        """Write `event` as one line; a line that a killed process left half written is closed first."""
        line = json.dumps({"event": type(event).__name__, "time": round(time.time(), 3), **dataclasses.asdict(event)})
        with self.path.open("a+b") as file:
            torn = file.tell() > 0 and (file.seek(-1, 2), file.read(1))[1] != b"\n"
            file.write((b"\n" if torn else b"") + line.encode() + b"\n")
        if isinstance(event, EpochFinished):
            self._remember(event.number, event.record.phase, event.record.epoch)
        elif isinstance(event, TrialFinished) and event.outcome.finished:
            self.epochs_seen.pop(event.number, None)
        if self.listener is not None:
            self.listener(event)

    def has_epoch(self, number: int, record: EpochRecord) -> bool:
        """Whether this epoch of trial `number` has been written."""
        return (record.phase, record.epoch) in self.epochs_seen.get(number, set())

    def _remember(self, number: int, phase: str, epoch: int) -> None:
        self.epochs_seen.setdefault(number, set()).add((phase, epoch))


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log in order, as plain data; lines that are none, such as torn ones, are left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        yield from _parsed(line)


def events_of(kind: type[E], path: Path) -> Iterator[E]:
    """The events of one kind in a log; those of another shape (another version's, or damaged) are left out."""
    for event in read_events(path):
        if event["event"] == kind.__name__:
            with suppress(InvalidInput):
                yield _event_from(kind, event)


def timed_event(line: str) -> tuple[float, Event] | None:
    """When the event of a line of the log happened, and the event; None for a line that is no event that we know."""
    for event in _parsed(line):
        kind, at = KINDS.get(event["event"]), event.get("time")
        if kind is not None and isinstance(at, int | float):
            with suppress(InvalidInput):
                return float(at), _event_from(kind, event)
    return None


def events_of_trial(path: Path, number: int) -> Iterator[tuple[float, TrialEvent]]:
    """The events of one trial in order, each with its time in seconds since 1970; the other lines are not parsed."""
    text = path.read_bytes() if path.exists() else b""
    at = 0
    while (at := text.find(b'"number": %d,' % number, at)) >= 0:
        begin, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
        at = end if end >= 0 else len(text)
        for event in _parsed(text[begin:at].decode("utf-8", "replace")):
            kind = _TRIAL_EVENTS.get(event["event"])
            if kind is not None and event.get("number") == number and isinstance(event.get("time"), float | int):
                with suppress(InvalidInput):
                    yield float(event["time"]), _event_from(kind, event)


def last_start(path: Path) -> SearchStarted | None:
    """What the last run of a search was asked for; None where there was none. Looks for it from the end of the log."""
    found = last_start_in(path.read_bytes() if path.exists() else b"")
    return None if found is None else found[1]


def last_start_in(log: bytes) -> tuple[float, SearchStarted] | None:
    """When the last run in a `log` started, in seconds since 1970, and what it was asked for."""
    end = len(log)
    while (end := log.rfind(b'{"event": "SearchStarted"', 0, end)) >= 0:
        found = timed_event(log[end:].partition(b"\n")[0].decode("utf-8", "replace"))
        if found is not None and isinstance(found[1], SearchStarted):
            return found[0], found[1]
    return None


def last_time(path: Path) -> float | None:
    """When the log's last event happened, in seconds since 1970; None where there is none. Reads its end alone."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        lines = file.read().splitlines()
    for line in reversed(lines):
        for event in _parsed(line.decode("utf-8", "replace")):
            if isinstance(event.get("time"), (int, float)):
                return float(event["time"])
    return None


def _parsed(line: str) -> Iterator[dict[str, Any]]:
    """The event of a line; none where it is not one."""
    try:
        event = json.loads(line)
    except ValueError:
        return  # half a line: the event had not happened for anyone
    if isinstance(event, dict) and "event" in event:
        yield event


def _event_from(kind: type[E], event: dict[str, Any]) -> E:
    values = {key: value for key, value in event.items() if key not in ("event", "time")}
    if values.get("outcome") in list(Outcome):
        values["outcome"] = Outcome(values["outcome"])
    return from_mapping(kind, values, kind.__name__)
