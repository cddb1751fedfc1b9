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
from importlib.util import find_spec
from pathlib import Path

import pytest

from bhvit.errors import InvalidInput
from searcher.executors.executor import EpochDone, Failed, Message, Stepped, Trained, WorkerDied
from searcher.executors.threads import ThreadExecutor
from searcher.executors.worker import WORKER_LOCK
from searcher.lock import hold
from searcher.records import read_records
from tests.searcher.fake_training import assert_every_epoch_once, fake_train, search, table
from tests.searcher.ray_trainings import FAILURES, PID, Scripted, assert_gone, is_alive, jobs, until_ended

if find_spec("ray") is None:
    pytest.skip("the extra ray is not installed", allow_module_level=True)
from searcher.executors.ray_cluster import RayExecutor
from searcher.executors.ray_connection import connect, ray

CPUS = 4


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    connect(None, CPUS)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def executor(local_ray: None) -> Iterator[RayExecutor]:
    """Two workers, which stay from test to test, as starting one takes a second."""
    executor = RayExecutor(Scripted(), slots=2)
    yield executor
    executor.close()


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


def test_jobs_are_trained_side_by_side_and_answers_are_obeyed(executor: RayExecutor, tmp_path: Path) -> None:
    for job in jobs(tmp_path, 2, seconds=0.2):
        executor.submit(job)
    messages = until_ended(executor, 2, stop_after={1: 2})
    ends = {m.number: m for m in messages if isinstance(m, Trained)}
    assert [len(ends[n].metrics.epochs) for n in range(2)] == [5, 3]
    assert ends[0].metrics == undisturbed(tmp_path / "thread", 0).metrics
    assert len({end.worker for end in ends.values()}) == 2
    firsts = [next(i for i, m in enumerate(messages) if m.number == n) for n in range(2)]
    first_end = next(i for i, m in enumerate(messages) if isinstance(m, Trained))
    assert max(firsts) < first_end
    assert {m.phase for m in messages if isinstance(m, Stepped)} == {"fp", "qat"}


def test_a_worker_waits_for_the_answer_to_an_epoch(executor: RayExecutor, tmp_path: Path) -> None:
    executor.submit(jobs(tmp_path, 1)[0])
    while not isinstance(executor.next_message(30), EpochDone):
        pass
    assert executor.next_message(0.5) is None
    executor.answer(0, False)
    assert until_ended(executor, 1)


def test_failures_of_every_kind_come_with_their_class_and_spare_the_worker(
    executor: RayExecutor, tmp_path: Path
) -> None:
    ends = []
    for number in range(len(FAILURES)):
        [job] = jobs(tmp_path / str(number), 1, failure=number)
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
    executor: RayExecutor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    [job] = jobs(tmp_path, 1, seconds=0.3)
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
    assert died.message.startswith("is gone: its worker process has died: Worker unexpectedly exits with")
    assert "\n" not in died.message
    executor.submit(replace(job, attempt=2))
    messages = until_ended(executor, 1)
    assert messages[-1] == replace(undisturbed(tmp_path / "thread", 0), worker=messages[-1].worker)
    assert pid_of(job.directory) != victim
    assert capfd.readouterr() == ("", "")  # Ray says nothing on our screen


def test_a_trial_waits_for_another_worker_that_still_writes_its_folder(executor: RayExecutor, tmp_path: Path) -> None:
    [job] = jobs(tmp_path, 1)
    with hold(job.directory / WORKER_LOCK):
        executor.submit(job)
        assert executor.next_message(3) is None
        assert not (job.directory / PID).exists()
    assert isinstance(until_ended(executor, 1)[-1], Trained)


def test_trials_without_room_wait_for_it_and_the_user_is_told(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("searcher.executors.ray_cluster.PATIENCE_S", 0.0)
    large = RayExecutor(Scripted(), slots=3, cpus_per_trial=CPUS / 2)  # room for one beside the two idle workers
    try:
        for job in jobs(tmp_path, 3):
            large.submit(job)
        assert large.trouble == "3 trials wait for room in the Ray cluster, each for 2 CPUs and 0 GPUs"
        ends = [m for m in until_ended(large, 3) if isinstance(m, Trained)]
        assert sorted(end.number for end in ends) == [0, 1, 2]
        assert len({end.worker for end in ends}) == 1
        assert large.trouble is None
    finally:
        large.close()


def test_without_a_number_of_slots_they_are_what_the_cluster_has_room_for(local_ray: None) -> None:
    assert RayExecutor(Scripted()).slots == CPUS
    assert RayExecutor(Scripted(), cpus_per_trial=1.5).slots == 2


def test_trials_that_fit_on_no_machine_are_refused(local_ray: None) -> None:
    with pytest.raises(InvalidInput, match=r"takes 1 CPU and 1 GPU, but they have 4 CPUs and 0 GPUs; use a smaller"):
        RayExecutor(Scripted(), gpus_per_trial=1)


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_whose_workers_are_killed_ends_like_an_undisturbed_one(local_ray: None, tmp_path: Path) -> None:
    kills, trials, workers = 50, 20, 2
    search(tmp_path / "undisturbed", trials=trials, executor=ThreadExecutor(fake_train, workers), workers=workers)
    expected = table(read_records(tmp_path / "undisturbed"))
    draw, studies = random.Random(0), 0
    while kills:
        study, over = tmp_path / f"study{studies}", threading.Event()
        left = [kills]
        killer = threading.Thread(target=kill_now_and_then, args=(study, draw, left, over))
        killer.start()
        search(study, trials=trials, executor=RayExecutor(Scripted(0.1), slots=workers), workers=workers)
        over.set()
        killer.join()
        assert left[0] < kills
        assert table(read_records(study)) == expected
        assert_every_epoch_once(study)
        kills, studies = left[0], studies + 1


def kill_now_and_then(study: Path, draw: random.Random, left: list[int], over: threading.Event) -> None:
    """Kill a worker of `study` after every short while, until none is `left` to be killed or the search is `over`."""
    while left[0] and not over.wait(draw.uniform(0.2, 2.0)):
        pids = {int(text) for path in study.glob(f"trials/*/{PID}") if (text := path.read_text())}
        if alive := [pid for pid in sorted(pids) if is_alive(pid)]:
            os.kill(draw.choice(alive), signal.SIGKILL)
            left[0] -= 1


def test_closing_ends_trainings_that_never_would_end(executor: RayExecutor, tmp_path: Path) -> None:
    [job] = jobs(tmp_path, 1, seconds=1000)
    executor.submit(job)
    while not isinstance(executor.next_message(30), Stepped):
        pass
    executor.close()
    assert_gone(pid_of(job.directory))
