"""The search: asks for candidates, has them trained, and alone writes the study, so that any interruption is repaired.

A trial's record (`record.json`) is written before Optuna is told. A killed search leaves at most one running trial,
whose record says what to do at the next start: tell Optuna what the record holds, or train on. No torch here.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from bhvit.errors import InvalidInput
from searcher.candidate import Candidate
from searcher.events import EventLog, Listener, SearchEnded, SearchStarted, TrialFinished, TrialStarted
from searcher.feasible import FeasibleSet, feasible_set
from searcher.files import write_text
from searcher.lock import hold
from searcher.outcomes import Diverged, OutOfMemory
from searcher.preflight import check_workers
from searcher.records import RECORD_FILE, EpochRecord, Metrics, Outcome, TrialRecord, read_record, write_record
from searcher.reporter import Reporter
from searcher.sampler import NEVER_TRAINED, FeasibleTPESampler, distributions
from searcher.space import Space
from searcher.study_folder import StudyFolder
from searcher.study_store import open_study

CRASHES_ALLOWED = 3  # in a row
OUTCOME = "outcome"  # user attribute of a trial


@dataclass(frozen=True)
class TrialJob:
    """What `train` gets: the candidate, its folder for checkpoints, and the how-manieth start of the trial this is."""

    number: int
    candidate: Candidate
    directory: Path
    attempt: int


Report: TypeAlias = Callable[[EpochRecord], bool]
"""To be called after every epoch, replayed ones included; True asks to stop training and return what there is."""
Train: TypeAlias = Callable[[TrialJob, Report], Metrics]


class Ended(StrEnum):
    """Why a search returned."""

    DONE = "all trials done"
    EXHAUSTED = "every feasible configuration tried"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class SearchSummary:
    """State of the study when the search returned: `trained` of `planned` trials, and every trial's record."""

    ended: Ended
    planned: int
    trained: int
    feasible: int
    records: tuple[TrialRecord, ...]


def run_search(
    space: Space,
    folder: Path,
    train: Train,
    *,
    listener: Listener | None = None,
    trials: int | None = None,
) -> SearchSummary:
    """Search `space` until `trials` (default: the space's) candidates have been trained, over all restarts.

    Failed trainings count, enqueued points over the budget (never trained) do not. A study in `folder` is continued.
    `train` may raise `Diverged` or `OutOfMemory`, which are recorded; `InvalidInput` (missing data, for example) ends
    the search and leaves the trial to be repeated; other exceptions are recorded as crashes, of which three in a row
    end the search. Raises `InvalidInput` where nothing is within the budget, the folder is in use or belongs to
    another space, or its database cannot be used. Ctrl-C returns a summary; the trial goes on at the next start.
    """
    check_workers(space)
    feasible = feasible_set(space)
    if not len(feasible):
        scope = f"none of {feasible.examined} sampled" if feasible.sampled else f"none of {space.size}"
        raise InvalidInput(f"{scope} configurations is within the budget, {space.budget}; raise it or add choices.")
    place = StudyFolder(Path(folder))
    place.prepare()
    sampler = FeasibleTPESampler(space, feasible, space.search.seed, space.search.startup)
    with hold(place.lock):
        place.claim(space)
        with open_study(place.database, sampler, space.search.pruner) as study:
            planned = space.search.trials if trials is None else trials
            return Coordinator(space, feasible, place, train, study, sampler, planned, listener).run()


