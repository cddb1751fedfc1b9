"""Worker processes: several, their deaths, and those that are kept from one study to the next."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from searcher.executors.executor import (
    EpochDone,
    Executor,
    Failed,
    Message,
    Stepped,
    Train,
    Trained,
    TrialJob,
    WorkerDied,
)
from searcher.executors.processes import ProcessExecutor, WorkerPool
from tests.searcher.fake_training import FakeTraining, worker_processes
from tests.searcher.spaces import small_space

SPACE = small_space()


def job(tmp_path: Path, number: int = 0) -> TrialJob:
    directory = tmp_path / str(number)
    directory.mkdir(exist_ok=True)
    return TrialJob(number, SPACE.candidate(SPACE.decode(number)), directory, 1)


def next_of(executor: Executor, *kinds: type) -> Message:
    """The next message of one of the kinds; epochs are answered on the way."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        message = executor.next_message(1)
        if isinstance(message, kinds):
            return message
        if isinstance(message, EpochDone):
            executor.answer(message.number, stop=False)
    raise AssertionError(f"no {kinds} within 30 s")


def test_job_is_trained_to_its_end_with_steps_and_epochs_on_the_way(tmp_path: Path) -> None:
    executor = worker_processes(FakeTraining(), 1)
    try:
        executor.submit(job(tmp_path))
        assert isinstance(next_of(executor, Stepped), Stepped)
        assert next_of(executor, Trained).metrics.best_epoch == 4  # type: ignore[union-attr]
    finally:
        executor.close()


def test_answer_stops_the_training(tmp_path: Path) -> None:
    executor = worker_processes(FakeTraining(), 1)
    try:
        executor.submit(job(tmp_path))
        while (message := next_of(executor, EpochDone)).record.phase != "qat":  # type: ignore[union-attr]
            executor.answer(0, stop=False)
        executor.answer(0, stop=True)
        assert next_of(executor, Trained).metrics.best_epoch == message.record.epoch == 1  # type: ignore[union-attr]
    finally:
        executor.close()


def test_killed_worker_is_told_replaced_and_the_trial_goes_on(tmp_path: Path) -> None:
    executor = worker_processes(FakeTraining(0.2), 1)
    try:
        executor.submit(job(tmp_path))
        next_of(executor, EpochDone)
        os.kill(executor.pids[0], signal.SIGKILL)
        assert "by signal 9 (SIGKILL)" in next_of(executor, WorkerDied).message  # type: ignore[union-attr]
        executor.submit(job(tmp_path))
        assert isinstance(next_of(executor, Trained, Failed), Trained)
    finally:
        executor.close()


def test_failure_comes_with_its_kind_and_traceback(tmp_path: Path) -> None:
    executor = worker_processes(_fail, 1)
    try:
        executor.submit(job(tmp_path))
        failed = next_of(executor, Failed)
        assert isinstance(failed, Failed)
        assert (failed.kind, failed.message) == ("ZeroDivisionError", "division by zero")
        assert "1 / 0" in failed.traceback
    finally:
        executor.close()


def _fail(job: TrialJob, report: object) -> None:
    1 / 0  # noqa: B018


@pytest.mark.parametrize("dies", [False, True])
def test_pooled_worker_serves_the_next_executor_and_a_dead_one_is_replaced(dies: bool, tmp_path: Path) -> None:
    train: Train = FakeTraining()
    with WorkerPool() as pool:
        pids = []
        for number in range(2):
            executor = ProcessExecutor([train], [f"worker of study {number}"], pool)
            executor.submit(job(tmp_path, number))
            ended = next_of(executor, Trained, WorkerDied)
            if isinstance(ended, WorkerDied):
                executor.submit(job(tmp_path, number))
                ended = next_of(executor, Trained)
            assert ended.worker == f"worker of study {number}"
            pids += executor.pids
            executor.close()
            if dies and number == 0:
                os.kill(pids[0], signal.SIGKILL)
                time.sleep(0.3)
        assert (pids[0] == pids[1]) is not dies
