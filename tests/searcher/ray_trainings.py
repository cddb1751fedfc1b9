"""Trainings for the tests with Ray: its workers import them from here."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.executors.executor import EpochDone, Executor, Failed, Message, Report, Trained, TrialJob, WorkerDied
from searcher.outcomes import Diverged, OutOfMemory
from searcher.records import Metrics
from tests.searcher.fake_training import FakeTraining, search_space

PID = "pid"  # file in the trial's folder


class NotedTraining(FakeTraining):
    """A `FakeTraining` that leaves its process number in the job's folder."""

    def __call__(self, job: TrialJob, report: Report) -> Metrics:
        (job.directory / PID).write_text(str(os.getpid()))
        return super().__call__(job, report)


FAILURES: tuple[BaseException, ...] = (
    Diverged("loss was nan"),
    OutOfMemory("cuda is full", 5e9),
    InvalidInput("no such data"),
    OSError(errno.ENOSPC, "No space left on device"),
    KeyError("x"),
    SystemExit(3),
)


def fail(job: TrialJob, report: Report) -> Metrics:
    """Raise the failure of the job's number."""
    raise FAILURES[job.number]


def jobs(folder: Path, count: int) -> list[TrialJob]:
    """Jobs of different candidates, whose folders exist."""
    space = search_space()
    found = [TrialJob(n, space.candidate(space.decode(n)), folder / f"{n:04d}", 1) for n in range(count)]
    for job in found:
        job.directory.mkdir(parents=True)
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