class Coordinator:
    """One run of a search over an open study whose folder is locked; see `run_search`."""

    def __init__(
        self,
        space: Space,
        feasible: FeasibleSet,
        folder: StudyFolder,
        train: Train,
        study: optuna.Study,
        sampler: FeasibleTPESampler,
        planned: int,
        listener: Listener | None,
    ) -> None:
        self.space, self.feasible, self.folder, self.train = space, feasible, folder, train
        self.study, self.sampler, self.planned = study, sampler, planned
        self.log = EventLog(folder.events, listener)
        self.crashes = 0

    @property
    def trained(self) -> int:
        """Finished trials that were trained, whatever came of it."""
        finished = self.study.get_trials(
            deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        )
        return sum(NEVER_TRAINED not in t.user_attrs for t in finished)

    def run(self) -> SearchSummary:
        """Finish what was begun, then train until enough are trained or nothing is left."""
        feasible = self.feasible
        self.log.append(SearchStarted(self.planned, self.trained, len(feasible), feasible.size, feasible.sampled))
        try:
            ended = self._search()
        except KeyboardInterrupt:
            ended = Ended.INTERRUPTED
        trained = self.trained
        self.log.append(SearchEnded(str(ended), trained, self.planned))
        return SearchSummary(ended, self.planned, trained, len(feasible), tuple(self.folder.records()))

    def _search(self) -> Ended:
        for running in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._carry_out(optuna.trial.Trial(self.study, running._trial_id))
        self._enqueue()
        while self.trained < self.planned:
            waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            if not waiting and self.sampler.exhausted(self.study):
                return Ended.EXHAUSTED
            self._carry_out(self.study.ask(distributions(self.space.variables)))
        return Ended.DONE

    def _enqueue(self) -> None:
        """Queue the space's enqueued points that no trial stands for yet; one refused earlier only if it now fits."""
        known = self.sampler.known_choices(self.study)
        refused = [t.params for t in self.study.get_trials(deepcopy=False) if NEVER_TRAINED in t.user_attrs]
        for point in self.space.enqueued:
            fits = self.feasible.row_of(self.space.digits_of(point)) is not None
            if point not in known and (fits or point not in refused):
                self.study.enqueue_trial(point)

    def _carry_out(self, trial: optuna.Trial) -> None:
        """Bring one asked trial to its end, from wherever an earlier start left it."""
        suggested = {v.name: trial.suggest_categorical(v.name, v.choices) for v in self.space.variables}
        choices = self.space.complete(suggested)
        candidate = self.space.candidate(choices)
        record = self._begun(trial, candidate, choices)
        if not record.outcome.finished:
            record = self._refused(trial, record) or self._trained(trial, record)
        self._tell(trial, record)

    def _begun(self, trial: optuna.Trial, candidate: Candidate, choices: dict[str, float | str]) -> TrialRecord:
        """The trial's record: the one on disk, or a first one; costs and constraints are stored with the trial."""
        cost = candidate.cost(self.space.budget.accounting).total
        record = TrialRecord(trial.number, candidate, choices, cost.memory_bytes, cost.ops, Outcome.RUNNING, attempts=0)
        folder = self.folder.trial(record)
        if (folder / RECORD_FILE).exists():
            record = replace(read_record(folder), memory_bytes=cost.memory_bytes, ops=cost.ops)
        for name, limit in self.space.budget.limits.items():
            if name not in trial.constraints:
                trial.set_constraint(name, self.space.budget.used(cost)[name] - limit)
        for name, value in (("candidate", candidate.id), ("memory_bytes", cost.memory_bytes), ("ops", cost.ops)):
            trial.set_user_attr(name, value)
        return record

    def _refused(self, trial: optuna.Trial, record: TrialRecord) -> TrialRecord | None:
        """The final record of a trial over the budget; None where it is within."""
        violations = self.space.budget.violations(record)
        if not violations or record.attempts:  # one that has begun under an earlier, larger budget is finished
            return None
        return self._store(replace(record, outcome=Outcome.OVER_BUDGET, message="; ".join(map(str, violations))))

    def _trained(self, trial: optuna.Trial, record: TrialRecord) -> TrialRecord:
        """Train, and the final record of it."""
        record = self._store(replace(record, outcome=Outcome.RUNNING, attempts=record.attempts + 1, message=""))
        self.log.append(
            TrialStarted(
                record.number,
                record.attempts,
                record.candidate.id,
                record.choices,
                record.memory_bytes,
                record.ops,
                self.trained,
                self.planned,
            )
        )
        directory = self.folder.trial(record)
        report = Reporter(trial, self.log)
        try:
            metrics = self.train(TrialJob(record.number, record.candidate, directory, record.attempts), report)
        except Diverged as error:
            return self._store(replace(record, outcome=Outcome.DIVERGED, message=_line(error)))
        except (OutOfMemory, MemoryError) as error:
            return self._store(replace(record, outcome=Outcome.OUT_OF_MEMORY, message=_line(error)))
        except (KeyboardInterrupt, InvalidInput) as error:
            self._interrupted(record, _line(error))
            raise
        except StorageInternalError:
            raise
        except Exception as error:
            if report.failure is error:  # not the training's fault
                raise
            write_text(directory / "crash.txt", traceback.format_exc())
            return self._store(
                replace(record, outcome=Outcome.CRASHED, message=f"{type(error).__name__}: {_line(error)}")
            )
        outcome = Outcome.STOPPED if report.stopped else Outcome.COMPLETE
        return self._store(replace(record, outcome=outcome, metrics=metrics))

    def _interrupted(self, record: TrialRecord, message: str) -> None:
        self._store(replace(record, outcome=Outcome.INTERRUPTED, message=message))
        self.log.append(TrialFinished(record.number, Outcome.INTERRUPTED, None, message, self.trained, self.planned))

    def _store(self, record: TrialRecord) -> TrialRecord:
        write_record(self.folder.trial(record), record)
        return record

    def _tell(self, trial: optuna.Trial, record: TrialRecord) -> None:
        """Finish the trial in the study as its record says; the last step, so that a repeat of it does no harm."""
        trial.set_user_attr(OUTCOME, record.outcome.value)
        if record.outcome is Outcome.OVER_BUDGET:
            trial.set_user_attr(NEVER_TRAINED, True)
        accuracy = None if record.metrics is None else record.metrics.accuracy
        if record.outcome is Outcome.COMPLETE:
            self.study.tell(trial, accuracy)
        else:
            self.study.tell(trial, state=TrialState.PRUNED if record.outcome is Outcome.STOPPED else TrialState.FAIL)
        self.log.append(
            TrialFinished(record.number, record.outcome, accuracy, record.message, self.trained, self.planned)
        )
        self._count_crashes(record)

    def _count_crashes(self, record: TrialRecord) -> None:
        if record.outcome is Outcome.OVER_BUDGET:
            return
        self.crashes = self.crashes + 1 if record.outcome is Outcome.CRASHED else 0
        if self.crashes == CRASHES_ALLOWED:
            raise InvalidInput(
                f"{CRASHES_ALLOWED} trials in a row crashed, the last with {record.message}; see "
                f"{self.folder.trial(record) / 'crash.txt'}, correct the cause and start again."
            )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
