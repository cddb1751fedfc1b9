"""What a worker of a Ray cluster does, as an actor: it is asked for one message after the other. No Ray in here."""

from __future__ import annotations

import os
import queue
import socket
import threading

from searcher.executors.executor import Message, Train, TrialJob
from searcher.executors.worker import carry_out


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
        self._messages.put(carry_out(self._train, job, self._name, self._messages.put, self._answers.get))
