"""A study of many trials: how long its views and its next proposal take.

Run `python benchmarks/many_trials.py [--trials 10000]`. Trials have real candidates of `SPACE` and invented accuracies;
commands run in fresh processes, as a user starts them. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from searcher.events import EpochFinished, EventLog, SearchStarted, TrialFinished, TrialStarted
from searcher.feasible import feasible_set
from searcher.files import write_text
from searcher.proposals import Proposals
from searcher.records import EpochRecord, Metrics, Outcome, TrialRecord, write_record
from searcher.space import Space, load_space, parse_space
from searcher.study_folder import StudyFolder
from searcher.trial_table import TrialTable

SPACE = Path(__file__).parent.parent / "search_spaces" / "demo_fp_budget.yaml"
PHASES = {"fp": 10, "qat": 5}
COMMANDS = (
    "ls RUNS",
    "show STUDY",
    "show STUDY --where hidden>=2 --sort memory",
    "show STUDY --json",
    "trial STUDY 5000",
    "diff STUDY 10 20",
    "watch STUDY --once",
    "plot STUDY --kind front",
    "export STUDY --all --csv",
)


def main() -> None:
    """Write the study, time what a user waits for."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=10000)
    trials = arguments.parse_args().trials
    with tempfile.TemporaryDirectory() as name:
        folder = StudyFolder(Path(name) / "study")
        plain = load_space(SPACE).to_plain()
        space = parse_space({**plain, "enqueue": []}, SPACE.stem)
        write_study(space, folder, trials)
        print(f"{trials} trials of {space.name}, {space.size} configurations")
        figures = {f"searcher {command}": shown(command.split(), folder) for command in COMMANDS}
        figures |= {f"start of {name}": started(name) for name in sorted({c.split()[0] for c in COMMANDS})}
        figures |= proposed(space, folder)
        for what, seconds in figures.items():
            print(f"{what:42} {seconds:7.3f} s")
    print(json.dumps({"benchmark": "many_trials", "trials": trials, "seconds": figures}))


def write_study(space: Space, folder: StudyFolder, trials: int) -> None:
    """The files of a study of `trials` finished trials; three of ten were stopped early."""
    folder.prepare()
    write_text(folder.space_file, space.to_yaml())
    feasible, draw, log = feasible_set(space), np.random.default_rng(0), EventLog(folder.events)
    log.append(SearchStarted(trials, 0, len(feasible), feasible.size, feasible.sampled))
    rows = draw.permutation(len(feasible))[:trials]
    for number, row in enumerate(rows):
        choices = space.choices_of(feasible.codes[row].tolist())
        candidate = space.candidate(choices)
        cost = candidate.cost(space.budget.accounting).total
        stopped = draw.random() < 0.3
        epochs = [
            EpochRecord(phase, epoch, count, 1.2, 1.3, float(draw.uniform(0.4, 0.7)), 4.2)
            for phase, count in PHASES.items()
            for epoch in range(1, 1 + (2 if stopped and phase == "qat" else count))
        ]
        best = max((e for e in epochs if e.phase == "qat"), key=lambda e: e.accuracy)
        metrics = Metrics(best.accuracy, epochs[-1].accuracy, best.epoch, "0" * 16, 0.65, True, tuple(epochs), 60.0)
        outcome = Outcome.STOPPED if stopped else Outcome.COMPLETE
        record = TrialRecord(number, candidate, choices, cost.memory_bytes, cost.ops, outcome, metrics, horizon=number)
        target = folder.trial(record)
        write_record(target, record)
        log.append(TrialStarted(number, 1, candidate.id, choices, cost.memory_bytes, cost.ops, number, trials))
        for epoch in epochs:
            log.append(EpochFinished(number, epoch, "worker 1"))
        log.append(TrialFinished(number, outcome, best.accuracy, "", number + 1, trials))


def shown(command: list[str], folder: StudyFolder) -> float:
    """Seconds of a command on the study in a fresh process; the best of three."""
    places = {"STUDY": str(folder.path), "RUNS": str(folder.path.parent)}
    return seconds_of([places.get(word, word) for word in command])


def started(name: str) -> float:
    """Seconds until a command has loaded what it needs and answers."""
    return seconds_of([name, "--help"])


def seconds_of(command: list[str]) -> float:
    """The best of three."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "searcher", *command], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def proposed(space: Space, folder: StudyFolder) -> dict[str, float]:
    """Seconds of taking the study up, of the first proposal and of the next one."""
    start = time.perf_counter()
    table = TrialTable(space, folder)
    read = time.perf_counter()
    proposals = Proposals(space, feasible_set(space), table)
    asked = []
    for _ in range(3):
        begin = time.perf_counter()
        record = proposals.next()
        assert record is not None
        asked.append(time.perf_counter() - begin)
        table.store(record)
        table.store(replace(record, outcome=Outcome.CRASHED))
    return {"read all records": read - start, "first proposal": asked[0], "next proposal": asked[-1]}


if __name__ == "__main__":
    main()
