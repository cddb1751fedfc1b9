"""What the coordinator and those who train for it say to each other; no torch, no optuna.

The coordinator submits jobs to an executor and takes messages from it, one at a time. Workers never see the study: they
get a job, send steps and epochs, wait for an answer after every epoch, and end with a result or a failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from searcher.candidate import Candidate
from searcher.records import EpochRecord, Metrics


@dataclass(frozen=True)
class TrialJob:
    """What a worker gets: the candidate, its folder for checkpoints, and the how-manieth start of the trial this is."""

    number: int
    candidate: Candidate
    directory: Path
    attempt: int


class Report(Protocol):
    """What a training tells its coordinator."""

    def __call__(self, record: EpochRecord) -> bool:
        """To be called after every epoch, replayed ones included; true asks to stop and return what there is."""

    def step(self, phase: str, epoch: int, step: int, steps: int, memory_bytes: float | None = None) -> None:
        """May be called after every training step (epoch and step from 1); costs nothing and needs no answer.

        `memory_bytes` is the peak use of the device so far, or of the process on the CPU, where it is measured.
        """


class Train(Protocol):
    """Trains a job to its end: a picklable callable that keeps checkpoints in the job's folder and goes on from them.

    Raises `Diverged`, `OutOfMemory`, `InvalidInput` (`MissingData`), or anything else for a crash.
    """

    def __call__(self, job: TrialJob, report: Report) -> Metrics: ...


@dataclass(frozen=True)
class Stepped:
    """A training step was made; `worker` names who trains (`worker 2 on gpu-node-3, cuda:1`).

    `memory_bytes` is as in `Report.step`.
    """

    number: int
    worker: str
    phase: str
    epoch: int
    step: int
    steps: int
    memory_bytes: float | None = None


@dataclass(frozen=True)
class EpochDone:
    """An epoch has ended, replayed ones included; the worker waits for `Executor.answer`."""

    number: int
    worker: str
    record: EpochRecord


@dataclass(frozen=True)
class Trained:
    """The training ended by itself, or because it was asked to stop."""

    number: int
    worker: str
    metrics: Metrics


@dataclass(frozen=True)
class Failed:
    """The training raised: `kind` is the exception's class name, `peak_bytes` the measured peak of `OutOfMemory`."""

    number: int
    worker: str
    kind: str
    message: str
    traceback: str
    peak_bytes: float | None = None


@dataclass(frozen=True)
class WorkerDied:
    """The worker is gone (killed, its node lost) and with it the training; its checkpoints are as it left them."""

    number: int
    worker: str
    message: str


Message: TypeAlias = Stepped | EpochDone | Trained | Failed | WorkerDied


class Executor(Protocol):
    """Trains jobs somewhere, at most `slots` at once.

    After `WorkerDied`, `Trained` or `Failed` nothing more comes about that submission; the same trial may be submitted
    again. A dead worker is replaced by the executor. All methods are called from one thread.
    """

    @property
    def slots(self) -> int:
        """How many jobs can be trained at once, now; may change where machines come and go."""

    @property
    def trouble(self) -> str | None:
        """What the user should know now, such as that trials wait for a place; None where all is well."""

    def submit(self, job: TrialJob) -> None:
        """Begin to train `job`; only while fewer than `slots` jobs are under way."""

    def next_message(self, timeout: float) -> Message | None:
        """The next message; None where none came within `timeout` seconds."""

    def answer(self, number: int, stop: bool) -> None:
        """Answer the `EpochDone` of trial `number`: go on, or (`stop`) end with what there is."""

    def close(self) -> None:
        """End all workers at once, whatever they do; the trials under way stay as their last checkpoints have them."""
