"""What each of several processes that train together runs; `searcher.processes` starts it and talks to it."""

from __future__ import annotations

from typing import Any

import torch

from searcher.candidate_training import CandidateTraining
from searcher.child_process import Starter
from searcher.devices import device_of_rank
from searcher.processes import Assignment, Failure, Order, Place, Step
from searcher.ranks import join
from searcher.records import EpochRecord


def main() -> None:
    """Join the others and carry out orders until the starter ends this process."""
    starter = Starter()
    try:
        _obey(starter)
    except BaseException as error:
        starter.tell(Failure.of(error))
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
        starter.tell(Step(step, training.peak_bytes))

    while True:
        order: Order = starter.hear()
        train = getattr(training, order.phase)
        starter.tell(train(*order.arguments, report, progress if ranks.first else None))
