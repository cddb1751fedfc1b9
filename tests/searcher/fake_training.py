"""Trainings that are a few short sleeps, and searches made of them: the victims of the tests that kill."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searcher.coordinator import SearchSummary, run_search
from searcher.events import EpochFinished, Listener, read_events
from searcher.executors.executor import Executor, Report, Train, TrialJob
from searcher.executors.processes import ProcessExecutor
from searcher.executors.threads import ThreadExecutor
from searcher.files import read_json, write_json
from searcher.records import EpochRecord, Metrics, TrialRecord
from searcher.space import Space
from tests.searcher.spaces import small_space

PHASES = (("fp", 1), ("qat", 4))


def search_space(trials: int = 8, workers: int = 1) -> Space:
    """36 configurations of which 24 are within the budget, an enqueued point in it and one beyond it."""
    free = small_space()
    memory = sorted(free.candidate(free.decode(i)).cost().memory_bytes for i in range(free.size))
    return small_space(
        budget={"memory": memory[23]},
        search={
            "trials": trials,
            "startup": 3,
            "workers": workers,
            "pruner": {"name": "median", "startup_trials": 2},
        },
        enqueue=[{"hidden": 1, "stage0*": "int8"}, {"hidden": 2, "stage0*": "fp16", "stage1*": "fp32"}],
    )


@dataclass(frozen=True)
class FakeTraining:
    """A `Train` in steps that survive a kill, replaying finished ones; accuracy depends on the candidate alone."""

    seconds: float = 0.0  # of an epoch

    def __call__(self, job: TrialJob, report: Report) -> Metrics:
        """Train."""
        progress = job.directory / "progress.json"
        done = read_json(progress) if progress.exists() else 0
        quality, position, epochs = int(job.candidate.id, 16) % 997 / 997, 0, []
        for phase, count in PHASES:
            for epoch in range(1, count + 1):
                position += 1
                report.step(phase, epoch, 1, 1)
                if position > done:
                    time.sleep(self.seconds)
                    write_json(progress, position)
                epochs.append(EpochRecord(phase, epoch, count, 1.0, 1.0, quality * (1 - 0.5**epoch), 0.0))
                if report(epochs[-1]):
                    break
        last = epochs[-1]
        return Metrics(last.accuracy, last.accuracy, last.epoch, "parent", 0.9, True, tuple(epochs))


fake_train = FakeTraining()


def worker_processes(train: Train, count: int) -> ProcessExecutor:
    """Processes that all train alike."""
    return ProcessExecutor([train] * count, [f"worker {i + 1}" for i in range(count)])


def search(
    folder: Path,
    listener: Listener | None = None,
    trials: int = 8,
    executor: Executor | None = None,
    workers: int = 1,
    storage: str | None = None,
) -> SearchSummary:
    """Search `search_space` with `fake_train`, in threads unless there is an `executor`."""
    executor = executor or ThreadExecutor(fake_train, workers)
    return run_search(search_space(trials, workers), folder, executor, listener=listener, storage=storage)


def table(records: Iterable[TrialRecord]) -> list[tuple[Any, ...]]:
    """What must be equal however a search was run."""
    return [(r.number, r.candidate.id, r.choices, r.outcome, r.metrics, r.message, r.horizon) for r in records]


def assert_every_epoch_once(study: Path) -> None:
    """No epoch stands twice in the log, however often trainings replayed it."""
    epochs = Counter(
        (e["number"], e["record"]["phase"], e["record"]["epoch"])
        for e in read_events(study / "events.jsonl")
        if e["event"] == EpochFinished.__name__
    )
    assert max(epochs.values()) == 1
