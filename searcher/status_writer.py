"""Writes down what a search is doing, for those who watch it; the coordinator tells it everything that happens."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from searcher.events import Event
from searcher.executors.executor import Stepped
from searcher.progress import RunningTrial, SearchProgress
from searcher.space import Space
from searcher.status import STATUS_FILE, SearchStatus, WorkerStatus

WRITE_SECONDS = 1.0  # between two writes


class StatusWriter:
    """Keeps `status.json` of the study in `folder` up to date while it is searched.

    Nothing depends on the file: it is replaced whole but not synced, and one that cannot be written (a full disk) is
    left as it was. `remaining` and speeds are told where the space has a recipe.
    """

    def __init__(self, folder: Path, space: Space) -> None:
        fp, qat = (0, 0) if space.recipe is None else (space.recipe.fp.epochs, space.recipe.qat.epochs)
        self._path = folder / STATUS_FILE
        self._recipe, self._progress = space.recipe, SearchProgress(fp, qat)
        self._written = -WRITE_SECONDS
        self.remove()  # what a killed search left

    def take(self, event: Event | Stepped) -> None:
        """Note what happened."""
        self._progress.on_event(event)

    def write(self) -> None:
        """Write the file, unless that was done just now."""
        now = time.monotonic()
        if now - self._written < WRITE_SECONDS:
            return
        self._written = now
        partial = self._path.with_name(f".{STATUS_FILE}.partial")
        with suppress(OSError):
            partial.write_text(json.dumps(asdict(self.status())), encoding="utf-8")
            partial.replace(self._path)

    def remove(self) -> None:
        """Remove the file: nobody is at work any more."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def status(self) -> SearchStatus:
        """What the search is doing now."""
        progress = self._progress
        workers = tuple(self._worker(number, trial) for number, trial in progress.running.items())
        remaining = None if self._recipe is None else progress.remaining
        return SearchStatus(time.time(), remaining, progress.trouble, workers)

    def _worker(self, number: int, trial: RunningTrial) -> WorkerStatus:
        step, speed = trial.now, trial.speed.steps_per_second
        phase, _ = trial.position if step or trial.last else ("", 0.0)
        epoch = trial.last if trial.last is not None and trial.last.phase == phase else None
        return WorkerStatus(
            worker=trial.worker,
            number=number,
            phase=phase,
            epoch=step.epoch if step else epoch.epoch if epoch else 0,
            epochs=epoch.epochs if epoch else self._epochs(phase),
            step=step.step if step else 0,
            steps=step.steps if step else 0,
            heard=time.time() - (self._progress.clock() - trial.heard),
            accuracy=epoch.accuracy if epoch else None,
            loss=epoch.train_loss if epoch else None,
            images_per_second=speed * self._recipe.batch_size if speed and self._recipe else None,
            memory_bytes=trial.memory_bytes,
        )

    def _epochs(self, phase: str) -> int:
        """Epochs of a phase by the recipe; 0 where that is not known."""
        if not phase or self._recipe is None:
            return 0
        return (self._recipe.fp if phase == "fp" else self._recipe.qat).epochs
