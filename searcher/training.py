"""The training loop: one for both phases, resumable after every epoch to the same bits on the CPU."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from bhvit import global_batch
from bhvit.checkpoint import save_weights
from bhvit.errors import InvalidInput
from bhvit.quantizers.first_batch import all_done
from searcher.checkpoint_files import BEST, LAST
from searcher.checkpoints import TrainingState, load_state, save_state, stored_best
from searcher.datasets.batches import EvaluationImages, TrainingBatches
from searcher.devices import memory_exhaustion_named, mixed_precision
from searcher.evaluation import evaluate
from searcher.losses import LossShares, combined_loss, loss_shares
from searcher.outcomes import Diverged
from searcher.randomness import after_restarts, derive_seed, global_generators_restored, seed_everything
from searcher.ranks import ALONE, Ranks
from searcher.recipe import Phase, TrainingRecipe
from searcher.records import EpochRecord, Evaluation

FINITE_CHECK_STEPS = 20  # looking at the loss more often would make a GPU wait
MOST_RESTARTS = 1  # of a phase whose loss was not finite
Weights = Mapping[str, Tensor]
Report = Callable[[EpochRecord], bool]
Progress = Callable[[str, int, int, int], None]
Regularizer = Callable[[], Tensor]


@dataclass(frozen=True)
class PhaseRun:
    """One phase of one training: what it does, where, with whom, and under which key its checkpoints are filed.

    `name` is `fp` or `qat`. `directory` gets `last.safetensors` (all that a restart needs, after every epoch) and
    `best.safetensors` (the weights of the epoch with the best validation accuracy).
    """

    name: str
    phase: Phase
    recipe: TrainingRecipe
    seed: int
    key: str
    directory: Path
    device: torch.device
    ranks: Ranks = ALONE


@dataclass(frozen=True)
class Objective:
    """The optional terms of the loss: a frozen teacher's logits from images, and the weight regulariser."""

    teacher: nn.Module | None = None
    regularizer: Regularizer | None = None


@dataclass(frozen=True)
class PhaseImages:
    """What a phase sees: augmented training batches and the validation split."""

    train: TrainingBatches
    val: EvaluationImages
    classes: tuple[str, ...]


def train_phase(
    model: nn.Module,
    run: PhaseRun,
    images: PhaseImages,
    objective: Objective,
    report: Report,
    progress: Progress | None = None,
) -> TrainingState:
    """Train `model` for the run's phase, from its last finished epoch on; returns the history.

    `report` is called after every epoch and, on a restart, again for the finished ones; true ends the phase.
    `progress(phase name, epoch from 1, step from 1, steps)` is called after every step. Of several processes
    (`run.ranks`) that call this with equal models the first one validates, writes and is asked; all return the same.
    A loss that is not finite takes the phase back to its last finished epoch, or its start, to go on with other random
    numbers: once, also over kills. Raises `Diverged` where it happens again, `OutOfMemory`, or `InvalidInput` for a
    checkpoint that is damaged or of another training.
    """
    if run.recipe.compile:
        model.compile(options={"fallback_random": True})  # in place: names of parameters stay; draws as uncompiled
    optimizer = adamw(model, run.phase, run.recipe)
    schedule = cosine_schedule(optimizer, run.phase, run.recipe, len(images.train))
    state = _resumed(model, optimizer, run)
    start = {} if state.history else _copied(model)
    stop = False
    for record in state.history:
        stop = run.ranks.agreed(report(record))
    with global_generators_restored(), memory_exhaustion_named(run.device, f"training phase {run.name}"):
        while not stop and len(state.history) < run.phase.epochs:
            epoch = len(state.history)
            try:
                record = _epoch(model, optimizer, schedule, run, images, objective, epoch, state.restarts, progress)
            except Diverged as error:
                state = _taken_back(model, optimizer, run, state, start, error)
                continue
            record = run.ranks.agreed(record)  # the times differ
            state = dataclasses.replace(state, history=(*state.history, record))
            _save_last(model, optimizer, run, state)
            if state.best == record:
                _save_best(model, run, record)
            stop = run.ranks.agreed(report(record))
    return state


def adamw(model: nn.Module, phase: Phase, recipe: TrainingRecipe) -> torch.optim.Optimizer:
    """Timm's AdamW: no weight decay on vectors, biases and what the model's `no_weight_decay()` names."""
    return create_optimizer_v2(
        model, opt="adamw", lr=phase.learning_rate, weight_decay=recipe.weight_decay, fused=recipe.fused_optimizer
    )


def cosine_schedule(
    optimizer: torch.optim.Optimizer, phase: Phase, recipe: TrainingRecipe, steps_per_epoch: int
) -> CosineLRScheduler:
    """Timm's cosine with linear warm-up, counted in epochs or in steps as the recipe says; a function of time alone."""
    unit = 1 if recipe.schedule == "epoch" else steps_per_epoch
    return CosineLRScheduler(
        optimizer,
        t_initial=max(2, phase.epochs * unit),  # the rate at time 0, all there is of length 1, is the same for 2
        lr_min=phase.min_learning_rate,
        warmup_t=phase.warmup_epochs * unit,
        warmup_lr_init=phase.warmup_learning_rate,
        t_in_epochs=recipe.schedule == "epoch",
    )


