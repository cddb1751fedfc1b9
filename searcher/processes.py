"""Several processes that train one candidate together, as the process that started them sees them.

Each runs `searcher.rank_process`. Orders and answers go through its standard input, events come back through its
standard output, both pickled. A process whose standard input ends (its starter is gone, however it ended) ends at once,
and when one of them fails or dies the others are killed: nothing hangs, nothing is left over.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from bhvit.errors import InvalidInput
from searcher.candidate import Candidate
from searcher.checkpoints import TrainingState
from searcher.outcomes import Diverged, MissingData, OutOfMemory
from searcher.parents import Parent
from searcher.recipe import DataConfig, TrainingRecipe
from searcher.records import EpochRecord
from searcher.training import Progress, Report

KNOWN_ERRORS = {kind.__name__: kind for kind in (InvalidInput, MissingData, Diverged, OutOfMemory, MemoryError)}
GRACE_S = 2.0  # an error may be the echo of another process's death, which is then the better message
STDERR_TAIL = 4000  # characters
# The path is handed over, so that the processes import the same modules wherever they are started.
PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import searcher.rank_process as r; r.main()"


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
    """The arguments of a call of `progress`."""

    values: tuple[str, int, int, int]


@dataclass(frozen=True)
class Failure:
    """An exception of a process."""

    kind: str
    message: str
    traceback: str


class ProcessDied(Exception):
    """One of the processes ended by itself, or failed in a way that no outcome describes."""


class Team:
    """`count` processes that train together; it has the methods of `CandidateTraining` that train a phase.

    They are started by the first of these calls and killed at the end of the context. Errors of a process are raised
    here: `InvalidInput`, `MissingData`, `Diverged` and `OutOfMemory` as such, anything else as `ProcessDied`.
    """

    def __init__(self, assignment: Assignment, count: int) -> None:
        self._assignment, self._count = assignment, count
        self._members: list[_Member] = []
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
            self._members.append(_Member(rank, self._folder / f"{rank}.stderr", self._events))
        for rank, member in enumerate(self._members):
            member.tell((self._assignment, Place(rank, self._count, self._folder / "meeting")))

    def _error(self, rank: int, event: Failure | None) -> Exception:
        """The exception that `event` of process `rank` means: its failure, or None for its death."""
        if event is not None and event.kind in KNOWN_ERRORS:
            return KNOWN_ERRORS[event.kind](event.message)
        deadline = time.monotonic() + GRACE_S
        while event is not None and (left := deadline - time.monotonic()) > 0:
            with suppress(queue.Empty):
                other, later = self._events.get(timeout=left)
                if later is None or (isinstance(later, Failure) and later.kind in KNOWN_ERRORS):
                    return self._error(other, later)
        number = f"process {rank + 1} of {self._count}"
        if event is None:
            error = ProcessDied(f"{number} that trained together ended {self._members[rank].ending()}")
            error.add_note(self._members[rank].stderr())
        else:
            error = ProcessDied(f"{number} that trained together failed with {event.kind}: {event.message}")
            error.add_note(event.traceback)
        return error


class _Member:
    """One started process. It leads a process group of its own, so that Ctrl-C reaches its starter alone."""

    def __init__(self, rank: int, stderr: Path, events: queue.SimpleQueue[tuple[int, Any]]) -> None:
        self._stderr = stderr
        with stderr.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                process_group=0,
            )
        assert self._process.stdout is not None
        threading.Thread(target=_forward, args=(rank, self._process.stdout, events), daemon=True).start()

    def tell(self, message: object) -> None:
        """Send an order or an answer; one to a dead process is lost, its death is an event of its own."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()

    def kill(self) -> None:
        """End it and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def ending(self) -> str:
        """How it ended."""
        code = self._process.wait()
        return f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"

    def stderr(self) -> str:
        """The last of what it printed as errors."""
        return self._stderr.read_text(errors="replace")[-STDERR_TAIL:]


def _forward(rank: int, stream: IO[bytes], events: queue.SimpleQueue[tuple[int, Any]]) -> None:
    """Put every event of process `rank` into the queue, and None at its end."""
    try:
        with suppress(EOFError, pickle.UnpicklingError), stream:
            while True:
                events.put((rank, pickle.load(stream)))
    finally:
        events.put((rank, None))
