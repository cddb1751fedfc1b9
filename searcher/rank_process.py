"""What each of several processes that train together runs; `searcher.processes` starts it and talks to it."""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import traceback
from typing import Any

import torch

from searcher.candidate_training import CandidateTraining
from searcher.devices import device_of_rank
from searcher.processes import Assignment, Failure, Order, Place, Step
from searcher.ranks import join
from searcher.records import EpochRecord


class Starter:
    """The process that started this one: gives orders and answers, gets events."""

    def __init__(self) -> None:
        self._events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints must not disturb the events
        # Not sys.stdin itself: forked loader processes close it, and would wait for ever for the listener's lock.
        self._orders = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def hear(self) -> Any:
        """The next order or answer."""
        return self._messages.get()

    def tell(self, event: object) -> None:
        """Send an event."""
        pickle.dump(event, self._events)
        self._events.flush()

    def wait_for_the_end(self) -> None:
        """Stay until the starter ends this process, so that its partners do not see it go first."""
        self._listener.join()

    def _listen(self) -> None:
        try:
            while True:
                self._messages.put(pickle.load(self._orders))
        finally:  # the starter is gone: no reason to go on, and nothing to be tidied up that is not on disk
            os._exit(1)


def main() -> None:
    """Join the others and carry out orders until the starter ends this process."""
    starter = Starter()
    try:
        _obey(starter)
    except BaseException as error:
        starter.tell(Failure(type(error).__name__, str(error), traceback.format_exc()))
        starter.wait_for_the_end()


def _obey(starter: Starter) -> None:
    assignment: Assignment
    place: Place
    assignment, place = starter.hear()
    torch.set_num_threads(assignment.threads)
    device = device_of_rank(assignment.device, place.rank, place.count)
    ranks = join(place.rank, place.count, place.meeting, device)
    training = CandidateTraining(
        assignment.candidate, assignment.recipe, assignment.data, assignment.seed, device, ranks
    )

    def report(record: EpochRecord) -> bool:
        if not ranks.first:
            return False  # the answer of the first process holds
        starter.tell(record)
        answer: bool = starter.hear()
        return answer

    def progress(*step: Any) -> None:
        starter.tell(Step(step))

    while True:
        order: Order = starter.hear()
        train = getattr(training, order.phase)
        starter.tell(train(*order.arguments, report, progress if ranks.first else None))
