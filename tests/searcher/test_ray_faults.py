"""Real Ray clusters of several nodes (all on this machine) whose parts are killed; all slow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from searcher.executors.executor import EpochDone, Failed, Trained, WorkerDied
from searcher.executors.threads import ThreadExecutor
from searcher.records import read_records
from tests.searcher.fake_training import assert_every_epoch_once, fake_train, search, table
from tests.searcher.killed_ray_search import TRIALS
from tests.searcher.ray_trainings import PID, Scripted, Unloadable, assert_gone, is_alive, jobs, until_ended

if find_spec("ray") is None:
    pytest.skip("the extra ray is not installed", allow_module_level=True)
from searcher.executors.ray_cluster import RayExecutor

from ray.cluster_utils import Cluster  # isort: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
STORE, WORKERS = 80 * 2**20, 2


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without CPUs of its own and one node with two."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    made.add_node(num_cpus=2, object_store_memory=STORE)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def started(folder: Path, address: str, seconds: float = 0.05) -> subprocess.Popen[str]:
    """A search as a process of its own, which has begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.searcher.killed_ray_search", str(folder), address, str(WORKERS), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def workers_of(study: Path, count: int) -> list[int]:
    """The processes that train in a study, once there are `count` of them."""
    deadline = time.monotonic() + 60
    while True:
        found = {int(text) for path in study.glob(f"trials/*/{PID}") if (text := path.read_text())}
        alive = [pid for pid in found if is_alive(pid)]
        if len(alive) >= count:
            return alive
        assert time.monotonic() < deadline
        time.sleep(0.05)


def raylets_of(pid: int) -> list[int]:
    """The processes of Ray that a driver started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def assert_ends_like_an_undisturbed_one(study: Path, other: Path) -> None:
    search(other, trials=TRIALS, executor=ThreadExecutor(fake_train, 2), workers=2)
    assert table(read_records(study)) == table(read_records(other))
    assert_every_epoch_once(study)


def test_nothing_outlives_a_killed_coordinator_that_started_ray_itself(tmp_path: Path) -> None:
    process = started(tmp_path / "study", "local")
    workers = workers_of(tmp_path / "study", 2)
    ray_processes = raylets_of(process.pid)
    assert len(ray_processes) >= 2
    process.kill()
    process.wait()
    for pid in [*workers, *ray_processes]:
        assert_gone(pid, 20)
    again = started(tmp_path / "study", "local")
    assert again.communicate(timeout=120) == ("", "")
    assert again.returncode == 0
    assert_ends_like_an_undisturbed_one(tmp_path / "study", tmp_path / "undisturbed")


def test_no_worker_of_a_cluster_outlives_a_killed_coordinator(cluster: Any, tmp_path: Path) -> None:
    study = tmp_path / "study"
    for _ in range(3):
        process = started(study, cluster.address)
        workers = workers_of(study, 1)
        process.kill()
        process.wait()
        for pid in workers:
            assert_gone(pid, 20)
    again = started(study, cluster.address)
    assert again.communicate(timeout=120) == ("", "")
    assert again.returncode == 0
    assert_ends_like_an_undisturbed_one(study, tmp_path / "undisturbed")


def test_a_coordinator_started_at_once_after_a_kill_goes_on_alone(cluster: Any, tmp_path: Path) -> None:
    study = tmp_path / "study"
    for _ in range(3):
        process = started(study, cluster.address)
        workers_of(study, 1)
        process.kill()
    again = started(study, cluster.address)
    assert again.communicate(timeout=120) == ("", "")
    assert_ends_like_an_undisturbed_one(study, tmp_path / "undisturbed")


def test_slots_follow_nodes_and_trials_of_a_lost_node_go_on_elsewhere(cluster: Any, tmp_path: Path) -> None:
    executor = RayExecutor(Scripted(), address=cluster.address)
    try:
        assert executor.slots == 2
        added = cluster.add_node(num_cpus=2, object_store_memory=STORE)
        cluster.wait_for_nodes()
        time.sleep(3)
        assert executor.slots == 4
        todo = jobs(tmp_path, 4, seconds=0.5)
        for job in todo:
            executor.submit(job)
        begun: set[int] = set()
        while len(begun) < 4:
            message = executor.next_message(60)
            assert message is not None
            if isinstance(message, EpochDone):
                begun.add(message.number)
                executor.answer(message.number, False)
        cluster.remove_node(added, allow_graceful=False)
        lost_at = time.monotonic()
        ends = [m for m in until_ended(executor, 4) if isinstance(m, Trained | WorkerDied)]
        died = [end for end in ends if isinstance(end, WorkerDied)]
        assert len(died) == 2
        while executor.slots != 2:
            assert time.monotonic() < lost_at + 60
            time.sleep(0.5)
        for end in died:
            executor.submit(todo[end.number])
        ends += until_ended(executor, 2)
        trained = {end.number: end.metrics for end in ends if isinstance(end, Trained)}
        threads = ThreadExecutor(fake_train)
        for job in jobs(tmp_path / "thread", 4):
            threads.submit(job)
            [*_, end] = until_ended(threads, 1)
            assert isinstance(end, Trained)
            assert trained[job.number] == end.metrics
    finally:
        executor.close()


def test_a_search_whose_head_dies_ends_and_goes_on_with_a_new_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")  # instead of 60
    study = tmp_path / "study"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": STORE})
    process = started(study, cluster.address, seconds=3)
    workers = workers_of(study, 2)
    os.kill(cluster.head_node.all_processes["gcs_server"][0].process.pid, signal.SIGKILL)
    begun = time.monotonic()
    out, errors = process.communicate(timeout=120)
    print("ended after", time.monotonic() - begun, process.returncode, out, errors)
    assert process.returncode
    cluster.shutdown()
    for pid in workers:
        assert_gone(pid, 20)
    again = started(study, "local")
    assert again.communicate(timeout=120) == ("", "")
    assert_ends_like_an_undisturbed_one(study, tmp_path / "undisturbed")


def test_workers_that_cannot_start_end_the_search_with_the_reason(cluster: Any, tmp_path: Path) -> None:
    executor = RayExecutor(Unloadable(), address=cluster.address, slots=2)
    try:
        for job in jobs(tmp_path, 2):
            executor.submit(job)
        message = executor.next_message(60)
        assert isinstance(message, Failed)
        assert (message.number, message.kind) == (0, "InvalidInput")
        assert message.message == (
            "workers must be able to start on every machine of the cluster, but ModuleNotFoundError: "
            "No module named 'nosuchmodule'; install there what is installed here."
        )
    finally:
        executor.close()
