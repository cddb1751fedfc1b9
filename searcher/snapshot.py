"""A study as it stands at one moment: what every view looks at, also while a search runs; no torch, no optuna."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from bhvit.device_profile import DeviceProfile
from bhvit.errors import InvalidInput
from searcher.budget import Budget, BudgetSection
from searcher.events import SearchStarted, last_start
from searcher.feasible import SpaceProfile
from searcher.front import pareto_front
from searcher.lock import Holder, holder_of
from searcher.pricing import priced
from searcher.quantities import labels_of
from searcher.ranking import ranked
from searcher.records import Outcome, TrialRecord
from searcher.space import Space
from searcher.status import SearchStatus, of_holder, read_status
from searcher.study_folder import StudyFolder


class State(StrEnum):
    """What a study as a whole is doing."""

    EMPTY = "empty"  # no trial yet, nobody at work
    RUNNING = "running"
    INTERRUPTED = "interrupted"  # the same command goes on
    DONE = "done"


@dataclass(frozen=True)
class StudySnapshot:
    """A study's space and its trials by number, what the last run was asked for, and who is at work on it.

    `status` is what is being trained, None where nobody is at work. Where the trials are looked at under another
    budget or by another device than they were run with (`under`), `as_run` is the study as it was, and `counted` the
    profile of the space within the other budget, where somebody made it.
    """

    folder: StudyFolder
    space: Space
    records: tuple[TrialRecord, ...]
    started: SearchStarted | None = None
    holder: Holder | None = None
    status: SearchStatus | None = None
    as_run: StudySnapshot | None = None
    counted: SpaceProfile | None = None

    @property
    def budget(self) -> Budget:
        """The limits that the trials are looked at under."""
        return self.space.budget

    @property
    def resliced(self) -> bool:
        """Whether the budget is another one than the study was run with."""
        return self.as_run is not None and self.as_run.budget != self.budget

    @property
    def lifted(self) -> str:
        """The limit of latency that holds on another device than the trials are seen by, in words; empty for none."""
        if self.as_run is None or self.as_run.budget.device is None or self.budget.latency is not None:
            return ""
        if self.space.device is None or self.space.device.name == self.as_run.budget.device.name:
            return ""
        return replace(self.as_run.budget, memory=None, ops=None).limits_text

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """Trained trials within the budget, best first."""
        return ranked(self.records, self.budget)

    @property
    def front_objectives(self) -> tuple[str, ...]:
        """The study's objectives; where accuracy is the only one, also all that candidates cost."""
        return self.space.front_objectives

    @property
    def front_costs(self) -> str:
        """In words what the front weighs accuracy against."""
        return labels_of(self.front_objectives[1:])

    @cached_property
    def front(self) -> list[TrialRecord]:
        """The Pareto front in `front_objectives`."""
        return pareto_front(self.ranked, Budget(), self.front_objectives)  # what is ranked is within the budget

    @cached_property
    def trained_beyond(self) -> int:
        """Trained trials that are over the budget."""
        return sum(r.outcome.trained for r in self.records) - len(self.ranked)

    @cached_property
    def done(self) -> int:
        """Trials that count against `planned`: trained within the budget of the run, whatever came of it."""
        if self.as_run is not None:
            return self.as_run.done  # by the latencies that the run knew
        return sum(r.outcome.finished and r.attempts > 0 and not self.budget.violations(r) for r in self.records)

    @cached_property
    def parents_saved(self) -> tuple[int, int]:
        """FP trainings that these trials ran, and those they were spared because a parent of equal widths existed.

        A trial that failed after its parent was trained, or while it was, ran it too.
        """
        metrics = [record.metrics for record in self.records if record.metrics is not None]
        run = sum(m.parent_trained for m in metrics)
        trained = {m.parent_key for m in metrics if m.parent_trained}
        return run + len(self.parents_left.keys() - trained), len(metrics) - run

    @cached_property
    def parents_left(self) -> dict[str, int]:
        """Key of an FP parent -> the first trial without a result that trained it, or was at that."""
        failed = (record for record in reversed(self.records) if record.metrics is None and record.attempts)
        begun = ((self.folder.begun_parent(record), record.number) for record in failed)
        return {key: number for key, number in begun if key is not None}

    @property
    def planned(self) -> int:
        """Trials that the last run was asked for (`--trials` may differ from the space file)."""
        return self.space.search.trials if self.started is None else self.started.planned

    @property
    def feasible(self) -> int | None:
        """Configurations within the budget, in a sample where the space is too large to enumerate; None if unknown."""
        return None if self._within is None else self._within.feasible

    @property
    def repeated(self) -> int:
        """Those of the `feasible` ones that are candidates of an earlier model, too."""
        return 0 if self._within is None else self._within.repeated

    @property
    def feasible_share(self) -> float | None:
        """Share of the space within the budget, estimated where it is too large to enumerate; None if unknown."""
        return None if self._within is None else self._within.share

    @property
    def _within(self) -> SpaceProfile | SearchStarted | None:
        """Who knows what is within the budget: whoever counted it for another one, else the last run."""
        return self.counted if self.resliced or self.started is None else self.started

    @property
    def goal(self) -> int:
        """Trials after which the last run ends: those planned, or all configurations within its budget."""
        return self.planned if self.started is None else self.started.goal

    @property
    def state(self) -> State:
        """What the study is doing."""
        return state_of(self.holder, len(self.records), self.done, self.goal)

    def trial(self, number: int) -> TrialRecord:
        """The trial with this number; raises `InvalidInput` saying which numbers there are."""
        for record in self.records:
            if record.number == number:
                return record
        numbers = [record.number for record in self.records]
        there = f"its trials are {numbers[0]} to {numbers[-1]}" if numbers else "it has none yet"
        raise InvalidInput(f"a trial must be one of {self.folder.path}, but there is no trial {number}; {there}.")

    def under(self, budget: BudgetSection) -> StudySnapshot:
        """The same trials looked at under another budget, without training any; what is feasible is not known then.

        Under a device that limits nothing the budget is the same one, and the trials have its latencies.
        """
        space = Space(self.space.name, replace(self.space.file, budget=budget))
        return replace(self, space=space, records=tuple(priced(space, self.records)), as_run=self.as_run or self)

    def on_device(self, device: DeviceProfile) -> StudySnapshot:
        """The same trials with latencies predicted for `device`; a limit of latency on another one is lifted."""
        budget = self.space.file.budget
        same = budget.device is not None and budget.device.name == device.name
        return self.under(replace(budget, device=device, latency=budget.latency if same else None))


def snapshot_of(folder: StudyFolder) -> StudySnapshot:
    """Read a study; raises `InvalidInput` where the folder holds none, or a damaged one."""
    holder = holder_of(folder.lock)
    records = folder.records() if holder is not None else map(left_alone, folder.records())
    status = of_holder(read_status(folder.path), holder)
    space = folder.space()
    return StudySnapshot(folder, space, tuple(priced(space, records)), last_start(folder.events), holder, status)


def state_of(holder: Holder | None, trials: int, done: int, goal: int) -> State:
    """What a study is doing that has `trials`, of which `done` count against `goal`."""
    if holder is not None:
        return State.RUNNING
    if not trials:
        return State.EMPTY
    return State.DONE if done >= goal else State.INTERRUPTED


def left_alone(record: TrialRecord) -> TrialRecord:
    """A trial of a study that nobody is at work on: if it runs by its record, its search was killed."""
    return replace(record, outcome=Outcome.INTERRUPTED) if record.outcome is Outcome.RUNNING else record
