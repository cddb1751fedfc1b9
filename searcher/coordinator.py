"""The search: proposes candidates, has them trained by an executor, and alone writes the study; no torch here.

The trials' records are the truth; the Optuna study mirrors them. A record is on disk before anybody else knows of the
trial, so whatever is killed at whatever moment, the next start finds which trials have ended and which go on.

How a search ends does not depend on time: proposals (`searcher.proposals`) and the rule that stops trials early see
only the trials below a horizon, which have ended.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from bhvit.errors import InvalidInput
from searcher import outcomes
from searcher.events import (
    EpochFinished,
    Event,
    EventLog,
    Listener,
    SearchEnded,
    SearchStarted,
    TrialFinished,
    TrialStarted,
    Trouble,
    WorkerLost,
)
from searcher.executors.executor import (
    EpochDone,
    Executor,
    Failed,
    Message,
    Stepped,
    Trained,
    TrialJob,
    WorkerDied,
)
from searcher.feasible import FeasibleSet, feasible_set
from searcher.files import write_text
from searcher.lock import InUse, hold
from searcher.proposals import Proposals
from searcher.pruning import comparable
from searcher.ranking import metrics_of, ranked
from searcher.records import EpochRecord, Outcome, TrialRecord
from searcher.space import Space
from searcher.status_writer import StatusWriter
from searcher.study_folder import StudyFolder
from searcher.trial_table import SEARCH_PHASE, TrialTable

if TYPE_CHECKING:
    from searcher.study_mirror import StudyMirror

CRASHES_ALLOWED = 3  # in a row
DEATHS_ALLOWED = 5  # of a trial's workers in a row, without a new epoch in between, since the search was started
LOCK_SECONDS = 1.0  # until a predecessor that was just killed is gone, or somebody who looked at the lock
WAIT_SECONDS = 1.0  # for a message, between two looks at the executor's slots
ENDING_ERRORS = {kind.__name__: kind for kind in (InvalidInput, outcomes.MissingData, outcomes.StorageFailed)}
FAILURES = {
    outcomes.Diverged.__name__: Outcome.DIVERGED,
    outcomes.OutOfMemory.__name__: Outcome.OUT_OF_MEMORY,
    MemoryError.__name__: Outcome.OUT_OF_MEMORY,
}


class Ended(StrEnum):
    """Why a search returned."""

    DONE = "all trials done"
    EXHAUSTED = "every feasible configuration tried"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class SearchSummary:
    """State of the study when the search returned: `trained` of `planned` trials, and every trial's record.

    `trouble` says what could not be written to the study's database, which the next start makes up for.
    """

    ended: Ended
    planned: int
    trained: int
    feasible: int
    records: tuple[TrialRecord, ...]
    trouble: str | None = None


@dataclass
class _Running:
    """A trial under way: its curve in phase 2, whether it may be training its FP parent, and the last verdict."""

    record: TrialRecord
    curve: list[float] = field(default_factory=list)
    in_parent: bool = True
    stopped: bool = False


def run_search(
    space: Space,
    folder: Path,
    executor: Executor,
    *,
    listener: Listener | None = None,
    trials: int | None = None,
    storage: str | None = None,
) -> SearchSummary:
    """Search `space` until `trials` (default: the space's) candidates have been trained, over all restarts.

    Failed trainings count; enqueued points over the budget (never trained) and trials beyond a budget that was lowered
    since do not. A study in `folder` is continued. Ends the executor. `storage` is the URL of the database that mirrors
    the study (default: a file in `folder`). A training that raises `Diverged` or `OutOfMemory` is recorded;
    `InvalidInput` (missing data, a full disk) ends the search and leaves the trial to be repeated; other exceptions are
    recorded as crashes, of which three in a row end the search; a trial whose worker dies goes on with another one.
    Raises `InvalidInput` where nothing is within the budget, the folder is in use or belongs to another space, or its
    database cannot be used. Ctrl-C returns a summary; the trials go on at the next start.
    """
    from searcher.study_mirror import open_mirror  # loads optuna, a quarter second that `--help` need not wait for

    try:
        feasible = feasible_set(space)
        if not len(feasible):
            scope = f"none of {feasible.examined} sampled" if feasible.sampled else f"none of {space.size}"
            raise InvalidInput(f"{scope} configurations is within the budget, {space.budget}; raise it or add choices.")
        place = StudyFolder(Path(folder))
        place.prepare()
        with hold(place.lock, patience=LOCK_SECONDS):
            place.claim(space)
            table = TrialTable(space, place)
            planned = space.search.trials if trials is None else trials
            with open_mirror(place, space, storage) as mirror:
                summary = Coordinator(space, feasible, table, executor, mirror, planned, listener).run()
            return replace(summary, trouble=mirror.trouble)
    finally:
        executor.close()


class Coordinator:
    """One run of a search over a study whose folder is locked; see `run_search`."""

    def __init__(
        self,
        space: Space,
        feasible: FeasibleSet,
        table: TrialTable,
        executor: Executor,
        mirror: StudyMirror,
        planned: int,
        listener: Listener | None,
    ) -> None:
        self.space, self.feasible, self.table, self.folder = space, feasible, table, table.folder
        self.proposals = Proposals(space, feasible, table)
        self.executor, self.mirror, self.planned, self.listener = executor, mirror, planned, listener
        self.status = StatusWriter(self.folder.path, space)
        self.log = EventLog(self.folder.events, self._tell, {record.number for record in table.unfinished})
        self.running: dict[int, _Running] = {}
        self.deaths: dict[int, int] = {}
        self.crashes = 0
        self.trouble: str | None = None

    def run(self) -> SearchSummary:
        """Finish what was begun, then train until enough are trained or nothing is left."""
        feasible, table = self.feasible, self.table
        best = next(iter(ranked(table, self.space.budget)), None)
        self.log.append(
            SearchStarted(
                self.planned,
                table.trained,
                len(feasible) + feasible.repeated,
                feasible.size,
                feasible.sampled,
                feasible.share,
                repeated=feasible.repeated,
                best_number=None if best is None else best.number,
                best_accuracy=None if best is None else metrics_of(best).accuracy,
            )
        )
        self.mirror.bring_up_to_date(list(table))
        try:
            ended = self._search()
        except BaseException as error:
            self._interrupt(_line(error))
            if not isinstance(error, KeyboardInterrupt):
                raise
            ended = Ended.INTERRUPTED
        finally:
            self.status.remove()
        self.log.append(SearchEnded(str(ended), table.trained, self.planned))
        return SearchSummary(ended, self.planned, table.trained, len(feasible), tuple(table))

    def _search(self) -> Ended:
        for record in self.table.unfinished:
            if not record.attempts:
                self._refuse(record)  # proposed under a budget that was lowered since
        while True:
            self._propose_ahead()
            self._dispatch()
            if not self.running:
                return Ended.EXHAUSTED if self.proposals.exhausted else Ended.DONE
            while True:
                self.status.write()
                message = self.executor.next_message(WAIT_SECONDS)
                self._tell_trouble()
                if message is None or self._take(message):
                    break  # something may have to be proposed or dispatched

    def _propose_ahead(self) -> None:
        """Propose as many trials as may be known by now, and as are wanted."""
        while self.table.trained + len(self.table.unfinished) < self.planned:
            record = self.proposals.next()
            if record is None:
                return
            if not self._refuse(record):
                self.table.store(record)  # the moment in which the trial exists
                self.mirror.begin(record)

    def _refuse(self, record: TrialRecord) -> bool:
        """Finish a trial over the budget without training it; whether it is."""
        violations = self.space.budget.violations(record)
        if violations:
            self.mirror.begin(record)
            self._finish(replace(record, outcome=Outcome.OVER_BUDGET, message="; ".join(map(str, violations))))
        return bool(violations)

    def _dispatch(self) -> None:
        """Hand waiting trials to free workers, by number; one whose parent is being trained by another trial waits."""
        unfinished = self.table.unfinished
        begun = self.table.trained + sum(record.attempts > 0 for record in unfinished)
        for record in unfinished:
            if len(self.running) >= self.executor.slots:
                return
            wanted = record.attempts > 0 or begun < self.planned  # proposed by a run that was asked for more trials
            if wanted and record.number not in self.running and not self._parent_is_busy(record):
                begun += not record.attempts
                self._start(record)

    def _parent_is_busy(self, record: TrialRecord) -> bool:
        parent = record.candidate.parent.id
        return any(r.in_parent and r.record.candidate.parent.id == parent for r in self.running.values())

    def _start(self, record: TrialRecord) -> None:
        record = self.table.store(replace(record, outcome=Outcome.RUNNING, attempts=record.attempts + 1, message=""))
        self.running[record.number] = _Running(record)
        self.log.append(
            TrialStarted(
                record.number,
                record.attempts,
                record.candidate.id,
                record.choices,
                record.memory_bytes,
                record.ops,
                self.table.trained,
                self.planned,
                record.latency_seconds,
            )
        )
        self.executor.submit(
            TrialJob(record.number, record.candidate, self.folder.trial(record).resolve(), record.attempts)
        )

    def _take(self, message: Message) -> bool:
        """Act on a message; whether trials may have to be proposed or dispatched now."""
        running = self.running.get(message.number)
        if running is None:
            return False
        if isinstance(message, Stepped):
            self._tell(message)
            return self._passed_parent(running, message.phase)
        if isinstance(message, EpochDone):
            return self._take_epoch(running, message)
        del self.running[message.number]
        record = replace(running.record, worker=message.worker)
        if isinstance(message, Trained):
            outcome = Outcome.STOPPED if running.stopped else Outcome.COMPLETE
            self._finish(replace(record, outcome=outcome, metrics=message.metrics))
        elif isinstance(message, WorkerDied):
            self._lose_worker(record, message)
        else:
            self._fail(record, message)
        return True

    def _take_epoch(self, running: _Running, message: EpochDone) -> bool:
        """Note an epoch and answer whether the trial's learning curve is worth another one."""
        number, epoch = message.number, message.record
        if epoch.phase == SEARCH_PHASE:
            running.curve.append(epoch.accuracy)
            running.stopped = self._stops(running, epoch)
            self.mirror.report(number, epoch.epoch, epoch.accuracy)
        if not self.log.has_epoch(number, epoch):
            self.deaths.pop(number, None)
            self.log.append(EpochFinished(number, epoch, message.worker))
        self.executor.answer(number, running.stopped)
        return self._passed_parent(running, epoch.phase)

    def _stops(self, running: _Running, epoch: EpochRecord) -> bool:
        record, search = running.record, self.space.search
        if epoch.epoch >= epoch.epochs:
            return False
        earlier = self.table.results(record.horizon)
        rivals = comparable(earlier, record, search.objectives)
        return search.pruner.stops(record.number, running.curve, epoch.epochs, rivals)

    def _passed_parent(self, running: _Running, phase: str) -> bool:
        """Whether others that wait for the trial's FP parent can go on from now."""
        passed = running.in_parent and phase == SEARCH_PHASE
        running.in_parent = running.in_parent and not passed
        return passed

    def _finish(self, record: TrialRecord) -> None:
        """Store how a trial ended; every later step can be repeated from the record."""
        self.table.store(record)
        self.mirror.finish(record)
        accuracy = None if record.metrics is None else record.metrics.accuracy
        self.log.append(
            TrialFinished(
                record.number,
                record.outcome,
                accuracy,
                record.message,
                self.table.trained,
                self.planned,
                within=not self.space.budget.violations(record),
            )
        )
        if record.outcome is not Outcome.OVER_BUDGET:
            self._count_crashes(record)

    def _fail(self, record: TrialRecord, failed: Failed) -> None:
        """Record a training that raised; what is not the training's fault is raised here instead."""
        if failed.kind == KeyboardInterrupt.__name__:
            self._interrupted(record, "")
            raise KeyboardInterrupt
        if failed.kind == InUse.__name__:  # by a worker that only seemed to be dead
            self._lose_worker(record, WorkerDied(record.number, failed.worker, failed.message))
            return
        if failed.kind in ENDING_ERRORS:
            with suppress(OSError):  # a full disk, which is what is to be said
                self._interrupted(record, failed.message)
            raise ENDING_ERRORS[failed.kind](failed.message)
        if failed.kind in FAILURES:
            self._finish(
                replace(record, outcome=FAILURES[failed.kind], message=failed.message, peak_bytes=failed.peak_bytes)
            )
            return
        write_text(self.folder.trial(record) / "crash.txt", failed.traceback)
        self._finish(replace(record, outcome=Outcome.CRASHED, message=f"{failed.kind}: {failed.message}"))

    def _lose_worker(self, record: TrialRecord, died: WorkerDied) -> None:
        """Leave the trial to be dispatched again, unless its workers keep dying."""
        deaths = self.deaths[record.number] = self.deaths.get(record.number, 0) + 1
        if deaths < DEATHS_ALLOWED:
            self.table.store(replace(record, outcome=Outcome.INTERRUPTED, message=f"{died.worker} {died.message}"))
        self.log.append(WorkerLost(record.number, died.worker, died.message))  # who follows the log reads the record
        if deaths < DEATHS_ALLOWED:
            return
        reason = f"its worker died {deaths} times without finishing an epoch, the last time: {died.message}"
        write_text(self.folder.trial(record) / "crash.txt", reason + "\n")
        self._finish(replace(record, outcome=Outcome.CRASHED, message=reason))

    def _interrupt(self, message: str) -> None:
        """Note that the trials under way are left for the next start."""
        try:
            self.executor.close()
        finally:
            with suppress(OSError):  # a full disk: the records say running, which is as good
                for running in self.running.values():
                    self._interrupted(running.record, message)

    def _interrupted(self, record: TrialRecord, message: str) -> None:
        self.table.store(replace(record, outcome=Outcome.INTERRUPTED, message=message))
        self.log.append(
            TrialFinished(record.number, Outcome.INTERRUPTED, None, message, self.table.trained, self.planned)
        )

    def _count_crashes(self, record: TrialRecord) -> None:
        self.crashes = self.crashes + 1 if record.outcome is Outcome.CRASHED else 0
        if self.crashes == CRASHES_ALLOWED:
            raise InvalidInput(
                f"{CRASHES_ALLOWED} trials in a row crashed, the last with {record.message}; see "
                f"{self.folder.trial(record) / 'crash.txt'}, correct the cause and start again."
            )

    def _tell(self, event: Event | Stepped) -> None:
        self.status.take(event)
        if self.listener is not None:
            self.listener(event)

    def _tell_trouble(self) -> None:
        trouble = self.mirror.trouble or self.executor.trouble
        if trouble != self.trouble:
            self.trouble = trouble
            self.log.append(Trouble(self.trouble or ""))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
