"""Trials in threads of this process: for trainings that are light, such as those of tests and of benchmarks."""

from __future__ import annotations

import queue
import threading

from searcher.executors.executor import Message, Train, TrialJob
from searcher.executors.worker import carry_out


class _Closed(BaseException):
    """Ends a training whose executor was closed."""


class ThreadExecutor:
    """Trains up to `slots` jobs side by side by calling `train` in threads."""

    trouble = None

    def __init__(self, train: Train, slots: int = 1) -> None:
        self.slots = slots
        self._train = train
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._answers: dict[int, queue.SimpleQueue[bool | None]] = {}

    def submit(self, job: TrialJob) -> None:
        """Begin `job`."""
        answers: queue.SimpleQueue[bool | None] = queue.SimpleQueue()
        self._answers[job.number] = answers

        def hear() -> bool:
            answer = answers.get()
            if answer is None:
                raise _Closed
            return answer

        def run() -> None:
            self._messages.put(carry_out(self._train, job, threading.current_thread().name, self._messages.put, hear))

        threading.Thread(target=run, name=f"thread of trial {job.number}", daemon=True).start()

    def next_message(self, timeout: float) -> Message | None:
        """The next message, if any comes in time."""
        try:
            return self._messages.get(timeout=timeout)
        except queue.Empty:
            return None

    def answer(self, number: int, stop: bool) -> None:
        """Answer an epoch."""
        self._answers[number].put(stop)

    def close(self) -> None:
        """Trainings end at their next epoch."""
        for answers in self._answers.values():
            answers.put(None)
