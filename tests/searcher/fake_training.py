"""A search whose trainings are a few short sleeps; run as a script it is the victim of the tests that kill it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from searcher.coordinator import Report, SearchSummary, TrialJob, run_search
from searcher.events import Listener
from searcher.files import read_json, write_json
from searcher.records import EpochRecord, Metrics
from searcher.space import Space
from tests.searcher.spaces import small_space

PHASES = (("fp", 1), ("qat", 4))


def search_space(trials: int = 8) -> Space:
    """36 configurations of which 24 are within the budget, an enqueued point in it and one beyond it."""
    free = small_space()
    memory = sorted(free.candidate(free.decode(i)).cost().memory_bytes for i in range(free.size))
    return small_space(
        budget={"memory": memory[23]},
        search={"trials": trials, "startup": 3, "pruner": {"name": "median", "startup_trials": 2}},
        enqueue=[{"hidden": 1, "stage0*": "int8"}, {"hidden": 2, "stage0*": "fp16", "stage1*": "fp32"}],
    )


def fake_train(job: TrialJob, report: Report, seconds: float = 0.0) -> Metrics:
    """Train in steps that survive a kill, replaying finished ones; accuracy depends on the candidate alone."""
    progress = job.directory / "progress.json"
    done = read_json(progress) if progress.exists() else 0
    quality, position, accuracy, epoch = int(job.candidate.id, 16) % 997 / 997, 0, 0.0, 0
    for phase, epochs in PHASES:
        for epoch in range(1, epochs + 1):
            position += 1
            if position > done:
                time.sleep(seconds)
                write_json(progress, position)
            accuracy = quality * (1 - 0.5**epoch)
            if report(EpochRecord(phase, epoch, epochs, 1.0, 1.0, accuracy, 0.0)):
                return Metrics(accuracy, accuracy, epoch, "parent", 0.9, True)
    return Metrics(accuracy, accuracy, epoch, "parent", 0.9, True)


def search(folder: Path, listener: Listener | None = None, trials: int = 8, seconds: float = 0.0) -> SearchSummary:
    """Search `search_space` with `fake_train`."""
    return run_search(
        search_space(trials), folder, lambda job, report: fake_train(job, report, seconds), listener=listener
    )


if __name__ == "__main__":
    print("ready", flush=True)
    search(Path(sys.argv[1]), seconds=0.01)
