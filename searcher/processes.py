"""Several processes that train one candidate together, as the process that started them sees them.

Each runs `searcher.rank_process` (a `ChildProcess`). When one of them fails or dies the others are killed: nothing
hangs, nothing is left over.
"""

from __future__ import annotations

import functools
import queue
import shutil
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from bhvit.errors import InvalidInput
from searcher.candidate import Candidate
from searcher.checkpoints import TrainingState
from searcher.child_process import ChildProcess
from searcher.outcomes import Diverged, MissingData, OutOfMemory, StorageFailed
from searcher.parents import Parent
from searcher.recipe import DataConfig, TrainingRecipe
from searcher.records import EpochRecord
from searcher.training import Progress, Report

KNOWN_ERRORS = {
    kind.__name__: kind for kind in (InvalidInput, MissingData, StorageFailed, Diverged, OutOfMemory, MemoryError)
}
GRACE_S = 2.0  # an error may be the echo of another process's death, which is then the better message


@dataclass(frozen=True)
class Assignment:
    """What the processes train: the arguments of `CandidateTraining`, and the CPU threads of each."""

    candidate: Candidate
    recipe: TrainingRecipe
    data: DataConfig
    seed: int
    device: str
    threads: int


@dataclass(frozen=True)
class Place:
    """Which of the processes one is, and the file in which they meet."""

    rank: int
    count: int
    meeting: Path


@dataclass(frozen=True)
class Order:
    """A phase to train: the name of a method of `CandidateTraining` and its arguments before `report`."""

    phase: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Step:
    """The arguments of a call of `progress`, and the most memory that the process has held at once."""

    values: tuple[str, int, int, int]
    peak_bytes: float


@dataclass(frozen=True)
class Failure:
    """An exception of a process."""

    kind: str
    message: str
    traceback: str
    peak_bytes: float | None = None

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What to send of `error`."""
        peak = error.peak_bytes if isinstance(error, OutOfMemory) else None
        return cls(type(error).__name__, str(error), "".join(traceback.format_exception(error)), peak)

    @property
    def known(self) -> bool:
        """Whether an outcome describes it."""
        return self.kind in KNOWN_ERRORS

    @property
    def error(self) -> Exception:
        """The exception again, of a kind that is known."""
        if self.kind == OutOfMemory.__name__:
            return OutOfMemory(self.message, self.peak_bytes)
        return KNOWN_ERRORS[self.kind](self.message)


class ProcessDied(Exception):
    """One of the processes ended by itself, or failed in a way that no outcome describes."""


class Team:
    """`count` processes that train together; it has the methods of `CandidateTraining` that train a phase.

    `peak_bytes` is the most memory that the first of them has held at once, as of its last step.

    They are started by the first of these calls and killed at the end of the context. Errors of a process are raised
    here: `InvalidInput`, `MissingData`, `Diverged` and `OutOfMemory` as such, anything else as `ProcessDied`.
    """

    def __init__(self, assignment: Assignment, count: int) -> None:
        self._assignment, self._count = assignment, count
        self.peak_bytes: float | None = None
        self._members: list[ChildProcess] = []
        self._events: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._folder = Path(tempfile.mkdtemp(prefix="searcher-"))

    def __enter__(self) -> Team:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for member in self._members:
            member.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def train_parent(self, folder: Path, report: Report, progress: Progress | None) -> TrainingState:
        """Phase 1."""
        return self._train(Order("train_parent", (folder,)), report, progress)

    def train_from(self, parent: Parent, folder: Path, report: Report, progress: Progress | None) -> TrainingState:
        """Phase 2."""
        return self._train(Order("train_from", (parent, folder)), report, progress)

    def _train(self, order: Order, report: Report, progress: Progress | None) -> TrainingState:
        self._start()
        for member in self._members:
            member.tell(order)
        states: dict[int, TrainingState] = {}
        while len(states) < self._count:
            rank, event = self._events.get()
            if isinstance(event, Step):
                self.peak_bytes = event.peak_bytes
                if progress is not None:
                    progress(*event.values)
            elif isinstance(event, EpochRecord):
                self._members[rank].tell(report(event))
            elif isinstance(event, TrainingState):
                states[rank] = event
            else:
                raise self._error(rank, event)
        return states[0]

    def _start(self) -> None:
        if self._members:
            return
        for rank in range(self._count):
            self._members.append(ChildProcess("searcher.rank_process", functools.partial(self._take, rank)))
        for rank, member in enumerate(self._members):
            member.tell((self._assignment, Place(rank, self._count, self._folder / "meeting")))

    def _take(self, rank: int, event: Any) -> None:
        self._events.put((rank, event))

    def _error(self, rank: int, event: Failure | None) -> Exception:
        """The exception that `event` of process `rank` means: its failure, or None for its death."""
        if event is not None and event.known:
            return event.error
        deadline = time.monotonic() + GRACE_S
        while event is not None and (left := deadline - time.monotonic()) > 0:
            with suppress(queue.Empty):
                other, later = self._events.get(timeout=left)
                if later is None or (isinstance(later, Failure) and later.known):
                    return self._error(other, later)
        number = f"process {rank + 1} of {self._count}"
        if event is None:
            error = ProcessDied(f"{number} that trained together ended {self._members[rank].ending()}")
            error.add_note(self._members[rank].stderr())
        else:
            error = ProcessDied(f"{number} that trained together failed with {event.kind}: {event.message}")
            error.add_note(event.traceback)
        return error
