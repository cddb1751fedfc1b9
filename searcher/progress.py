"""How far a running search is and how long it will take, from its events; no rich, no torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from searcher.events import EpochFinished, Event, SearchStarted, TrialFinished, TrialStarted
from searcher.records import EpochRecord

UNKNOWN_RATIO = 1.3  # seconds of a quantized epoch over those of an FP one, until one has been measured


@dataclass
class SearchProgress:
    """State of a search as its listener sees it.

    `fp_epochs` and `qat_epochs` are the recipe's; `clock` gives seconds. `now` is the epoch that is being trained:
    phase, epoch from 1, step from 1 and steps.
    """

    fp_epochs: int
    qat_epochs: int
    clock: Callable[[], float] = time.monotonic
    planned: int = 0
    trained: int = 0
    feasible: int = 0
    trial: TrialStarted | None = None
    now: tuple[str, int, int, int] | None = None
    last: EpochRecord | None = None
    best: tuple[float, int] | None = None
    finished: list[TrialFinished] = field(default_factory=list)
    _started: float = 0.0
    _trial_started: float = 0.0
    _durations: list[float] = field(default_factory=list)
    _epoch_seconds: dict[str, float] = field(default_factory=dict)

    def on_event(self, event: Event) -> None:
        """Take one event of the coordinator."""
        if isinstance(event, SearchStarted):
            self.planned, self.trained, self.feasible = event.planned, event.trained, event.feasible
            self._started = self.clock()
        elif isinstance(event, TrialStarted):
            self.trial, self.now, self.last = event, None, None
            self._trial_started = self.clock()
        elif isinstance(event, EpochFinished):
            self.last, self.now = event.record, None
            self._epoch_seconds[event.record.phase] = event.record.seconds
        elif isinstance(event, TrialFinished):
            self._finish(event)

    def on_step(self, phase: str, epoch: int, step: int, steps: int) -> None:
        """Take one training step of the running trial."""
        self.now = (phase, epoch, step, steps)

    def _finish(self, event: TrialFinished) -> None:
        self.trained, self.planned = event.trained, event.planned
        self.finished.append(event)
        if self.trial is not None:
            self._durations.append(self.clock() - self._trial_started)
        if event.accuracy is not None and (self.best is None or event.accuracy > self.best[0]):
            self.best = (event.accuracy, event.number)
        self.trial = self.now = None

    @property
    def elapsed(self) -> float:
        """Seconds since this run of the search began."""
        return self.clock() - self._started

    @property
    def remaining(self) -> float | None:
        """Estimated seconds to the last trial; None until an epoch has been timed.

        The running trial from its epochs, the trials after it as the mean of those finished in this run. Which of them
        will find their FP parent and which must train it is not known, so the estimate can jump either way.
        """
        running = self._remaining_of_trial()
        others = self.planned - self.trained - (self.trial is not None)
        if self._durations:
            each = sum(self._durations) / len(self._durations)
        elif running is not None:
            each = self.clock() - self._trial_started + running
        else:
            return None
        return max(0.0, others * each + (running if running is not None else each * (self.trial is not None)))

    def _remaining_of_trial(self) -> float | None:
        if self.trial is None or not self._epoch_seconds:
            return None
        fp = self._epoch_seconds.get("fp")
        qat = self._epoch_seconds.get("qat", (fp or 0.0) * UNKNOWN_RATIO)
        phase, done = self._position()
        if phase == "fp" and fp is not None:
            return (self.fp_epochs - done) * fp + self.qat_epochs * qat
        return (self.qat_epochs - done) * qat

    def _position(self) -> tuple[str, float]:
        """Phase, and epochs of it that are done, fractions included."""
        if self.now is not None:
            phase, epoch, step, steps = self.now
            return phase, epoch - 1 + step / steps
        if self.last is not None:
            return self.last.phase, float(self.last.epoch)
        return "qat", 0.0
