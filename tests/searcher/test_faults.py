"""What a search is when the world around it breaks: every trial once, and the table of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest

from searcher.executors.executor import Report, TrialJob
from searcher.executors.threads import ThreadExecutor
from searcher.records import Metrics, read_records
from tests.searcher.fake_training import assert_every_epoch_once, fake_train, search, table
from tests.searcher.postgresql import running_server

WORKERS, TRIALS, EPOCH_SECONDS = 3, 24, 0.05


def started(folder: Path) -> subprocess.Popen[str]:
    """A search as a process of its own, which has begun."""
    arguments = [str(folder), str(WORKERS), str(TRIALS), str(EPOCH_SECONDS)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.searcher.killed_search", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def epochs_in(log: Path) -> int:
    return log.read_bytes().count(b'{"event": "EpochFinished"') if log.exists() else 0


def search_under_fire(folder: Path, draw: random.Random, kills_left: int) -> Counter[str]:
    """One study to its end, with up to `kills_left` kills at random moments: how many of each kind.

    Between two kills an epoch ends, however slow the machine is: a trial whose workers all die at once is given up.
    """
    kills: Counter[str] = Counter()
    process, log, seen = started(folder), folder / "events.jsonl", 0
    while kills.total() < kills_left:
        while (epochs := epochs_in(log)) <= seen and process.poll() is None:
            time.sleep(0.01)
        seen = epochs
        time.sleep(draw.uniform(0, 0.3))
        if process.poll() is not None:
            break
        if kills.total() % 5 and (workers := children(process.pid)):
            kill(draw.choice(workers))
            kills["worker"] += 1
        else:
            kill(process.pid)
            process.communicate()
            kills["coordinator"] += 1
            process = started(folder)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    return kills


@pytest.mark.parametrize(
    "kills",
    [
        12,
        pytest.param(50, marks=pytest.mark.slow),
        pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(5400)]),
    ],
)
def test_searches_with_killed_workers_and_coordinators_end_like_an_undisturbed_one(kills: int, in_memory: Path) -> None:
    search(in_memory / "undisturbed", trials=TRIALS, executor=ThreadExecutor(fake_train, WORKERS), workers=WORKERS)
    expected = table(read_records(in_memory / "undisturbed"))
    draw, done, studies = random.Random(kills), Counter[str](), 0
    while done.total() < kills:
        study = in_memory / f"study{studies}"
        done += search_under_fire(study, draw, kills - done.total())
        records = read_records(study)
        assert table(records) == expected
        assert [r.number for r in records] == list(range(len(expected)))
        assert_every_epoch_once(study)
        studies += 1
    assert min(done["worker"], done["coordinator"]) > 0


def test_no_worker_outlives_a_killed_coordinator(in_memory: Path) -> None:
    process = started(in_memory / "study")
    deadline = time.monotonic() + 20
    while len(workers := children(process.pid)) < WORKERS and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(workers) == WORKERS
    kill(process.pid)
    process.communicate()
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_of_two_coordinators_at_once_one_is_refused_and_the_study_is_whole(in_memory: Path) -> None:
    rivals = [started(in_memory / "study") for _ in range(2)]
    ends = [(process.communicate(timeout=60)[1], process.returncode) for process in rivals]
    refused = [errors for errors, code in ends if code]
    assert len(refused) == 1
    winner = next(process.pid for process, (_, code) in zip(rivals, ends, strict=True) if code == 0)
    assert f"is in use by process {winner} on " in refused[0]
    assert "started" in refused[0]
    search(in_memory / "undisturbed", trials=TRIALS, executor=ThreadExecutor(fake_train, WORKERS), workers=WORKERS)
    assert table(read_records(in_memory / "study")) == table(read_records(in_memory / "undisturbed"))


def test_full_and_read_only_disks_end_the_search_with_a_reason_and_lose_nothing(
    tmp_path: Path, in_memory: Path
) -> None:
    place, report = tmp_path / "disk", tmp_path / "report.json"
    place.mkdir()
    namespace = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-Urm"]
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespaces")
    script = [sys.executable, "-m", "tests.searcher.small_disk", str(place), str(report)]
    done = subprocess.run([*namespace, *script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    full, still_full, read_only, still_read_only = found["said"]
    assert "No space left on device" in full
    assert "No space left on device" in still_full
    assert "Read-only file system" in read_only
    assert "Read-only file system" in still_read_only
    search(in_memory / "undisturbed")
    expected = [[r.number, r.candidate.id, str(r.outcome), r.message] for r in read_records(in_memory / "undisturbed")]
    assert found["records"] == expected


@pytest.mark.parametrize("jump", [86400.0, -86400.0])
def test_a_jump_of_the_clock_changes_nothing(jump: float, in_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search(in_memory / "undisturbed")
    real, begun = time.time, time.monotonic()
    monkeypatch.setattr(time, "time", lambda: real() + (jump if time.monotonic() - begun > 0.05 else 0.0))
    search(in_memory / "study")
    assert table(read_records(in_memory / "study")) == table(read_records(in_memory / "undisturbed"))


def test_server_restarted_in_mid_study_is_brought_up_to_date_and_the_table_stays(in_memory: Path) -> None:
    with running_server() as server:

        def train(job: TrialJob, report: Report) -> Metrics:
            if job.number == 3:
                server.stop()
            if job.number == 5:
                server.start()
            return fake_train(job, report)

        search(in_memory / "study", executor=ThreadExecutor(train), storage=server.url)
        search(in_memory / "undisturbed")
        records = read_records(in_memory / "study")
        assert table(records) == table(read_records(in_memory / "undisturbed"))
        url = server.url.replace("postgresql://", "postgresql+psycopg://")
        mirrored = optuna.load_study(study_name="study", storage=url).trials
    numbers = [r.number for r in records]
    assert [t.number for t in mirrored] == numbers
    assert [t.value for t in mirrored] == [None if r.metrics is None else r.metrics.accuracy for r in records]
    assert not (in_memory / "study" / "study.db").exists()
