"""All that is known of one trial: place in the study, curve, who trained it when, files; no rich, no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from bhvit.cost import CostReport
from searcher.charts.chart import Chart
from searcher.charts.curves import curves_chart, curves_figure
from searcher.events import EpochFinished, TrialEvent, TrialFinished, TrialStarted, WorkerLost, events_of_trial
from searcher.file_checks import parents_of
from searcher.model_space import MODEL
from searcher.records import EpochRecord, Evaluation, Outcome, TrialRecord
from searcher.snapshot import State, StudySnapshot
from searcher.status import WorkerStatus

CRASH_FILE = "crash.txt"


@dataclass(frozen=True)
class Attempt:
    """One start of a trial: from `started` to `ended` (seconds since 1970), by `worker`, with the epochs it added.

    `ended` is the last sign of life where nobody said that it ended, None where it is under way; `end` says how it
    ended.
    """

    number: int
    started: float
    ended: float | None
    worker: str
    epochs: int
    end: str

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it is under way."""
        return None if self.ended is None else self.ended - self.started


@dataclass(frozen=True)
class BudgetShare:
    """How much of a limited quantity (memory in bytes, ops, latency in seconds) a trial uses."""

    quantity: str
    used: float
    limit: float

    @property
    def share(self) -> float:
        """Used of the limit; above 1 where it is over."""
        return self.used / self.limit

    @property
    def left(self) -> float:
        """What is left; negative where the trial is over the limit."""
        return self.limit - self.used


@dataclass(frozen=True)
class TrialReport:
    """A trial as it stands in its study. `epochs` are those that it trained itself, also while it runs."""

    snapshot: StudySnapshot
    record: TrialRecord
    attempts: tuple[Attempt, ...]
    epochs: tuple[EpochRecord, ...]
    files: tuple[tuple[Path, int], ...]
    parent_files: tuple[tuple[Path, int], ...]
    test: Evaluation | None
    crash: str

    @cached_property
    def cost(self) -> CostReport:
        """Cost layer by layer in the study's accounting, on its device."""
        return self.snapshot.space.cost_of(self.record.candidate)

    @property
    def shares(self) -> tuple[BudgetShare, ...]:
        """What it uses of each limit of the budget."""
        budget = self.snapshot.budget
        return tuple(BudgetShare(q, used, budget.limits[q]) for q, used in budget.used(self.record).items())

    @cached_property
    def rank(self) -> int | None:
        """Place among the trained trials within the budget, from 1; None where it is not among them."""
        numbers = [record.number for record in self.snapshot.ranked]
        return numbers.index(self.record.number) + 1 if self.record.number in numbers else None

    @property
    def better(self) -> TrialRecord | None:
        """The trial that is ranked just before it."""
        return None if self.rank is None or self.rank == 1 else self.snapshot.ranked[self.rank - 2]

    @property
    def on_front(self) -> bool:
        """Whether it is on the study's Pareto front."""
        return any(record is self.record for record in self.snapshot.front)

    @cached_property
    def curves(self) -> Chart | None:
        """Validation accuracy by epoch in both phases, so far where it is under way; None before the first epoch."""
        if self.record.metrics is not None:
            panels = curves_figure(self.snapshot, [self.record]).panels
            return next((replace(panel, title="") for panel in panels if isinstance(panel, Chart)), None)
        return curves_chart(self.epochs, title="") if self.epochs else None

    @cached_property
    def parent_trial(self) -> int | None:
        """The trial of this study that trained the FP parent; None where none is known to have done so."""
        if self.record.metrics is None:
            return None
        key = self.record.metrics.parent_key
        for record in self.snapshot.records:
            its = record.metrics
            if its is not None and its.parent_trained and its.parent_key == key:
                return record.number
        return self.snapshot.parents_left.get(key)

    @property
    def worker(self) -> WorkerStatus | None:
        """What its worker does right now, where one is at work on it."""
        status = self.snapshot.status
        workers = () if status is None or self.record.outcome.finished else status.workers
        return next((worker for worker in workers if worker.number == self.record.number), None)

    @property
    def again(self) -> list[str]:
        """The arguments of the command that trains the same candidate by the same recipe and seed, as another study."""
        folder, space = self.snapshot.folder.path, self.snapshot.space
        here = folder.resolve()
        choices = self.record.choices
        own = space.model_of(choices).variables
        model = [MODEL] if space.mixed else []
        other = model + [v.name for v in own if choices[v.name] != v.default] or [v.name for v in own[:1]]
        settings = [word for name in other for word in ("--set", f"{name}={choices[name]}")]
        beside = str(folder.parent) if folder.name else os.path.relpath(here.parent)  # where the FP parents are
        runs = [] if here.parent == Path("runs").resolve() else ["--runs", beside]
        study = ["--study", f"{here.name}-trial{self.record.number}"]
        return ["train", str(self.snapshot.folder.space_file), *settings, *study, *runs]


def trial_report(snapshot: StudySnapshot, number: int) -> TrialReport:
    """Gather what is known of trial `number`; raises `InvalidInput` where there is none."""
    record = snapshot.trial(number)
    events = list(events_of_trial(snapshot.folder.events, number))
    if record.metrics is not None:
        epochs = record.metrics.epochs
    else:
        epochs = tuple(event.record for _, event in events if isinstance(event, EpochFinished))
    place = snapshot.folder.trial(record)
    crash = place / CRASH_FILE
    return TrialReport(
        snapshot,
        record,
        tuple(_attempts(events, running=snapshot.state is State.RUNNING and record.outcome is Outcome.RUNNING)),
        epochs,
        _files(place),
        tuple(file for folder in parents_of(snapshot.folder, [record]) for file in _files(_from_here(folder))),
        snapshot.folder.test_result(record),
        crash.read_text(encoding="utf-8", errors="replace") if crash.exists() else "",
    )


def _attempts(events: Sequence[tuple[float, TrialEvent]], running: bool) -> Iterator[Attempt]:
    """The starts in a trial's events; only the last one can be `running`."""
    attempt: Attempt | None = None
    last = 0.0  # sign of life
    for time, event in events:
        if isinstance(event, TrialStarted):
            if attempt is not None:
                yield replace(attempt, ended=last, end="the search was killed")
            attempt = Attempt(event.attempt, time, None, "", 0, "")
        elif attempt is not None and isinstance(event, EpochFinished):
            attempt = replace(attempt, worker=event.worker or attempt.worker, epochs=attempt.epochs + 1)
        elif attempt is not None and isinstance(event, WorkerLost):
            yield replace(attempt, ended=time, worker=event.worker, end=f"lost its worker, which {event.message}")
            attempt = None
        elif attempt is not None and isinstance(event, TrialFinished):
            yield replace(attempt, ended=time, end=str(event.outcome))
            attempt = None
        last = time
    if attempt is not None:
        yield attempt if running else replace(attempt, ended=last, end="the search was killed")


def _from_here(folder: Path) -> Path:
    """The folder relative to where the user is, where it is below that."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _files(folder: Path) -> tuple[tuple[Path, int], ...]:
    """The files in a folder with their sizes in bytes; those that vanish meanwhile are left out."""
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file():
                found.append((path, path.stat().st_size))
        except OSError:
            continue
    return tuple(found)
