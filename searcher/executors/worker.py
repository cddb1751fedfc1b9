"""What a worker does with a job, whatever carries its messages: threads, pipes or a cluster; no torch of its own.

Two workers never train a trial at once: each holds a lock in the trial's folder, for which its successor waits.
"""

from __future__ import annotations

import errno
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.executors.executor import EpochDone, Failed, Message, Stepped, Train, Trained, TrialJob
from searcher.lock import hold
from searcher.outcomes import OutOfMemory, StorageFailed
from searcher.records import EpochRecord

STEP_SECONDS = 0.2  # between two messages about steps
WORKER_LOCK = "worker.lock"  # in the trial's folder
PATIENCE_SECONDS = 120.0  # until a worker on a lost node has ended, or a network file system shows a new folder
POLL_SECONDS = 0.2
STORAGE_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)


class WorkerReport:
    """The `Report` of a job: messages go out by `send`, the answer to an epoch comes by `hear`."""

    def __init__(self, number: int, worker: str, send: Callable[[Message], None], hear: Callable[[], bool]) -> None:
        self._number, self._worker, self._send, self._hear = number, worker, send, hear
        self._stepped_at: tuple[str, float] = ("", 0.0)

    def __call__(self, record: EpochRecord) -> bool:
        """Send the epoch, wait for the answer."""
        self._send(EpochDone(self._number, self._worker, record))
        return self._hear()

    def step(self, phase: str, epoch: int, step: int, steps: int, memory_bytes: float | None = None) -> None:
        """Send the step, unless another one of the phase was sent just now."""
        now = time.monotonic()
        last_phase, last = self._stepped_at
        if phase != last_phase or now - last >= STEP_SECONDS:
            self._stepped_at = (phase, now)
            self._send(Stepped(self._number, self._worker, phase, epoch, step, steps, memory_bytes))


def carry_out(
    train: Train, job: TrialJob, worker: str, send: Callable[[Message], None], hear: Callable[[], bool]
) -> Trained | Failed:
    """Train the job; how it ended, whatever was raised."""
    try:
        _wait_for(job.directory)
        with hold(job.directory / WORKER_LOCK, patience=PATIENCE_SECONDS):
            metrics = train(job, WorkerReport(job.number, worker, send, hear))
    except BaseException as error:
        return failure_of(error, job.number, worker)
    return Trained(job.number, worker, metrics)


def _wait_for(folder: Path) -> None:
    """Wait until the file system shows a folder that the coordinator made; raises `InvalidInput` if it does not."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not folder.is_dir():
        if time.monotonic() > deadline:
            raise InvalidInput(
                f"every node must see the study at the same path, but {socket.gethostname()} sees no {folder}; put "
                "--runs on a file system that all nodes share."
            )
        time.sleep(POLL_SECONDS)


def failure_of(error: BaseException, number: int, worker: str) -> Failed:
    """The message about an exception; a full or read-only disk is told apart from mistakes of the training."""
    kind, message = type(error).__name__, " ".join(str(error).split())
    if _is_about_storage(error):
        kind = StorageFailed.__name__
    peak = error.peak_bytes if isinstance(error, OutOfMemory) else None
    return Failed(number, worker, kind, message, "".join(traceback.format_exception(error)), peak)


def _is_about_storage(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        return True
    # safetensors tells the operating system's number in words alone
    return type(error).__name__ == "SafetensorError" and any(f"(os error {n})" in str(error) for n in STORAGE_ERRORS)