def _resumed(model: nn.Module, optimizer: torch.optim.Optimizer, run: PhaseRun) -> TrainingState:
    path = run.directory / LAST
    if not path.exists():
        return TrainingState(run.key)
    state = load_state(path, model, optimizer, run.key)
    best = state.best
    if best is not None and stored_best(run.directory / BEST) != best.epoch:
        if best.epoch != len(state.history):
            raise InvalidInput(
                f"{run.directory / BEST} must hold the weights of epoch {best.epoch}, but it does not; restore it, or "
                f"delete {LAST} beside it to train this phase again."
            )
        _save_best(model, run, best)  # the process ended between writing the two files
    return state


def _taken_back(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    run: PhaseRun,
    state: TrainingState,
    start: Weights,
    error: Diverged,
) -> TrainingState:
    """Give `model` and `optimizer` what they had after the last finished epoch, or at the `start`, and count that.

    The count is on disk before the phase goes on: a kill does not grant another restart.
    """
    if state.restarts == MOST_RESTARTS:
        raise Diverged(f"{error}, after a restart with other random numbers") from error
    if state.history:
        load_state(run.directory / LAST, model, optimizer, run.key)
    else:
        model.load_state_dict(start)
        optimizer.state.clear()
    state = dataclasses.replace(state, restarts=state.restarts + 1)
    run.ranks.agreed(None)  # none writes what another one still reads
    _save_last(model, optimizer, run, state)
    return state


def _copied(model: nn.Module) -> Weights:
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}


def _save_last(model: nn.Module, optimizer: torch.optim.Optimizer, run: PhaseRun, state: TrainingState) -> None:
    if run.ranks.first:
        save_state(run.directory / LAST, model, optimizer, state)


def _save_best(model: nn.Module, run: PhaseRun, record: EpochRecord) -> None:
    if not run.ranks.first:
        return
    metadata = {"key": run.key, "epoch": str(record.epoch), "accuracy": repr(record.accuracy)}
    save_weights(model, run.directory / BEST, metadata)


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Scheduler,
    run: PhaseRun,
    images: PhaseImages,
    objective: Objective,
    epoch: int,
    restarts: int,
    progress: Progress | None,
) -> EpochRecord:
    """Train and validate epoch `epoch` (from 0)."""
    start = time.perf_counter()
    shares = loss_shares(
        run.recipe.loss,
        epoch=epoch,
        epochs=run.phase.epochs,
        distils=objective.teacher is not None,
        regularizes=objective.regularizer is not None,
    )
    train_loss = _train(model, optimizer, schedule, run, images.train, objective, shares, epoch, restarts, progress)
    val = run.ranks.agreed(_validate(model, run, images) if run.ranks.first else None)
    assert val is not None
    if not math.isfinite(val.loss):
        raise Diverged(f"the validation loss of phase {run.name} became {val.loss} in epoch {epoch + 1}")
    return EpochRecord(
        phase=run.name,
        epoch=epoch + 1,
        epochs=run.phase.epochs,
        train_loss=train_loss,
        val_loss=val.loss,
        accuracy=val.accuracy,
        seconds=time.perf_counter() - start,
    )


def _validate(model: nn.Module, run: PhaseRun, images: PhaseImages) -> Evaluation:
    with _uncompiled(run.recipe):
        return evaluate(model, images.val.batches(run.device), images.classes, "val", run.device, run.recipe.amp)


def _uncompiled(recipe: TrainingRecipe) -> AbstractContextManager[object]:
    return torch.compiler.set_stance("force_eager") if recipe.compile else nullcontext()


def _train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Scheduler,
    run: PhaseRun,
    batches: TrainingBatches,
    objective: Objective,
    shares: LossShares,
    epoch: int,
    restarts: int,
    progress: Progress | None,
) -> float:
    """All optimizer steps of one epoch; returns the mean loss."""
    model.train()
    averaging = run.ranks.averaging(model, run.device)
    random_key = after_restarts((run.seed, run.name), restarts)
    ready = all_done(model)  # the first batch of all sets parameters, which is not worth compiling
    total = torch.zeros((), device=run.device)
    schedule.step(epoch)  # of the two, the one that the recipe's schedule does not use has no effect
    for step, (pixels, targets) in enumerate(batches.epoch(epoch, restarts)):
        schedule.step_update(epoch * len(batches) + step)
        seed_everything(derive_seed(*random_key, "step", epoch, step), run.device)
        optimizer.zero_grad(set_to_none=True)
        with global_batch.divided(run.ranks.rank, run.ranks.count), nullcontext() if ready else _uncompiled(run.recipe):
            loss = _loss(averaging, run, objective, shares, pixels, targets)
            loss.backward()
        ready = True
        optimizer.step()
        total += loss.detach()
        last = step + 1 == len(batches)
        if last or (step + 1) % FINITE_CHECK_STEPS == 0:
            mean_total = run.ranks.mean(total).item()
            if not math.isfinite(mean_total):
                raise Diverged(
                    f"the training loss of phase {run.name} became NaN or infinite by step {step + 1} of epoch "
                    f"{epoch + 1}"
                )
        if progress is not None:
            progress(run.name, epoch + 1, step + 1, len(batches))
    return mean_total / len(batches)


def _loss(
    model: nn.Module, run: PhaseRun, objective: Objective, shares: LossShares, pixels: Tensor, targets: Tensor
) -> Tensor:
    teacher_logits = None
    with mixed_precision(run.device, run.recipe.amp):
        if objective.teacher is not None and shares.distillation:
            with torch.no_grad():
                teacher_logits = objective.teacher(pixels)
        logits = model(pixels)
    regularizer = objective.regularizer() if objective.regularizer is not None and shares.regularizer else None
    return combined_loss(shares, logits, targets, teacher_logits, regularizer)
