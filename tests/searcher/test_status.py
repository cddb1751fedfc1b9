"""What a coordinator writes down for those who watch, and that nothing depends on it."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from searcher import status_writer
from searcher.events import EpochFinished, Event, SearchStarted, TrialFinished, TrialStarted
from searcher.executors.executor import Report, Stepped, TrialJob
from searcher.executors.threads import ThreadExecutor
from searcher.lock import Holder
from searcher.records import EpochRecord, Metrics, Outcome
from searcher.status import STATUS_FILE, SearchStatus, of_holder, read_status
from searcher.status_writer import StatusWriter
from tests.searcher import studies
from tests.searcher.fake_training import search, table

BATCH = 32


class Clock:
    """A clock that the test turns; `time` is a thousand seconds ahead of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "time", lambda: self.now + 1000)


def searching(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[StatusWriter, Clock]:
    clock, space = Clock(monkeypatch), studies.study_space()
    assert space.recipe is not None
    space = replace(space, file=replace(space.file, recipe=replace(space.recipe, batch_size=BATCH)))
    writer = StatusWriter(folder, space)
    monkeypatch.setattr(writer._progress, "clock", time.monotonic)
    writer.take(SearchStarted(5, 2, 10, 20, False))
    writer.take(TrialStarted(7, 1, "0123456789", {}, 1e5, 1e6, 2, 5))
    return writer, clock


def step(phase: str, epoch: int, n: int, memory: float | None = None) -> Stepped:
    return Stepped(7, "worker 1", phase, epoch, n, 40, memory)


def test_a_worker_is_told_by_its_last_step_and_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, clock = searching(tmp_path, monkeypatch)
    (worker,) = writer.status().workers
    assert (worker.worker, worker.number, worker.phase, worker.epoch, worker.epochs) == ("", 7, "", 0, 0)
    for n in (1, 11):
        writer.take(step("fp", 1, n, memory=2.0**20))
        clock.now += 5
    writer.take(EpochFinished(7, EpochRecord("fp", 1, 10, 1.5, 1.6, 0.25, 10.0), "worker 1"))
    clock.now += 3
    (worker,) = writer.status().workers
    assert (worker.worker, worker.phase, worker.epoch, worker.epochs, worker.step) == ("worker 1", "fp", 1, 10, 0)
    assert (worker.accuracy, worker.loss, worker.memory_bytes) == (0.25, 1.5, 2.0**20)
    assert worker.images_per_second == 10 * BATCH / 5
    assert worker.heard == 1110.0
    writer.take(step("qat", 1, 4))
    (worker,) = writer.status().workers
    assert (worker.phase, worker.epoch, worker.epochs, worker.step, worker.steps) == ("qat", 1, 5, 4, 40)
    assert worker.accuracy is None  # that of its FP parent says little of it
    writer.take(TrialFinished(7, Outcome.COMPLETE, 0.5, "", 3, 5))
    status = writer.status()
    assert (status.time, status.workers) == (1113.0, ())


def test_it_is_written_at_most_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, clock = searching(tmp_path, monkeypatch)
    statuses = []
    for _ in range(30):
        writer.write()
        statuses.append(read_status(tmp_path))
        clock.now += 0.125
    assert [s.time - 1100 for s in dict.fromkeys(statuses) if s is not None] == [0.0, 1.0, 2.0, 3.0]
    assert os.listdir(tmp_path) == [STATUS_FILE]


def test_what_cannot_be_written_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, _ = searching(tmp_path / "absent", monkeypatch)
    writer.write()
    writer.remove()
    assert not (tmp_path / "absent").exists()


def test_a_status_of_another_version_is_none(tmp_path: Path) -> None:
    (tmp_path / STATUS_FILE).write_text('{"time": 1.0, "colour": "blue"}')
    assert read_status(tmp_path) is None
    (tmp_path / STATUS_FILE).write_text('{"time": 1.0,')
    assert read_status(tmp_path) is None


def test_a_search_writes_it_while_it_runs_and_removes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_writer, "WRITE_SECONDS", 0.0)
    seen: list[SearchStatus] = []
    (tmp_path / "study").mkdir()

    def look(event: Event | Stepped) -> None:
        status = read_status(tmp_path / "study")
        if status is not None:
            seen.append(status)

    search(tmp_path / "study", look, trials=3)
    assert not (tmp_path / "study" / STATUS_FILE).exists()
    assert {worker.number for status in seen for worker in status.workers} >= {0, 2}
    assert [status.time for status in seen] == sorted(status.time for status in seen)


def test_the_status_of_a_killed_search_is_gone_when_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / STATUS_FILE).write_text('{"time": 1.0}')
    searching(tmp_path, monkeypatch)
    assert not (tmp_path / STATUS_FILE).exists()


def test_what_a_killed_search_left_is_not_told_of_the_next_one() -> None:
    left, holder = SearchStatus(1000.0), Holder("node", 1, 1001.0)
    assert of_holder(left, holder) is None
    assert of_holder(SearchStatus(1002.0), holder) == SearchStatus(1002.0)
    assert of_holder(left, None) is None


def test_a_search_that_fails_removes_it_too(tmp_path: Path) -> None:
    def failing(job: TrialJob, report: Report) -> Metrics:
        assert (tmp_path / "study" / STATUS_FILE).exists()
        raise RuntimeError("mistake")

    with pytest.raises(Exception, match="crashed"):
        search(tmp_path / "study", executor=ThreadExecutor(failing))
    assert not (tmp_path / "study" / STATUS_FILE).exists()


def test_a_search_whose_status_cannot_be_written_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = search(tmp_path / "plain", trials=3)

    def obstruct(event: Event | Stepped) -> None:
        if isinstance(event, SearchStarted):
            (tmp_path / "other" / f".{STATUS_FILE}.partial").mkdir()
        assert not (tmp_path / "other" / STATUS_FILE).exists()

    monkeypatch.setattr(status_writer, "WRITE_SECONDS", 0.0)
    other = search(tmp_path / "other", obstruct, trials=3)
    assert table(other.records) == table(plain.records)
