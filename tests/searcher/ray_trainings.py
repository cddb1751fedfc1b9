"""Trainings for the tests with Ray: its workers import them from here."""

from __future__ import annotations

import errno
import importlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bhvit.errors import InvalidInput
from searcher.executors.executor import EpochDone, Executor, Failed, Message, Report, Trained, TrialJob, WorkerDied
from searcher.files import read_json, write_json
from searcher.outcomes import Diverged, OutOfMemory
from searcher.records import Metrics
from tests.searcher.fake_training import FakeTraining, search_space

PID, SCRIPT = "pid", "script.json"  # files in the trial's folder


FAILURES: tuple[BaseException, ...] = (
    Diverged("loss was nan"),
    OutOfMemory("cuda is full", 5e9),
    InvalidInput("no such data"),
    OSError(errno.ENOSPC, "No space left on device"),
    KeyError("x"),
    SystemExit(3),
)


@dataclass(frozen=True)
class Scripted:
    """Notes the process, then does what the folder's script says: raises a failure, or trains with so long epochs."""

    seconds: float = 0.05

    def __call__(self, job: TrialJob, report: Report) -> Metrics:
        """Train."""
        script = read_json(job.directory / SCRIPT) if (job.directory / SCRIPT).exists() else {}
        (job.directory / PID).write_text(str(os.getpid()))
        if "failure" in script:
            raise FAILURES[script["failure"]]
        return FakeTraining(script.get("seconds", self.seconds))(job, report)


def jobs(folder: Path, count: int, **script: Any) -> list[TrialJob]:
    """Jobs of different candidates, with their folders and the script of all of them."""
    space = search_space()
    found = [TrialJob(n, space.candidate(space.decode(n)), folder / f"{n:04d}", 1) for n in range(count)]
    for job in found:
        job.directory.mkdir(parents=True)
        write_json(job.directory / SCRIPT, script)
    return found


def until_ended(executor: Executor, count: int, stop_after: dict[int, int] | None = None) -> list[Message]:
    """All messages until `count` jobs ended; trial n is stopped after `stop_after[n]` epochs of phase 2."""
    messages: list[Message] = []
    while count:
        message = executor.next_message(30)
        assert message is not None, "nothing was heard for 30 s"
        messages.append(message)
        if isinstance(message, EpochDone):
            record = message.record
            last = (stop_after or {}).get(message.number)
            executor.answer(message.number, record.phase == "qat" and record.epoch == last)
        count -= isinstance(message, Trained | Failed | WorkerDied)
    return messages


def assert_gone(pid: int, seconds: float = 10) -> None:
    """Fail unless the process ends within `seconds`."""
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process is there, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass(frozen=True)
class Unloadable:
    """A training that a worker cannot unpickle, as where another version is installed on its machine."""

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, ("nosuchmodule",)
