"""Trials in processes of this machine, one a worker: the executor of the command line."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from searcher.child_process import ChildProcess, Starter
from searcher.executors.executor import Failed, Message, Train, Trained, TrialJob, WorkerDied
from searcher.executors.worker import carry_out


class WorkerPool:
    """Worker processes that are kept from one executor to the next, with torch loaded; a context that ends them."""

    def __init__(self) -> None:
        self._idle: list[ChildProcess] = []

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._idle:
            process.kill()

    def take(self) -> ChildProcess | None:
        """An idle process, if there is one."""
        return self._idle.pop() if self._idle else None

    def give(self, process: ChildProcess) -> None:
        """Keep a process that has nothing to do."""
        process.take = lambda message: None
        self._idle.append(process)


@dataclass
class _Slot:
    """A place where one job at a time is trained; its process is started for the first one."""

    name: str
    train: Train
    process: ChildProcess | None = None
    started: int = 0  # how many processes were started here
    number: int | None = None  # of the trial that is trained here


class ProcessExecutor:
    """One worker process for each of `trains`, which may differ in their device; `names` say who is who.

    A worker is started when it is first needed, keeps torch and the decoded images from trial to trial, and is
    replaced when it dies. It ends with this process, however that ends. Workers come from the `pool` and go back to it.
    """

    trouble = None

    def __init__(self, trains: Sequence[Train], names: Sequence[str], pool: WorkerPool | None = None) -> None:
        self._pool = pool
        self._slots = [_Slot(name, train) for name, train in zip(names, trains, strict=True)]
        self._events: queue.SimpleQueue[tuple[_Slot, int, Any]] = queue.SimpleQueue()

    @property
    def slots(self) -> int:
        """Number of workers."""
        return len(self._slots)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process numbers of the workers that have been started."""
        return tuple(slot.process.pid for slot in self._slots if slot.process is not None)

    def submit(self, job: TrialJob) -> None:
        """Hand `job` to a free worker; one that is running already if there is one."""
        free = [slot for slot in self._slots if slot.number is None]
        slot = min(free, key=lambda s: s.process is None)
        if slot.process is None:
            slot.process = self._start(slot)
        slot.number = job.number
        slot.process.tell(job)

    def next_message(self, timeout: float) -> Message | None:
        """The next message; the death of a worker that had nothing to do is none."""
        try:
            slot, which, message = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if which != slot.started or slot.process is None:  # of a worker that has been replaced
            return None
        if message is None:
            return self._buried(slot)
        if isinstance(message, Trained | Failed):
            slot.number = None
        return message  # type: ignore[no-any-return]

    def answer(self, number: int, stop: bool) -> None:
        """Answer an epoch; an answer to a worker that died meanwhile is lost with it."""
        for slot in self._slots:
            if slot.number == number and slot.process is not None:
                slot.process.tell(stop)

    def close(self) -> None:
        """Kill all workers; those that have nothing to do go back to the pool where there is one."""
        for slot in self._slots:
            if slot.process is not None and self._pool is not None and slot.number is None:
                self._pool.give(slot.process)
            elif slot.process is not None:
                slot.process.kill()
            slot.process = slot.number = None

    def _start(self, slot: _Slot) -> ChildProcess:
        slot.started += 1
        which = slot.started

        def take(message: Any) -> None:
            self._events.put((slot, which, message))

        process = None if self._pool is None else self._pool.take()
        if process is None:
            process = ChildProcess(__name__, take)
        else:
            process.take = take
            if process.ended:  # while it had nothing to do: nobody else will say so
                take(None)
        process.tell((slot.name, slot.train))
        return process

    def _buried(self, slot: _Slot) -> WorkerDied | None:
        process, number = slot.process, slot.number
        assert process is not None
        slot.process = slot.number = None
        process.kill()  # what it started
        if number is None:
            return None
        lines = process.stderr().strip().splitlines()
        return WorkerDied(number, slot.name, f"ended {process.ending()}" + (f": {lines[-1]}" if lines else ""))


def main() -> None:
    """What a worker's process runs: jobs, one after the other, until its starter ends it."""
    starter = Starter()
    name, train = starter.hear()
    while True:
        order = starter.hear()
        if isinstance(order, TrialJob):
            starter.tell(carry_out(train, order, name, starter.tell, starter.hear))
        else:  # it works for another executor now
            name, train = order
