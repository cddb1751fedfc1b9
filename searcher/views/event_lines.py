"""What happens during a search, a line an event: the same words in the live view, in log files and in `watch`."""

from __future__ import annotations

from rich.text import Text

from searcher.events import (
    EpochFinished,
    Event,
    SearchStarted,
    TrialFinished,
    TrialStarted,
    Trouble,
    WorkerLost,
)
from searcher.numbers import duration_text, percent_text
from searcher.quantities import costs_text
from searcher.space import Space
from searcher.status import WorkerStatus
from searcher.views.candidate import choices_text

PHASES = {"fp": "FP", "qat": "QAT"}


def event_line(event: Event, space: Space) -> Text:
    """An event of a search of `space` in one line, the most important of it bold."""
    if isinstance(event, SearchStarted):
        return Text(f"search started: {event.trained} of {event.planned} trials, {event.feasible:,} within the budget")
    if isinstance(event, TrialStarted):
        again = f" (start {event.attempt})" if event.attempt > 1 else ""
        return Text(f"trial {event.number}{again}: {choices_text(space, event.choices)}; {costs_text(event)}")
    if isinstance(event, EpochFinished):
        return _epoch_line(event)
    if isinstance(event, TrialFinished):
        return _finished_line(event)
    if isinstance(event, WorkerLost):
        return Text(
            f"trial {event.number} lost its worker, {event.worker} {event.message}; it goes on from its last epoch"
        )
    if isinstance(event, Trouble):
        return Text(event.message or "that is over")
    return Text(f"{event.reason}: {event.trained} of {event.planned} trials")


def position_text(worker: WorkerStatus, step: bool = False) -> str:
    """How far a worker is with its trial: `QAT epoch 3 of 5`, with its `step` too where that is asked for."""
    if not worker.epoch:
        return "starting"
    text = f"{PHASES.get(worker.phase, worker.phase)} epoch {worker.epoch}"
    text += f" of {worker.epochs}" if worker.epochs else ""
    return f"{text}, step {worker.step} of {worker.steps}" if step and worker.steps else text


def _epoch_line(event: EpochFinished) -> Text:
    epoch = event.record
    text = f"trial {event.number} {PHASES[epoch.phase]} epoch {epoch.epoch}/{epoch.epochs}"
    measured = f"Top-1 {percent_text(epoch.accuracy)}, loss {epoch.train_loss:.3f}, {duration_text(epoch.seconds)}"
    return Text(f"{text}: {measured}{f', {event.worker}' if event.worker else ''}")


def _finished_line(event: TrialFinished) -> Text:
    text = Text(f"trial {event.number} {event.outcome}")
    if event.accuracy is not None:
        text.append(f", Top-1 {percent_text(event.accuracy)}", style="bold")
    if event.message:
        text.append(f": {event.message}")
    return text
