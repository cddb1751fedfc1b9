"""A watched study against one that is read anew, after everything that a coordinator may write."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from searcher import watching
from searcher.alerts import alerts
from searcher.budget import Budget
from searcher.events import EpochFinished, EventLog, SearchStarted, TrialFinished, TrialStarted, Trouble, WorkerLost
from searcher.front import pareto_front
from searcher.lock import hold
from searcher.ranking import ranked
from searcher.records import EpochRecord, Outcome, TrialRecord, write_record
from searcher.snapshot import State, snapshot_of
from searcher.space import parse_space
from searcher.standing import Standing
from searcher.status import WorkerStatus
from searcher.study_folder import StudyFolder
from searcher.watched_trials import SORTS, WatchedTrials
from searcher.watching import WatchedStudy, by_name
from tests.searcher import studies
from tests.searcher.screens import NOW


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    return studies.many_study(tmp_path_factory.mktemp("runs"), 20)


@pytest.fixture
def study(many: StudyFolder, tmp_path: Path) -> StudyFolder:
    """A copy to be written on."""
    return StudyFolder(Path(shutil.copytree(many.path, tmp_path / "many")))


class Coordinator:
    """Writes what a coordinator writes, in its order: a record, then the event about it."""

    def __init__(self, folder: StudyFolder) -> None:
        self.folder, self.log = folder, EventLog(folder.events)

    def start(self, record: TrialRecord) -> TrialRecord:
        record = self.store(replace(record, outcome=Outcome.RUNNING, metrics=None, message="", attempts=1))
        cost = record.memory_bytes, record.ops
        self.log.append(TrialStarted(record.number, 1, record.candidate.id, record.choices, *cost, 0, 40))
        return record

    def epoch(self, number: int, epoch: int, accuracy: float) -> None:
        self.log.append(EpochFinished(number, EpochRecord("qat", epoch, 5, 1.25, 1.3, accuracy, 4.0), "worker 3"))

    def end(self, record: TrialRecord) -> None:
        self.store(record)
        accuracy = record.metrics and record.metrics.accuracy
        self.log.append(TrialFinished(record.number, record.outcome, accuracy, record.message, 0, 40))

    def store(self, record: TrialRecord) -> TrialRecord:
        write_record(self.folder.trial(record), record)
        return record


def what_is_shown(study: WatchedStudy) -> tuple[object, ...]:
    standing = study.standing
    records = {number: record.to_json() for number, record in study.records.items()}
    counts = {outcome: count for outcome, count in standing.outcomes.items() if count}
    best = standing.best and standing.best.number
    front = [record.number for record in standing.front]
    return records, counts, standing.done, standing.within, best, front, study.under_way, study.failed, study.finished


def test_a_refreshed_study_is_as_one_that_is_read_anew(study: StudyFolder) -> None:
    watched, writer = WatchedStudy(study), Coordinator(study)
    pattern = next(r for r in study.records() if r.outcome is Outcome.COMPLETE)
    assert pattern.metrics is not None
    better = replace(pattern, number=20, metrics=replace(pattern.metrics, accuracy=0.99))
    writer.start(better)
    steps = [
        lambda: writer.epoch(20, 1, 0.3),
        lambda: writer.start(replace(pattern, number=21)),
        lambda: writer.end(better),
        lambda: writer.log.append(WorkerLost(21, "worker 3", "was killed by signal 9")),
        lambda: writer.end(replace(pattern, number=21, metrics=None, outcome=Outcome.DIVERGED, message="NaN")),
        lambda: writer.end(replace(pattern, number=22, metrics=None, outcome=Outcome.OVER_BUDGET, attempts=0)),
        lambda: writer.log.append(SearchStarted(80, 21, 50, 100, False)),
    ]
    for step in steps:
        step()
        watched.refresh()
        assert what_is_shown(watched) == what_is_shown(WatchedStudy(study))
    assert watched.standing.best is not None
    assert watched.standing.best.number == 20
    assert watched.planned == 80


def test_only_records_that_an_event_speaks_of_are_read(study: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    watched, writer, read = WatchedStudy(study), Coordinator(study), []
    monkeypatch.setattr(StudyFolder, "records", lambda self: pytest.fail("all records were read"))
    real = watching.read_record
    monkeypatch.setattr(watching, "read_record", lambda folder: read.append(folder.name) or real(folder))
    watched.refresh()
    assert read == []
    record = writer.start(replace(watched.records[3], number=20))
    writer.epoch(20, 1, 0.3)
    watched.refresh()
    watched.refresh()
    assert read == [record.name]


def test_a_line_that_is_being_written_waits_for_the_next_look(study: StudyFolder) -> None:
    watched = WatchedStudy(study)
    line = json.dumps({"event": "EpochFinished", "time": 5.0, "number": 3, "worker": "w", "record": EPOCH}) + "\n"
    with study.events.open("a") as log:
        log.write(line[:30])
        log.flush()
        assert watched.refresh() == []
        log.write(line[30:] + "no event\n")
        log.flush()
        assert [timed.event.number for timed in watched.refresh()] == [3]
        assert watched.refresh() == []


EPOCH = {
    "phase": "qat",
    "epoch": 1,
    "epochs": 5,
    "train_loss": 1.0,
    "val_loss": 1.0,
    "accuracy": 0.5,
    "seconds": 1.0,
}


def test_a_log_that_was_written_anew_is_read_anew(study: StudyFolder) -> None:
    watched = WatchedStudy(study)
    lines = study.events.read_text().splitlines(keepends=True)
    study.events.write_text("".join(lines[:5]))
    (sorted(study.trials.iterdir())[7] / "record.json").unlink()
    watched.refresh()
    assert 7 not in watched.records
    assert what_is_shown(watched) == what_is_shown(WatchedStudy(study))


def test_a_long_log_is_not_parsed_but_known(study: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = WatchedStudy(study)
    monkeypatch.setattr("searcher.event_tail.TAIL_BYTES", 1000)
    short = WatchedStudy(study)
    assert (short.finished, short.since, short.started) == (whole.finished, whole.since, whole.started)
    assert set(short.finished) == set(range(20))


def test_it_is_what_a_snapshot_says(many: StudyFolder) -> None:
    watched, snapshot = WatchedStudy(many), snapshot_of(many)
    assert watched.state is snapshot.state
    assert watched.planned == snapshot.planned
    assert watched.standing.done == snapshot.done
    assert watched.standing.best is not None
    assert watched.standing.best.number == snapshot.ranked[0].number
    assert watched.snapshot().records == tuple(watched.records[r.number] for r in snapshot.records)


def test_a_standing_does_not_depend_on_the_order_of_its_trials(many: StudyFolder) -> None:
    records, budget = many.records(), many.space().budget
    draw = random.Random(0)
    for _ in range(5):
        draw.shuffle(records)
        standing = Standing(budget, ("accuracy", "memory", "ops"))
        for record in records:
            running = replace(record, outcome=Outcome.RUNNING, metrics=None)
            standing.put(running, None)
            standing.put(record, running)
        assert standing.best is ranked(records, budget)[0]
        assert standing.within == len(ranked(records, budget))
        assert standing.front == pareto_front(records, budget, ("accuracy", "memory", "ops"))
        assert sum(standing.outcomes.values()) == len(records)


def test_workers_are_told_by_the_status_and_else_by_the_log(tmp_path: Path) -> None:
    with studies.running_study(tmp_path) as folder:
        watched = WatchedStudy(folder)
        assert watched.state is State.RUNNING
        assert [(w.number, w.step, w.accuracy) for w in watched.workers] == [(12, 12, 0.471), (13, 30, 0.522)]
        (folder.path / "status.json").unlink()
        watched.refresh()
        last = [(w.worker, w.number, w.phase, w.epoch, w.epochs, w.step) for w in watched.workers]
        assert last == [
            ("worker 1 on gpu-node-1, cuda:0", 12, "qat", 2, 5, 0),
            ("worker 2 on gpu-node-1, cuda:1", 13, "qat", 2, 5, 0),
        ]


def test_a_parents_accuracy_is_not_told_of_a_candidate_in_its_second_phase(tmp_path: Path) -> None:
    with studies.running_study(tmp_path) as folder:
        watched = WatchedStudy(folder)
        told = replace(watched.workers[0], epoch=1, accuracy=None, loss=None)
        fp = EpochRecord("fp", 10, 10, 0.7, 0.8, 0.9, 4.0)
        watched.epochs[told.number] = NOW, EpochFinished(told.number, fp, told.worker)
        assert watched.status is not None
        watched.status = replace(watched.status, workers=(told,))
        assert (watched.workers[0].accuracy, watched.workers[0].loss) == (None, None)
        watched.status = replace(watched.status, workers=(replace(told, phase="fp"),))
        assert (watched.workers[0].accuracy, watched.workers[0].loss) == (0.9, 0.7)


def test_a_worker_keeps_its_row_from_trial_to_trial() -> None:
    def told(name: str, number: int) -> WorkerStatus:
        return WorkerStatus(name, number, "qat", 1, 5, 1, 9, NOW)

    names = {"worker 1", "worker 2", "worker 10"}
    rows = by_name([told("worker 10", 1), told("worker 2", 2), told("", 3)], names)
    assert [row.number for row in rows] == [3, 2, 1]  # the one that is starting can only be worker 1
    rows = by_name([told("worker 2", 2), told("worker 10", 4), told("", 5), told("", 6)], {"worker 2", "worker 10"})
    assert [row.number for row in rows] == [2, 4, 5, 6]


def test_a_worker_that_ends_a_trial_leaves_its_row_to_its_next_one(tmp_path: Path) -> None:
    with studies.running_study(tmp_path) as folder:
        watched, writer = WatchedStudy(folder), Coordinator(folder)
        assert [worker.number for worker in watched.workers] == [12, 13]
        writer.end(replace(watched.records[12], outcome=Outcome.CRASHED, worker="worker 1 on gpu-node-1, cuda:0"))
        writer.start(watched.records[14])
        watched.refresh()
        assert [(worker.number, worker.worker[:8]) for worker in watched.workers] == [(14, ""), (13, "worker 2")]


def test_points_that_were_never_trained_do_not_count_when_the_budget_is_raised(many: StudyFolder) -> None:
    refused = replace(many.records()[0], outcome=Outcome.OVER_BUDGET, metrics=None, attempts=0)
    assert Standing.of([refused], Budget(), ("accuracy", "memory", "ops")).done == 0
    assert Standing.of([replace(refused, attempts=1)], Budget(), ("accuracy", "memory", "ops")).done == 1


def test_a_coordinator_that_died_is_noticed(tmp_path: Path) -> None:
    with studies.running_study(tmp_path) as folder:
        watched = WatchedStudy(folder)
        assert not watched.abandoned
    watched.refresh()
    assert watched.abandoned
    assert watched.state is State.INTERRUPTED
    assert (watched.workers, watched.snapshot().records) == ([], snapshot_of(folder).records)
    assert watched.standing.outcomes[Outcome.INTERRUPTED] == 2
    assert (
        alerts(watched, NOW)[0].text == "the search died without saying so: trials 12, 13 were under way, nobody trains"
    )


def test_alerts_tell_what_is_so_now_and_then_what_happened_newest_first(tmp_path: Path) -> None:
    with studies.running_study(tmp_path) as folder:
        watched = WatchedStudy(folder)
        assert [(a.outcome, a.lost) for a in alerts(watched, NOW)] == [(None, True), (Outcome.DIVERGED, False)]
        later = alerts(watched, NOW + 400, most=2)
        assert [a.text for a in later] == [
            "the search itself has been silent for 6 min 40 s",
            alerts(watched, NOW)[0].text,
        ]


def test_trouble_is_an_alert_until_it_is_over(study: StudyFolder) -> None:
    watched, log = WatchedStudy(study), EventLog(study.events)
    with hold(study.lock):
        log.append(Trouble("the database does not answer"))
        watched.refresh()
        assert alerts(watched, NOW)[0].text == "the database does not answer"
        log.append(Trouble(""))
        watched.refresh()
        assert all("database" not in alert.text for alert in alerts(watched, NOW))


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("reverse", [False, True])
def test_trials_are_sorted_with_those_without_a_value_last(many: StudyFolder, sort: str, reverse: bool) -> None:
    watched = WatchedStudy(many)
    trials = WatchedTrials(watched)
    trials.sort, trials.reverse = sort, reverse
    keys = {
        "newest": lambda r: (-watched.finished[r.number], -r.number),
        "accuracy": lambda r: -r.metrics.accuracy,
        "memory": lambda r: r.memory_bytes,
        "ops": lambda r: r.ops,
        "trial": lambda r: r.number,
    }
    known = [r for r in watched.records.values() if sort != "accuracy" or r.metrics is not None]
    values = [keys[sort](watched.records[number]) for number in trials.numbers[: len(known)]]
    assert values == sorted(map(keys[sort], known), reverse=reverse)
    assert sorted(trials.numbers) == sorted(watched.records)


def test_a_filter_lists_what_satisfies_it_also_of_trials_that_end_later(study: StudyFolder) -> None:
    watched, writer = WatchedStudy(study), Coordinator(study)
    trials = WatchedTrials(watched)
    trials.filter("outcome==complete and hidden>=2")
    expected = [n for n, r in watched.records.items() if r.outcome is Outcome.COMPLETE and r.choices["hidden"] >= 2]
    assert sorted(trials.numbers) == sorted(expected)
    assert expected
    new = replace(watched.records[expected[0]], number=20)
    writer.start(new)
    watched.refresh()
    assert 20 not in trials.numbers
    writer.end(new)
    watched.refresh()
    assert sorted(trials.numbers) == sorted([*expected, 20])


def test_a_study_that_tried_all_there_is_is_done_for_every_view(tmp_path: Path) -> None:
    one = {"hidden": {"choices": [1]}, "intermediate": {"choices": [1]}}
    precision = {"groups": [{"layers": "downsample1", "choices": ["int8"]}]}
    space = parse_space({**studies.study_space().to_plain(), "widths": one, "precision": precision}, "tiny")
    writer = studies.StudyWriter(tmp_path / "tiny", space, 30)
    writer.trial(Outcome.COMPLETE)
    folder = writer.end("every feasible configuration tried")
    assert (snapshot_of(folder).state, WatchedStudy(folder).state) == (State.DONE, State.DONE)
