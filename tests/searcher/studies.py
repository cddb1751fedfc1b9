"""Whole studies that nobody trained: what the views are tested on. Always the same, to the last digit and second."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from searcher.device_profiles import device_id
from searcher.events import EpochFinished, Event, SearchEnded, SearchStarted, TrialFinished, TrialStarted, WorkerLost
from searcher.feasible import FeasibleSet, feasible_set
from searcher.files import write_json, write_text
from searcher.lock import hold
from searcher.records import EpochRecord, Metrics, Outcome, TrialRecord, write_record
from searcher.space import Space, load_space, parse_space
from searcher.status import STATUS_FILE, SearchStatus, WorkerStatus
from searcher.study_folder import StudyFolder
from tests.searcher.screens import NOW

SPACE_FILE = Path(__file__).parents[2] / "search_spaces" / "demo_fp_budget.yaml"
FP_EPOCHS, QAT_EPOCHS = 10, 5
EPOCH_SECONDS = 4.0
FAILURES = {
    Outcome.DIVERGED: "loss became NaN in qat epoch 2, step 17",
    Outcome.OUT_OF_MEMORY: "cuda:0 ran out of memory at 10.4 GiB",
    Outcome.CRASHED: "RuntimeError: a tensor of the wrong shape",
}


def study_space(**sections: Any) -> Space:
    """The space of the demo within the full-precision budget, with other `sections`."""
    return parse_space({**load_space(SPACE_FILE).to_plain(), "enqueue": [], **sections}, SPACE_FILE.stem)


class StudyWriter:
    """Writes a study as a coordinator would have, at times that end just before `NOW`."""

    def __init__(self, folder: Path, space: Space, planned: int) -> None:
        self.folder, self.space, self.planned = StudyFolder(folder), space, planned
        self.random = random.Random(0)
        self.clock, self.trained, self.number = NOW - 3 * 3600.0, 0, 0
        self.events: list[str] = []
        self.folder.prepare()
        write_text(self.folder.space_file, space.to_yaml())
        self.feasible: FeasibleSet = feasible_set(space)
        self.rows = np.random.default_rng(0).permutation(len(self.feasible))
        counted = len(self.feasible), self.feasible.size, self.feasible.sampled, self.feasible.share
        self.log(SearchStarted(planned, 0, *counted))

    def log(self, event: Event) -> None:
        """Note an event at the present time of the study."""
        line = {"event": type(event).__name__, "time": round(self.clock, 3), **dataclasses.asdict(event)}
        self.events.append(json.dumps(line))

    def trial(
        self, outcome: Outcome, *, worker: str = "worker 1", attempts: int = 1, qat: int = QAT_EPOCHS
    ) -> TrialRecord:
        """One more trial that came to this; accuracy grows with the hidden width and falls with the number's noise."""
        number, space = self.number, self.space
        choices = space.choices_of(self.feasible.codes[self.rows[number]].tolist())
        if outcome is Outcome.OVER_BUDGET:
            choices = {v.name: v.choices[-1] for v in space.variables}  # the widest and most precise of all
        candidate = space.candidate(choices)
        cost = space.cost_of(candidate).total
        self.number += 1
        begun = outcome not in (Outcome.WAITING, Outcome.OVER_BUDGET)
        epochs = (
            self._epochs(number, choices, candidate.parent.id, worker, attempts, qat if outcome.trained else 2)
            if begun
            else ()
        )
        metrics = _metrics(epochs, candidate.parent.id) if outcome.trained else None
        record = TrialRecord(
            number,
            candidate,
            choices,
            cost.memory_bytes,
            cost.ops,
            outcome,
            metrics,
            attempts if begun else 0,
            FAILURES.get(outcome, ""),
            max(0, number - 3),
            10.4 * 2**30 if outcome is Outcome.OUT_OF_MEMORY else None,
            worker if begun and outcome is not Outcome.RUNNING else "",
            cost.latency_seconds,
            "" if space.device is None else device_id(space.device),
        )
        write_record(self.folder.trial(record), record)
        self.trained += outcome.finished and begun
        if outcome.finished:
            accuracy = None if metrics is None else metrics.accuracy
            self.log(TrialFinished(number, outcome, accuracy, record.message, self.trained, self.planned))
        return record

    def _epochs(
        self, number: int, choices: Any, parent: str, worker: str, attempts: int, qat: int
    ) -> tuple[EpochRecord, ...]:
        """Epochs of both phases, logged at their times; a second start lost its worker in the middle."""
        candidate = self.space.candidate(choices)
        cost = self.space.cost_of(candidate).total
        goal = (
            0.5
            + 0.04 * float(choices.get("hidden", 1))
            + 0.02 * (choices.get("downsample1", "binary") != "binary")
            + self.random.gauss(0, 0.02)
        )
        self.log(
            TrialStarted(
                number,
                1,
                candidate.id,
                choices,
                cost.memory_bytes,
                cost.ops,
                self.trained,
                self.planned,
                cost.latency_seconds,
            )
        )
        epochs = []
        for phase, count, last in (("fp", FP_EPOCHS, FP_EPOCHS), ("qat", QAT_EPOCHS, qat)):
            for epoch in range(1, last + 1):
                share = epoch / count
                accuracy = round(goal * (0.4 + 0.6 * share**0.5) + self.random.gauss(0, 0.01), 4)
                loss = round(1.8 - share + self.random.gauss(0, 0.02), 4)
                record = EpochRecord(phase, epoch, count, loss, round(loss + 0.1, 4), accuracy, EPOCH_SECONDS)
                epochs.append(record)
                self.clock += EPOCH_SECONDS / 4  # several workers share the time
                self.log(EpochFinished(number, record, worker))
            if phase == "fp" and attempts > 1:
                self.log(WorkerLost(number, worker, "was killed by signal 9"))
                self.log(
                    TrialStarted(
                        number,
                        2,
                        candidate.id,
                        choices,
                        cost.memory_bytes,
                        cost.ops,
                        self.trained,
                        self.planned,
                        cost.latency_seconds,
                    )
                )
        return tuple(epochs)

    def end(self, reason: str | None = "all trials done") -> StudyFolder:
        """Write the log; the study's folder."""
        if reason is not None:
            self.log(SearchEnded(reason, self.trained, self.planned))
        write_text(self.folder.events, "".join(f"{line}\n" for line in self.events))
        return self.folder


