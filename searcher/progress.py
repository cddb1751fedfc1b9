"""How far a running search is and how long it will take, from its events; no rich, no torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from searcher.events import EpochFinished, Event, SearchStarted, TrialFinished, TrialStarted, Trouble, WorkerLost
from searcher.executors.executor import Stepped
from searcher.records import EpochRecord

LEAST_SECONDS = 1.0  # of an epoch from which its speed can be told
UNKNOWN_RATIO = 1.3  # seconds of a quantized epoch over those of an FP one, until one has been measured


@dataclass
class Speed:
    """Steps a second since the first step heard of in an epoch; until a second of it has passed, as it was before."""

    steps_per_second: float | None = None
    _first: tuple[Stepped, float] | None = None

    def take(self, step: Stepped, now: float) -> None:
        """Take a step that was heard of at `now`."""
        if self._first is not None:
            first, since = self._first
            same = (step.phase, step.epoch) == (first.phase, first.epoch) and step.step > first.step
            if same and now - since >= LEAST_SECONDS:
                self.steps_per_second = (step.step - first.step) / (now - since)
            if same:
                return
        self._first = step, now


@dataclass
class RunningTrial:
    """A trial under way: how it started, at which time, its step (or none yet in this epoch) and its last epoch.

    `heard` is when its worker last said something, `memory_bytes` the peak that it last told.
    """

    started: TrialStarted
    since: float
    now: Stepped | None = None
    last: EpochRecord | None = None
    worker: str = ""
    heard: float = 0.0
    memory_bytes: float | None = None
    speed: Speed = field(default_factory=Speed)

    @property
    def position(self) -> tuple[str, float]:
        """Phase, and epochs of it that are done, fractions included."""
        if self.now is not None:
            return self.now.phase, self.now.epoch - 1 + self.now.step / self.now.steps
        if self.last is not None:
            return self.last.phase, float(self.last.epoch)
        return "qat", 0.0


@dataclass
class SearchProgress:
    """State of a search as its listener sees it.

    `fp_epochs` and `qat_epochs` are the recipe's; `clock` gives seconds. `running` has the trials under way by number,
    `best` accuracy and number of the best trial within the budget, `trouble` what the user should know.
    """

    fp_epochs: int
    qat_epochs: int
    clock: Callable[[], float] = time.monotonic
    planned: int = 0
    trained: int = 0
    feasible: int | None = None  # candidates, where they have been counted
    running: dict[int, RunningTrial] = field(default_factory=dict)
    best: tuple[float, int] | None = None
    trouble: str = ""
    _started: float | None = None
    _durations: list[float] = field(default_factory=list)
    _epoch_seconds: dict[str, float] = field(default_factory=dict)

    def on_event(self, event: Event | Stepped) -> None:
        """Take one event of the coordinator, or a training step."""
        if isinstance(event, SearchStarted):
            self.planned, self.trained = event.planned, event.trained
            self.feasible = None if event.sampled else event.feasible - event.repeated
            if event.best_accuracy is not None and event.best_number is not None:
                self.best = event.best_accuracy, event.best_number
            self._started = self.clock()
        elif isinstance(event, TrialStarted):
            self.running[event.number] = RunningTrial(event, self.clock(), heard=self.clock())
        elif isinstance(event, TrialFinished):
            self._finish(event)
        elif isinstance(event, WorkerLost):
            self.running.pop(event.number, None)
        elif isinstance(event, Trouble):
            self.trouble = event.message
        elif isinstance(event, Stepped | EpochFinished) and event.number in self.running:
            self._advance(self.running[event.number], event)

    def _advance(self, trial: RunningTrial, event: Stepped | EpochFinished) -> None:
        trial.worker, trial.heard = event.worker, self.clock()
        if isinstance(event, Stepped):
            trial.now, trial.memory_bytes = event, event.memory_bytes or trial.memory_bytes
            trial.speed.take(event, trial.heard)
        else:
            trial.last, trial.now = event.record, None
            self._epoch_seconds[event.record.phase] = event.record.seconds

    def _finish(self, event: TrialFinished) -> None:
        self.trained, self.planned = event.trained, event.planned
        trial = self.running.pop(event.number, None)
        if trial is not None:
            self._durations.append(self.clock() - trial.since)
        if event.accuracy is None or not event.within:
            return
        if self.best is None or event.accuracy > self.best[0]:
            self.best = (event.accuracy, event.number)

    @property
    def begun(self) -> bool:
        """Whether this run of the search has begun, from when on it is known how many trials there will be."""
        return self._started is not None

    @property
    def elapsed(self) -> float:
        """Seconds since this run of the search began; none before."""
        return 0.0 if self._started is None else self.clock() - self._started

    @property
    def remaining(self) -> float | None:
        """Estimated seconds to the last trial; None until an epoch has been timed.

        Running trials from their epochs, those after them as the mean of those finished in this run, shared by as many
        workers as are busy now. Which of them will find their FP parent and which must train it is not known, so the
        estimate can jump either way.
        """
        left = [self._remaining_of(trial) for trial in self.running.values()]
        known = [seconds for seconds in left if seconds is not None]
        goal = self.planned if self.feasible is None else min(self.planned, self.feasible)
        others = max(0, goal - self.trained - len(self.running))
        if self._durations:
            each = sum(self._durations) / len(self._durations)
        elif known:
            since = min(trial.since for trial in self.running.values())
            each = self.clock() - since + sum(known) / len(known)
        else:
            return None
        work = others * each + sum(each if seconds is None else seconds for seconds in left)
        return max(0.0, work / max(1, len(left)))

    def _remaining_of(self, trial: RunningTrial) -> float | None:
        if not self._epoch_seconds:
            return None
        fp = self._epoch_seconds.get("fp")
        qat = self._epoch_seconds.get("qat", (fp or 0.0) * UNKNOWN_RATIO)
        phase, done = trial.position
        if phase == "fp" and fp is not None:
            return (self.fp_epochs - done) * fp + self.qat_epochs * qat
        return (self.qat_epochs - done) * qat
