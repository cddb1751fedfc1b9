"""What a worker of a Ray cluster does, as an actor: it is asked for one message after the other. No Ray in here.

Two workers never train a trial at once: each holds a lock in the trial's folder, for which its successor waits.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.executors.executor import Message, Report, Train, TrialJob
from searcher.executors.worker import carry_out
from searcher.lock import hold
from searcher.records import Metrics

WORKER_LOCK = "worker.lock"  # in the trial's folder
PATIENCE_S = 120.0  # until a worker on a lost node has ended, or a network file system shows a new folder
POLL_S = 0.2


class RayWorker:
    """Worker `number`; trains a job in a thread, while calls of `begin` and `go_on` wait for its next message."""

    def __init__(self, number: int, train: Train) -> None:
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")  # set by Ray
        self._name = ", ".join([f"worker {number} on {socket.gethostname()}", *(f"cuda:{gpu}" for gpu in gpus if gpu)])
        self._train = train
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ready(self) -> str:
        """Its name, which says that it runs."""
        return self._name

    def begin(self, job: TrialJob) -> Message:
        """Start to train `job`; the first message."""
        threading.Thread(target=self._carry_out, args=(job,), daemon=True).start()
        return self.go_on()

    def go_on(self, stop: bool | None = None) -> Message:
        """Give the answer to an epoch, if one is due; the next message."""
        if stop is not None:
            self._answers.put(stop)
        return self._messages.get()

    def _carry_out(self, job: TrialJob) -> None:
        self._messages.put(carry_out(self._train_alone, job, self._name, self._messages.put, self._answers.get))

    def _train_alone(self, job: TrialJob, report: Report) -> Metrics:
        _wait_for(job.directory)
        with hold(job.directory / WORKER_LOCK, patience=PATIENCE_S):
            return self._train(job, report)


def _wait_for(folder: Path) -> None:
    """Wait until the file system shows a folder that the coordinator made; raises `InvalidInput` if it does not."""
    deadline = time.monotonic() + PATIENCE_S
    while not folder.is_dir():
        if time.monotonic() > deadline:
            raise InvalidInput(
                f"every node must see the study at the same path, but {socket.gethostname()} sees no {folder}; put "
                "--runs on a file system that all nodes share."
            )
        time.sleep(POLL_S)
