"""The executor on a real Ray of this machine: what every executor owes, workers that are killed, and placement."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bhvit.errors import InvalidInput
from searcher.executors.executor import EpochDone, Failed, Message, Stepped, Train, Trained, WorkerDied
from searcher.executors.ray_worker import WORKER_LOCK
from searcher.executors.threads import ThreadExecutor
from searcher.lock import hold
from searcher.records import read_records
from tests.searcher.fake_training import FakeTraining, assert_every_epoch_once, fake_train, search, table
from tests.searcher.ray_trainings import FAILURES, PID, NotedTraining, fail, jobs, until_ended

pytest.importorskip("ray", reason="the extra ray is not installed")
from searcher.executors.ray_cluster import RayExecutor
from searcher.executors.ray_connection import connect, ray

CPUS = 4


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    connect(None, CPUS)
    yield
    ray.shutdown()


@pytest.fixture
def executors(local_ray: None) -> Iterator[list[RayExecutor]]:
    """A list whose executors are closed in the end."""
    made: list[RayExecutor] = []
    yield made
    for executor in made:
        executor.close()


def executor_of(executors: list[RayExecutor], train: Train, slots: int | None, cpus: float = 1) -> RayExecutor:
    executors.append(RayExecutor(train, slots=slots, cpus_per_trial=cpus))
    return executors[-1]


def undisturbed(folder: Path, number: int) -> Message:
    """How the job of `number` ends in a thread."""
    executor = ThreadExecutor(fake_train)
    executor.submit(jobs(folder, number + 1)[number])
    return until_ended(executor, 1)[-1]


def pid_of(folder: Path) -> int:
    """The process that trains in `folder`, once it does."""
    deadline = time.monotonic() + 30
    while not (folder / PID).exists() or not (folder / PID).read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int((folder / PID).read_text())


def assert_gone(pid: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_jobs_are_trained_side_by_side_and_answers_are_obeyed(executors: list[RayExecutor], tmp_path: Path) -> None:
    executor = executor_of(executors, FakeTraining(0.1), 3)
    for job in jobs(tmp_path, 3):
        executor.submit(job)
    messages = until_ended(executor, 3, stop_after={1: 2})
    ends = {m.number: m for m in messages if isinstance(m, Trained)}
    assert [len(ends[n].metrics.epochs) for n in range(3)] == [5, 3, 5]
    assert ends[2].metrics == undisturbed(tmp_path / "thread", 2).metrics
    assert len({end.worker for end in ends.values()}) == 3
    firsts = [next(i for i, m in enumerate(messages) if m.number == n) for n in range(3)]
    first_end = next(i for i, m in enumerate(messages) if isinstance(m, Trained))
    assert max(firsts) < first_end
    assert {m.phase for m in messages if isinstance(m, Stepped)} == {"fp", "qat"}


def test_a_worker_waits_for_the_answer_to_an_epoch(executors: list[RayExecutor], tmp_path: Path) -> None:
    executor = executor_of(executors, fake_train, 1)
    executor.submit(jobs(tmp_path, 1)[0])
    while not isinstance(executor.next_message(30), EpochDone):
        pass
    assert executor.next_message(0.5) is None
    executor.answer(0, False)
    assert until_ended(executor, 1)


def test_failures_of_every_kind_come_with_their_class_and_spare_the_worker(
    executors: list[RayExecutor], tmp_path: Path
) -> None:
    executor = executor_of(executors, fail, 1)
    ends = []
    for job in jobs(tmp_path, len(FAILURES)):
        executor.submit(job)
        ends += until_ended(executor, 1)
    assert all(isinstance(end, Failed) for end in ends)
    assert [end.kind for end in ends] == [
        "Diverged",
        "OutOfMemory",
        "InvalidInput",
        "StorageFailed",
        "KeyError",
        "SystemExit",
    ]
    assert (ends[0].message, ends[1].peak_bytes) == ("loss was nan", 5e9)
    assert "ray_trainings.py" in ends[4].traceback
    assert len({end.worker for end in ends}) == 1


def test_a_killed_worker_is_noticed_and_its_trial_goes_on_with_another_one(
    executors: list[RayExecutor], tmp_path: Path
) -> None:
    executor = executor_of(executors, NotedTraining(0.3), 1)
    [job] = jobs(tmp_path, 1)
    executor.submit(job)
    epochs = 0
    while epochs < 2:
        message = executor.next_message(30)
        if isinstance(message, EpochDone):
            epochs += 1
            executor.answer(0, False)
    victim = pid_of(job.directory)
    os.kill(victim, signal.SIGKILL)
    killed_at = time.monotonic()
    died = until_ended(executor, 1)[-1]
    assert isinstance(died, WorkerDied)
    assert time.monotonic() - killed_at < 5
    assert "worker process" in died.message
    assert "\n" not in died.message
    executor.submit(replace(job, attempt=2))
    messages = until_ended(executor, 1)
    assert messages[-1] == replace(undisturbed(tmp_path / "thread", 0), worker=messages[-1].worker)
    assert pid_of(job.directory) != victim


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_search_whose_workers_are_killed_ends_like_an_undisturbed_one(
    kills: int, executors: list[RayExecutor], tmp_path: Path
) -> None:
    trials, workers = 6 + kills // 5, 2
    search(tmp_path / "undisturbed", trials=trials, executor=ThreadExecutor(fake_train, workers), workers=workers)
    executor = executor_of(executors, NotedTraining(0.05), workers)
    left, over, draw = [kills], threading.Event(), random.Random(kills)

    def kill_now_and_then() -> None:
        while left[0] and not over.wait(draw.uniform(0.2, 1.2)):
            alive = [p for f in (tmp_path / "study").glob(f"trials/*/{PID}") if (p := pid_of(f.parent)) and is_alive(p)]
            if alive:
                os.kill(draw.choice(alive), signal.SIGKILL)
                left[0] -= 1

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    search(tmp_path / "study", trials=trials, executor=executor, workers=workers)
    over.set()
    killer.join()
    assert left[0] < kills
    assert table(read_records(tmp_path / "study")) == table(read_records(tmp_path / "undisturbed"))
    assert_every_epoch_once(tmp_path / "study")


def test_a_trial_waits_for_another_worker_that_still_writes_its_folder(
    executors: list[RayExecutor], tmp_path: Path
) -> None:
    executor = executor_of(executors, NotedTraining(), 1)
    [job] = jobs(tmp_path, 1)
    with hold(job.directory / WORKER_LOCK):
        executor.submit(job)
        assert executor.next_message(3) is None
        assert not (job.directory / PID).exists()
    assert isinstance(until_ended(executor, 1)[-1], Trained)


def test_trials_without_room_wait_for_it_and_the_user_is_told(
    executors: list[RayExecutor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("searcher.executors.ray_cluster.PATIENCE_S", 0.0)
    executor = executor_of(executors, fake_train, slots=5, cpus=CPUS / 2)
    assert executor.slots == 5
    for job in jobs(tmp_path, 5):
        executor.submit(job)
    assert executor.trouble == "5 trials wait for room in the Ray cluster, each for 2 CPUs and 0 GPUs"
    ends = [m for m in until_ended(executor, 5) if isinstance(m, Trained)]
    assert {end.number for end in ends} == set(range(5))
    assert len({end.worker for end in ends}) <= 2
    assert executor.trouble is None


def test_without_a_number_of_slots_they_are_what_the_cluster_has_room_for(executors: list[RayExecutor]) -> None:
    assert executor_of(executors, fake_train, None).slots == CPUS
    assert executor_of(executors, fake_train, None, cpus=1.5).slots == 2


def test_closing_ends_a_training_that_never_would(executors: list[RayExecutor], tmp_path: Path) -> None:
    executor = executor_of(executors, NotedTraining(1000), 1)
    [job] = jobs(tmp_path, 1)
    executor.submit(job)
    pid = pid_of(job.directory)
    executor.close()
    assert_gone(pid)


def test_trials_that_fit_on_no_machine_are_refused(local_ray: None) -> None:
    with pytest.raises(InvalidInput, match=r"takes 1 CPUs and 1 GPUs, but they have 4 CPUs and 0 GPUs; use a smaller"):
        RayExecutor(fake_train, gpus_per_trial=1)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("127.0.0.1:1", "a Ray cluster must run at 127.0.0.1:1 .* Connection refused"),
        ("nonsense", "'nonsense' is not HOST:PORT"),
        ("ray://head:10001", "'ray://head:10001' is not HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once(address: str, text: str) -> None:
    begun = time.monotonic()
    with pytest.raises(InvalidInput, match=text):
        connect(address, 0)
    assert time.monotonic() - begun < 5


def test_without_ray_the_error_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['ray'] = None; import searcher.executors.ray_cluster"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'use pip install "bhvit-searcher[ray]"' in done.stderr