def _metrics(epochs: tuple[EpochRecord, ...], parent: str) -> Metrics:
    fp, qat = ([e for e in epochs if e.phase == phase] for phase in ("fp", "qat"))
    best = max(qat, key=lambda e: e.accuracy)
    return Metrics(best.accuracy, qat[-1].accuracy, best.epoch, parent, max(e.accuracy for e in fp), True, epochs, 60.0)


def empty_study(runs: Path) -> StudyFolder:
    """A search that was started and ended before its first trial."""
    return StudyWriter(runs / "empty", study_space(), 30).end("interrupted")


def one_trial_study(runs: Path) -> StudyFolder:
    """One complete trial of one asked for."""
    writer = StudyWriter(runs / "one", study_space(), 1)
    writer.trial(Outcome.COMPLETE)
    return writer.end()


def many_study(runs: Path, trials: int = 500, name: str = "many", **sections: Any) -> StudyFolder:
    """Trials of every outcome that a finished study can hold, by four workers, some after a restart."""
    writer = StudyWriter(runs / name, study_space(**sections), trials)
    outcomes = random.Random(1)
    for number in range(trials):
        drawn = outcomes.random()
        outcome, qat = Outcome.COMPLETE, QAT_EPOCHS
        for share, kind in (
            (0.3, Outcome.STOPPED),
            (0.02, Outcome.DIVERGED),
            (0.02, Outcome.OUT_OF_MEMORY),
            (0.01, Outcome.CRASHED),
            (0.02, Outcome.OVER_BUDGET),
        ):
            if 0 <= drawn < share:
                outcome, qat = kind, 2
            drawn -= share
        writer.trial(
            outcome,
            worker=f"worker {number % 4 + 1} on gpu-node-{number % 2 + 1}, cuda:{number % 2}",
            attempts=2 if number % 50 == 7 else 1,
            qat=qat,
        )
    return writer.end()


def two_objectives_study(runs: Path) -> StudyFolder:
    """Sixty trials of a search for the front of accuracy against memory and OPs."""
    search = {"trials": 60, "seed": 0, "objectives": ["accuracy", "memory", "ops"]}
    return many_study(runs, 60, "front", search=search)


def other_schema_study(runs: Path) -> StudyFolder:
    """A study one of whose records is of a later version."""
    folder = many_study(runs, 3, "later")
    record = sorted(folder.trials.iterdir())[1] / "record.json"
    record.write_text(record.read_text().replace('"schema": 2', '"schema": 9'))
    return folder


@contextmanager
def running_study(runs: Path) -> Iterator[StudyFolder]:
    """A study of 40 trials that this process is at work on: twelve have ended, two run, one waits."""
    writer = StudyWriter(runs / "running", study_space(), 40)
    for _ in range(10):
        writer.trial(Outcome.COMPLETE)
    writer.trial(Outcome.STOPPED, qat=2)
    writer.trial(Outcome.DIVERGED)
    writer.trial(Outcome.RUNNING, worker="worker 1 on gpu-node-1, cuda:0")
    writer.trial(Outcome.RUNNING, worker="worker 2 on gpu-node-1, cuda:1", attempts=2)
    writer.trial(Outcome.WAITING)
    folder = writer.end(None)
    workers = (
        WorkerStatus(
            "worker 1 on gpu-node-1, cuda:0",
            12,
            "qat",
            3,
            QAT_EPOCHS,
            12,
            31,
            NOW - 1,
            0.471,
            1.402,
            512.0,
            3.2 * 2**30,
        ),
        WorkerStatus(
            "worker 2 on gpu-node-1, cuda:1", 13, "fp", 7, FP_EPOCHS, 30, 31, NOW - 95, 0.522, 1.1, 488.5, 3.3 * 2**30
        ),
    )
    write_json(folder.path / STATUS_FILE, dataclasses.asdict(SearchStatus(NOW - 0.5, 1750.0, "", workers)))
    with hold(folder.lock):
        yield folder
