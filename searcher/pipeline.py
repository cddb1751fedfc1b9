"""From a candidate to its accuracy: full-precision phase (shared), warm start, quantization-aware phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from bhvit.checkpoint import load_weights, round_to_stored_precision
from searcher.candidate import Candidate
from searcher.candidate_training import CandidateTraining, build_candidate, evaluation_images
from searcher.devices import device_named, device_of_rank, memory_exhaustion_named
from searcher.evaluation import evaluate
from searcher.parents import Parent, parent_of
from searcher.preflight import check_compiler, check_processes
from searcher.processes import Assignment, Team
from searcher.recipe import DataConfig, TrainingRecipe
from searcher.records import Evaluation, Metrics
from searcher.training import Progress, Report

MeasuredProgress = Callable[[str, int, int, int, float | None], None]


def train_candidate(
    candidate: Candidate,
    recipe: TrainingRecipe,
    data: DataConfig,
    *,
    directory: Path,
    warm_starts: Path,
    seed: int,
    device: str = "auto",
    threads: int | None = None,
    processes: int = 1,
    report: Report,
    progress: MeasuredProgress | None = None,
) -> Metrics:
    """Train `candidate` by both phases, or go on where an earlier call with the same arguments ended.

    `directory` gets the checkpoints of phase 2, `warm_starts` those of the parent, which is trained at most once.
    `report` gets every epoch of the phases trained here; its true ends phase 2 (phase 1 is never cut short, others
    may need the parent). `progress` gets every step, with the most memory held at once so far in bytes. A
    full-precision candidate has the same two phases, so that effort is equal. `threads` is the number of CPU threads
    (none: torch's default, shared by the processes). With several `processes` they train together
    (`searcher.processes`), each on its part of every batch; the result is that of one process up to rounding, and a
    training may go on with another number of them.
    Raises `InvalidInput`, `MissingData`, `Diverged`, `OutOfMemory`, or `ProcessDied` with several processes.
    """
    check_processes(recipe, processes)
    check_compiler(recipe)
    training = CandidateTraining(candidate, recipe, data, seed, device_of_rank(device, 0, processes))
    with _carried_out(training, device, threads, processes) as phases:

        def stepped(phase: str, epoch: int, step: int, steps: int) -> None:
            if progress is not None:
                progress(phase, epoch, step, steps, phases.peak_bytes)

        parent = parent_of(
            training.parent_key,
            recipe.fp.epochs,
            warm_starts,
            directory,
            lambda folder: phases.train_parent(folder, report, stepped),
        )
        state = phases.train_from(parent, directory, report, stepped)
    best = state.best
    assert best is not None
    phases_here = (parent.state, state) if parent.trained_here else (state,)
    epochs = tuple(record for phase in phases_here for record in phase.history)
    return Metrics(
        accuracy=best.accuracy,
        final_accuracy=state.history[-1].accuracy,
        best_epoch=best.epoch,
        parent_key=parent.key,
        parent_accuracy=parent.accuracy,
        parent_trained=parent.trained_here,
        epochs=epochs,
        seconds=sum(record.seconds for record in epochs),
        restarts=sum(phase.restarts for phase in phases_here),
    )


def trained_parent(
    training: CandidateTraining,
    warm_starts: Path,
    *,
    device: str,
    threads: int | None,
    processes: int,
    report: Report,
    progress: Progress | None = None,
) -> Parent:
    """The full-precision parent alone, trained as `train_candidate` does where it is absent or unfinished."""
    check_processes(training.recipe, processes)
    check_compiler(training.recipe)
    with _carried_out(training, device, threads, processes) as phases:
        return parent_of(
            training.parent_key,
            training.recipe.fp.epochs,
            warm_starts,
            None,
            lambda folder: phases.train_parent(folder, report, progress),
        )


def evaluate_candidate(
    candidate: Candidate,
    recipe: TrainingRecipe,
    data: DataConfig,
    weights: Path,
    split: str = "test",
    device: str = "auto",
) -> Evaluation:
    """Accuracy of stored weights on a split, with fp16 layers rounded to half precision, as they are deployed.

    The search never calls this for `test`. Raises `InvalidInput` where the weights are not the candidate's.
    """
    place = device_named(device)
    listing = data.list_images()
    listing.require_classes(candidate.architecture.num_classes)
    model = build_candidate(candidate, recipe)
    load_weights(model, weights)
    round_to_stored_precision(model)
    with memory_exhaustion_named(place, f"evaluating {split}"):
        images = evaluation_images(listing.split(split), candidate.architecture.image_size, data.cache)
        return evaluate(model.to(place), images.batches(place), listing.classes, split, place, recipe.amp)


@contextmanager
def _carried_out(
    training: CandidateTraining, device: str, threads: int | None, processes: int
) -> Iterator[CandidateTraining | Team]:
    """What trains the phases: this process, or a team of `processes`."""
    if processes == 1:
        if threads is not None:
            torch.set_num_threads(threads)
        yield training
        return
    each = threads or max(1, torch.get_num_threads() // processes)
    told = Assignment(training.candidate, training.recipe, training.data, training.seed, device, each)
    with Team(told, processes) as team:
        yield team
