"""The search as a whole, with fake trainings: what is asked, recorded, repaired and refused."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from bhvit.errors import InvalidInput
from searcher import study_mirror
from searcher.budget import Budget
from searcher.coordinator import Ended, run_search
from searcher.events import Event, SearchStarted, TrialFinished, TrialStarted, WorkerLost, read_events
from searcher.executors.executor import EpochDone, Failed, Message, Report, Stepped, TrialJob, WorkerDied
from searcher.executors.threads import ThreadExecutor
from searcher.lock import hold
from searcher.outcomes import Diverged, MissingData, OutOfMemory
from searcher.ranking import metrics_of, ranked
from searcher.records import EpochRecord, Metrics, Outcome, TrialRecord, read_records
from searcher.space import parse_space
from searcher.study_folder import StudyFolder
from tests.searcher.fake_training import assert_every_epoch_once, fake_train, search, search_space, table
from tests.searcher.spaces import FAMILY_NAMES, small_space

State = optuna.trial.TrialState


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a search of eight trials that nothing interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed") / "s"
    search(folder)
    return folder


def _trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    return optuna.load_study(study_name=folder.name, storage=storage).trials


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_budgeted_search_trains_each_candidate_once_and_within_budget(family: str, in_memory: Path) -> None:
    free = small_space(family)
    memory = sorted(free.candidate(free.decode(i)).cost().memory_bytes for i in range(free.size))
    space = small_space(family, budget={"memory": memory[12]}, search={"trials": 9, "pruner": "none"})
    trained = []

    def train(job: TrialJob, report: Report) -> Metrics:
        trained.append(job.candidate)
        return fake_train(job, report)

    summary = run_search(space, in_memory / "study", ThreadExecutor(train))
    assert (summary.ended, summary.trained, summary.planned) == (Ended.DONE, 9, 9)
    assert len({c.id for c in trained}) == 9
    assert all(c.cost().memory_bytes <= memory[12] for c in trained)


def test_enqueued_points_come_first_and_the_one_over_budget_is_never_trained(in_memory: Path) -> None:
    started: list[Any] = []
    summary = search(in_memory / "s", listener=started.append)
    space = search_space()
    assert [r.choices for r in summary.records[:2]] == list(space.enqueued)
    assert summary.records[1].outcome is Outcome.OVER_BUDGET
    assert "exceeds" in summary.records[1].message
    assert 1 not in [e.number for e in started if isinstance(e, TrialStarted)]
    assert summary.trained == 8
    assert len(summary.records) == 9


def test_study_holds_values_constraints_and_curves(in_memory: Path) -> None:
    summary = search(in_memory / "s")
    for record, trial in zip(summary.records, _trials(in_memory / "s"), strict=True):
        assert trial.params == record.choices
        assert trial.user_attrs["outcome"] == record.outcome.value
        assert (max(trial.constraints.values()) <= 0) == (record.outcome is not Outcome.OVER_BUDGET)
        expected = {Outcome.COMPLETE: State.COMPLETE, Outcome.STOPPED: State.PRUNED, Outcome.OVER_BUDGET: State.FAIL}
        assert trial.state == expected[record.outcome]
        if record.outcome is Outcome.COMPLETE:
            assert trial.value == record.metrics.accuracy  # type: ignore[union-attr]
            assert sorted(trial.intermediate_values) == [1, 2, 3, 4]


def test_pruned_trial_is_stopped_and_kept_with_its_accuracy(in_memory: Path) -> None:
    stopped = [r for r in search(in_memory / "s").records if r.outcome is Outcome.STOPPED]
    assert stopped
    # The space's median pruner spares the first epoch, and nobody is stopped at the last.
    assert all(r.metrics is not None and 2 <= r.metrics.best_epoch < 4 for r in stopped)


def test_finished_study_started_again_trains_nothing_and_more_trials_continue_it(in_memory: Path) -> None:
    first = search(in_memory / "s", trials=4)
    events: list[Any] = []
    again = search(in_memory / "s", trials=4, listener=events.append)
    assert not [e for e in events if isinstance(e, TrialStarted)]
    assert table(again.records) == table(first.records)
    longer = search(in_memory / "s", trials=6)
    assert longer.trained == 6
    assert table(longer.records) == table(search(in_memory / "whole", trials=6).records)


def test_exhausted_space_ends_clearly(in_memory: Path) -> None:
    summary = search(in_memory / "s", trials=100)
    assert (summary.ended, summary.trained, summary.feasible) == (Ended.EXHAUSTED, 24, 24)


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        (Diverged("NaN in qat"), Outcome.DIVERGED, "NaN in qat"),
        (OutOfMemory("cuda:0"), Outcome.OUT_OF_MEMORY, "cuda:0"),
        (MemoryError("host"), Outcome.OUT_OF_MEMORY, "host"),
        (ZeroDivisionError("oh\nno"), Outcome.CRASHED, "ZeroDivisionError: oh no"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_failed_training_is_recorded_and_the_search_goes_on(
    error: Exception, outcome: Outcome, message: str, in_memory: Path
) -> None:
    def train(job: TrialJob, report: Report) -> Metrics:
        if job.number == 2:
            raise error
        return fake_train(job, report)

    summary = run_search(search_space(), in_memory / "s", ThreadExecutor(train))
    assert (summary.records[2].outcome, summary.records[2].message) == (outcome, message)
    assert summary.trained == 8
    assert _trials(in_memory / "s")[2].state == State.FAIL


def test_three_crashes_in_a_row_end_the_search_and_keep_the_study(in_memory: Path) -> None:
    def train(job: TrialJob, report: Report) -> Metrics:
        raise RuntimeError("no such device")

    with pytest.raises(InvalidInput, match=r"3 trials in a row crashed, the last with RuntimeError: no such device"):
        run_search(search_space(), in_memory / "s", ThreadExecutor(train))
    records = read_records(in_memory / "s")
    assert [r.outcome for r in records] == [Outcome.CRASHED, Outcome.OVER_BUDGET, Outcome.CRASHED, Outcome.CRASHED]
    assert "no such device" in (StudyFolder(in_memory / "s").trial(records[3]) / "crash.txt").read_text()
    assert search(in_memory / "s").trained == 8


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), MissingData("no images in data")], ids=["ctrl-c", "missing"])
def test_interrupted_trial_goes_on_under_its_number(reason: BaseException, in_memory: Path, undisturbed: Path) -> None:
    attempts = []

    def train(job: TrialJob, report: Report) -> Metrics:
        attempts.append((job.number, job.attempt))
        if job.number == 3 and job.attempt == 1:
            report(EpochRecord("fp", 1, 1, 1.0, 1.0, 0.5, 0.0))
            raise reason
        return fake_train(job, report)

    if isinstance(reason, InvalidInput):
        with pytest.raises(MissingData, match="no images in data"):
            run_search(search_space(), in_memory / "s", ThreadExecutor(train))
    else:
        assert run_search(search_space(), in_memory / "s", ThreadExecutor(train)).ended is Ended.INTERRUPTED
    assert read_records(in_memory / "s")[3].outcome is Outcome.INTERRUPTED
    summary = run_search(search_space(), in_memory / "s", ThreadExecutor(train))
    assert attempts[2:5] == [(3, 1), (3, 2), (4, 1)]
    assert table(summary.records) == table(read_records(undisturbed))
    assert summary.records[3].attempts == 2


def test_kill_between_record_and_study_is_repaired_without_training_again(
    in_memory: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: object, record: TrialRecord) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study_mirror.StudyMirror, "finish", killed)
        search(in_memory / "s")
    assert read_records(in_memory / "s")[0].outcome is Outcome.COMPLETE
    assert _trials(in_memory / "s")[0].state == State.RUNNING
    summary = search(in_memory / "s")
    assert summary.records[0].attempts == 1
    assert table(summary.records) == table(read_records(undisturbed))


def test_removed_trial_is_proposed_again_under_its_number(in_memory: Path, undisturbed: Path) -> None:
    search(in_memory / "s")
    study = StudyFolder(in_memory / "s")
    shutil.rmtree(study.trial(study.records()[4]))
    assert table(search(in_memory / "s").records) == table(read_records(undisturbed))


@pytest.mark.parametrize("workers", [1, 2, 6])
def test_table_depends_on_the_lookahead_alone_not_on_workers_and_their_speed(workers: int, in_memory: Path) -> None:
    plain = search_space(12).to_plain()
    plain["search"]["lookahead"] = 6
    space, draw = parse_space(plain, "small"), random.Random(workers)

    def train(job: TrialJob, report: Report) -> Metrics:
        time.sleep(draw.uniform(0, 0.03))
        return fake_train(job, report)

    summaries = [
        run_search(space, in_memory / name, ThreadExecutor(trainer, slots))
        for name, trainer, slots in (("plain", fake_train, 1), ("mixed", train, workers))
    ]
    assert table(summaries[0].records) == table(summaries[1].records)
    assert [r.horizon for r in summaries[1].records] == [max(0, n - 5) for n in range(13)]


def test_several_workers_train_side_by_side(in_memory: Path) -> None:
    together = threading.Barrier(3, timeout=20)

    def train(job: TrialJob, report: Report) -> Metrics:
        if job.number in (0, 2, 3):
            report.step("qat", 1, 1, 1)  # they need no parent, so that none waits for another's
            together.wait()
        return fake_train(job, report)

    summary = search(in_memory / "s", executor=ThreadExecutor(train, 3), workers=3)
    assert [r.outcome.trained for r in summary.records].count(True) == 8


def test_trials_that_share_a_parent_wait_until_one_of_them_has_trained_it(in_memory: Path) -> None:
    in_parent: list[str] = []

    def train(job: TrialJob, report: Report) -> Metrics:
        parent = job.candidate.parent.id
        assert parent not in in_parent
        in_parent.append(parent)
        time.sleep(0.02)
        in_parent.remove(parent)
        return fake_train(job, report)

    summary = search(in_memory / "s", executor=ThreadExecutor(train, 4), workers=4)
    assert not [r.message for r in summary.records if r.outcome is Outcome.CRASHED]
    assert len({r.candidate.parent.id for r in summary.records}) < len(summary.records)


def test_trial_whose_workers_keep_dying_is_given_up_and_the_others_go_on(in_memory: Path) -> None:
    class Deadly(ThreadExecutor):
        def next_message(self, timeout: float) -> Message | None:
            message = super().next_message(timeout)
            if isinstance(message, EpochDone) and message.number == 3:
                self._answers[3].put(None)  # its thread ends
                return WorkerDied(3, "worker 1", "ended by signal 11 (SIGSEGV)")
            ended = isinstance(message, Failed) and message.kind == "_Closed"  # nothing comes from a dead worker
            return None if ended else message

    stored = []

    def look(event: Event | Stepped) -> None:
        if isinstance(event, WorkerLost):
            stored.append(read_records(in_memory / "s")[event.number].outcome)

    summary = search(in_memory / "s", look, executor=Deadly(fake_train))
    assert stored[:4] == [Outcome.INTERRUPTED] * 4  # before anybody is told
    record = summary.records[3]
    assert (record.outcome, record.attempts) == (Outcome.CRASHED, 5)
    assert "died 5 times without finishing an epoch, the last time: ended by signal 11 (SIGSEGV)" in record.message
    assert summary.trained == 8


def test_lowered_budget_counts_what_is_within_it_and_trains_only_the_rest(in_memory: Path) -> None:
    search(in_memory / "s")
    records = read_records(in_memory / "s")
    limit = sorted(r.memory_bytes for r in records if r.outcome.trained)[4]
    plain = search_space(8).to_plain()
    plain["budget"] = {"memory": limit}
    lowered = run_search(parse_space(plain, "small"), in_memory / "s", ThreadExecutor(fake_train))
    assert table(lowered.records[: len(records)]) == table(records)
    new = lowered.records[len(records) :]
    assert lowered.trained == 8
    assert len(new) == 3
    assert all(r.memory_bytes <= limit for r in new)
    again = run_search(parse_space(plain, "small"), in_memory / "s", ThreadExecutor(fake_train))
    assert table(again.records) == table(lowered.records)


def test_replayed_epochs_are_reported_once_and_the_verdict_stands(in_memory: Path, undisturbed: Path) -> None:
    victim = next(r.number for r in read_records(undisturbed) if r.outcome is Outcome.STOPPED)
    verdicts: dict[int, list[bool]] = {1: [], 2: []}

    def train(job: TrialJob, report: Report) -> Metrics:
        def remember(record: EpochRecord) -> bool:
            verdicts[job.attempt].append(report(record))
            return verdicts[job.attempt][-1]

        remember.step = report.step  # type: ignore[attr-defined]
        metrics = fake_train(job, remember if job.number == victim else report)
        if job.number == victim and job.attempt == 1:
            raise KeyboardInterrupt
        return metrics

    run_search(search_space(), in_memory / "s", ThreadExecutor(train))
    run_search(search_space(), in_memory / "s", ThreadExecutor(train))
    assert verdicts[1] == verdicts[2]
    assert verdicts[1][-1]
    assert len(verdicts[1]) > 2  # not stopped at its first epoch of phase 2
    assert table(read_records(in_memory / "s")) == table(read_records(undisturbed))
    assert_every_epoch_once(in_memory / "s")


def test_another_space_in_the_folder_is_refused_and_nothing_changes(in_memory: Path) -> None:
    search(in_memory / "s", trials=1)
    before = {p: p.read_bytes() for p in in_memory.rglob("*") if p.is_file() and p.name != "lock"}
    other = small_space(widths={"hidden": {"choices": [1, 3]}})
    expected = r"holds the study of another space: widths.hidden.choices is \[1, 2\] there, \[1, 3\] here"
    with pytest.raises(InvalidInput, match=expected):
        run_search(other, in_memory / "s", ThreadExecutor(fake_train))
    assert {p: p.read_bytes() for p in in_memory.rglob("*") if p.is_file() and p.name != "lock"} == before


def test_space_that_no_trial_has_begun_with_is_replaced_by_the_corrected_one(in_memory: Path) -> None:
    folder = StudyFolder(in_memory)
    folder.claim(small_space(model={"preset": "tiny", "classes": 5}))
    folder.trials.mkdir()
    corrected = small_space(model={"preset": "tiny", "classes": 6})
    folder.claim(corrected)
    assert folder.space().file == corrected.file
    (folder.trials / "0000-abc").mkdir()
    with pytest.raises(InvalidInput, match=r"model\.classes is 6 there, 37 here"):
        folder.claim(small_space(model={"preset": "tiny"}))


def test_raised_budget_lets_a_refused_enqueued_point_be_trained(in_memory: Path) -> None:
    search(in_memory / "s", trials=3)
    space = search_space(trials=4)
    raised = small_space(search={"trials": 4, "startup": 3}, enqueue=list(space.enqueued))
    summary = run_search(raised, in_memory / "s", ThreadExecutor(fake_train))
    assert summary.records[-1].choices == space.enqueued[1]
    assert summary.records[-1].outcome.trained
    assert StudyFolder(in_memory / "s").space().budget.memory is None


def test_folder_in_use_is_refused(in_memory: Path) -> None:
    search(in_memory / "s", trials=1)
    with hold(in_memory / "s" / "lock"), pytest.raises(InvalidInput, match="is in use by process"):
        search(in_memory / "s")


def test_folder_with_other_files_and_a_file_are_refused(in_memory: Path) -> None:
    (in_memory / "photos").mkdir()
    (in_memory / "photos" / "cat.jpg").touch()
    with pytest.raises(InvalidInput, match=r"must be new or hold a study, but it holds cat\.jpg"):
        search(in_memory / "photos")
    with pytest.raises(InvalidInput, match="but it is a file"):
        search(in_memory / "photos" / "cat.jpg")


def test_space_without_feasible_configuration_is_refused_before_anything_is_written(in_memory: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none of 36 configurations is within the budget, memory <= 0.01 KiB"):
        run_search(small_space(budget={"memory": "9 B"}), in_memory / "s", ThreadExecutor(fake_train))
    assert not (in_memory / "s").exists()


def test_events_tell_progress_and_survive_a_torn_line(in_memory: Path) -> None:
    heard: list[Any] = []
    search(in_memory / "s", trials=2, listener=heard.append)
    heard = [event for event in heard if not isinstance(event, Stepped)]
    log = in_memory / "s" / "events.jsonl"
    assert [e["event"] for e in read_events(log)] == [type(e).__name__ for e in heard]
    finished = [e for e in heard if isinstance(e, TrialFinished)]
    assert [(e.number, e.trained, e.planned) for e in finished] == [(0, 1, 2), (1, 1, 2), (2, 2, 2)]
    log.write_bytes(log.read_bytes()[:-20])
    search(in_memory / "s", trials=2)
    names = [e["event"] for e in read_events(log)]
    assert names == [type(e).__name__ for e in heard[:-1]] + ["SearchStarted", "SearchEnded"]
    assert all(json.loads(line) for line in log.read_text().splitlines() if line.endswith("}"))


def test_a_run_starts_from_the_best_of_earlier_ones_within_its_own_budget(in_memory: Path) -> None:
    starts: list[Any] = []

    def listen(event: Any) -> None:
        if isinstance(event, SearchStarted):
            starts.append((event.best_number, event.best_accuracy))

    first = search(in_memory / "s", listener=listen)
    best = ranked(first.records, Budget())[0]
    search(in_memory / "s", listener=listen)
    plain = search_space().to_plain()
    plain["budget"]["memory"] = best.memory_bytes - 1
    run_search(parse_space(plain, "small"), in_memory / "s", ThreadExecutor(fake_train), listener=listen)
    lower = ranked(first.records, Budget(memory=best.memory_bytes - 1))[0]
    assert starts == [(None, None), *((r.number, metrics_of(r).accuracy) for r in (best, lower))]


def test_a_trial_that_is_finished_under_a_lowered_budget_is_said_to_be_beyond_it(in_memory: Path) -> None:
    def interrupted(job: TrialJob, report: Report) -> Metrics:
        raise KeyboardInterrupt

    (begun,) = run_search(small_space(search={"trials": 1}), in_memory / "s", ThreadExecutor(interrupted)).records
    lower = small_space(search={"trials": 1}, budget={"memory": begun.memory_bytes - 1})
    heard: list[Any] = []
    summary = run_search(lower, in_memory / "s", ThreadExecutor(fake_train), listener=heard.append)
    finished = [(e.number, e.within) for e in heard if isinstance(e, TrialFinished)]
    assert finished == [(begun.number, False), *((r.number, True) for r in summary.records[1:])]


def test_optuna_prints_nothing(in_memory: Path, capfd: pytest.CaptureFixture[str], recwarn: Any) -> None:
    for name in ("none", "median", "successive_halving", {"name": "hyperband", "max_epochs": 4}):
        space = small_space(search={"trials": 3, "pruner": name})
        run_search(space, in_memory / str(len(list(in_memory.iterdir()))), ThreadExecutor(fake_train))
    assert capfd.readouterr() == ("", "")
    assert [w for w in recwarn if "optuna" in w.filename] == []


def test_single_candidate_space_is_trained_once(in_memory: Path) -> None:
    summary = run_search(small_space(widths={}, precision={}), in_memory / "s", ThreadExecutor(fake_train))
    assert (summary.ended, summary.trained, summary.records[0].outcome) == (Ended.EXHAUSTED, 1, Outcome.COMPLETE)


def test_trials_that_only_waited_are_not_begun_by_a_run_that_wants_fewer(in_memory: Path) -> None:
    def train(job: TrialJob, report: Report) -> Metrics:
        if job.number == 2 and job.attempt == 1:
            raise KeyboardInterrupt
        return fake_train(job, report)

    stopped = search(in_memory / "s", executor=ThreadExecutor(train), workers=3)
    waiting = [r.number for r in stopped.records if r.outcome is Outcome.WAITING]
    assert waiting
    fewer = search(in_memory / "s", trials=2, workers=3)
    assert [r.number for r in fewer.records if r.outcome is Outcome.WAITING] == waiting
    assert table(search(in_memory / "s", workers=3).records) == table(search(in_memory / "calm", workers=3).records)
