"""The Optuna study that mirrors the records: read back with Optuna, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import json
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import psycopg
import pytest

from bhvit.errors import InvalidInput
from searcher import study_mirror
from searcher.records import Outcome, TrialRecord
from searcher.space import Space
from searcher.storage_url import storage_from
from searcher.study_database import StudyDatabase
from searcher.study_folder import StudyFolder
from searcher.study_mirror import StudyMirror, open_mirror
from tests.searcher.postgresql import PASSWORD, Server, running_server
from tests.searcher.records import EPOCHS, half_feasible_space, record_of, store
from tests.searcher.spaces import small_space

STATES = {Outcome.COMPLETE: "COMPLETE", Outcome.STOPPED: "PRUNED", Outcome.RUNNING: "RUNNING", Outcome.CRASHED: "FAIL"}
ENDS = [Outcome.COMPLETE, Outcome.STOPPED, Outcome.CRASHED]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("GATHER_SECONDS", 0.02), ("FIRST_RETRY", 0.05), ("LAST_RETRY", 0.2), ("PATIENCE", 2.0)):
        monkeypatch.setattr(study_mirror, name, seconds)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> StudyFolder:
    """Named after the test: the server's studies are told apart by it."""
    folder = StudyFolder(tmp_path / request.node.name.replace("[", "-").replace("]", ""))
    folder.path.mkdir()
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("server").url if request.param == "postgresql" else None


def study_in(folder: StudyFolder, storage: str | None) -> optuna.Study:
    """As any user of Optuna sees it."""
    url = f"sqlite:///{folder.database}" if storage is None else storage_from(storage).for_sqlalchemy
    return optuna.load_study(study_name=folder.path.name, storage=url)


def wait_until(met: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def carry_out(mirror: StudyMirror, *records: TrialRecord, space: Space) -> None:
    """Tell the mirror all of some finished trials."""
    for record in records:
        mirror.begin(record_of(space, record.number))
        for epoch in record.metrics.epochs if record.metrics else ():
            mirror.report(record.number, epoch.epoch, epoch.accuracy)
        mirror.finish(record)


def assert_mirrors(study: optuna.Study, records: Sequence[TrialRecord], space: Space) -> None:
    trials = study.trials
    assert [t.number for t in trials] == [r.number for r in records]
    for trial, record in zip(trials, records, strict=True):
        assert trial.params == record.choices
        assert trial.state.name == STATES[record.outcome]
        assert trial.user_attrs.get("outcome") == (record.outcome if record.outcome.finished else None)
        assert trial.user_attrs["candidate"] == record.candidate.id
        assert (trial.user_attrs["memory_bytes"], trial.user_attrs["ops"]) == (record.memory_bytes, record.ops)
        limit = space.budget.memory
        assert trial.constraints == ({} if limit is None else {"memory": record.memory_bytes - limit})
        accuracy = record.metrics.accuracy if record.metrics else None
        assert trial.values == (None if accuracy is None else [accuracy])
        assert trial.datetime_start is not None
        assert (trial.datetime_complete is not None) == record.outcome.finished
        if record.outcome is Outcome.COMPLETE:
            assert trial.intermediate_values == {e: (record.number + e) / 1000 for e in range(1, EPOCHS + 1)}


def test_study_holds_states_values_constraints_and_curves(folder: StudyFolder, storage: str | None) -> None:
    space = half_feasible_space()
    records = [record_of(space, n, ENDS[n % 3]) for n in range(12)]
    with open_mirror(folder, space, storage) as mirror:
        mirror.bring_up_to_date([])
        carry_out(mirror, *records, space=space)
        mirror.begin(record_of(space, 12))
    assert mirror.trouble is None
    assert_mirrors(study_in(folder, storage), [*records, record_of(space, 12)], space)


def test_best_trial_is_the_best_within_the_budget(folder: StudyFolder) -> None:
    space = half_feasible_space()
    records = [record_of(space, n, Outcome.COMPLETE) for n in range(space.size)]
    with open_mirror(folder, space, None) as mirror:
        mirror.bring_up_to_date(records)
    within = [r.number for r in records if not space.budget.violations(r)]
    assert study_in(folder, None).best_trial.number == max(within) < space.size - 1


def test_study_is_brought_up_to_date_from_whatever_it_holds(folder: StudyFolder, storage: str | None) -> None:
    space = half_feasible_space()
    began = [record_of(space, n) for n in range(6)]
    with open_mirror(folder, space, storage) as mirror:
        mirror.bring_up_to_date([])
        for record in began:
            mirror.begin(record)
            mirror.report(record.number, 1, 0.25)
        mirror.finish(record_of(space, 0, Outcome.CRASHED))
    ended = [record_of(space, n, ENDS[n % 3]) for n in range(9) if n != 4]  # folder 4 was removed by its user
    with open_mirror(folder, space, storage) as mirror:
        mirror.bring_up_to_date(ended)
    assert_mirrors(study_in(folder, storage), ended, space)
    with open_mirror(folder, space, storage) as mirror:
        mirror.bring_up_to_date(ended)
        carry_out(mirror, record_of(space, 4, Outcome.STOPPED), space=space)
    whole = sorted([*ended, record_of(space, 4, Outcome.STOPPED)], key=lambda r: r.number)
    assert_mirrors(study_in(folder, storage), whole, space)


def test_changed_budget_changes_the_constraints_of_old_trials(folder: StudyFolder) -> None:
    strict, free = half_feasible_space(), half_feasible_space(budget={})
    records = [record_of(strict, n, Outcome.COMPLETE) for n in range(4)]
    for space in (strict, free, strict):
        with open_mirror(folder, space, None) as mirror:
            mirror.bring_up_to_date(records)
        assert_mirrors(study_in(folder, None), records, space)


def test_running_trial_keeps_its_curve_over_a_restart(folder: StudyFolder, storage: str | None) -> None:
    space = half_feasible_space()
    running = record_of(space, 0)
    with open_mirror(folder, space, storage) as mirror:
        mirror.bring_up_to_date([])
        mirror.begin(running)
        mirror.report(0, 1, 0.001)
    with open_mirror(folder, space, storage) as mirror:
        mirror.bring_up_to_date([running])
        mirror.report(0, 1, 0.001)
        mirror.report(0, 2, 0.002)
    assert study_in(folder, storage).trials[0].intermediate_values == {1: 0.001, 2: 0.002}


def test_several_objectives_have_values_and_directions_and_no_curve(folder: StudyFolder, storage: str | None) -> None:
    space = small_space(search={"objectives": ["accuracy", "ops", "memory"]})
    record = record_of(space, 0, Outcome.COMPLETE)
    with open_mirror(folder, space, storage) as mirror:
        mirror.bring_up_to_date([])
        carry_out(mirror, record, space=space)
    study = study_in(folder, storage)
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert study.trials[0].values == [0.004, record.ops, record.memory_bytes]
    assert study.trials[0].intermediate_values == {}
    assert len(study.best_trials) == 1


def test_other_objectives_than_the_studys_are_refused_unless_it_is_empty(folder: StudyFolder) -> None:
    several, one = small_space(search={"objectives": ["accuracy", "ops"]}), small_space()
    for space, records in ((several, []), (one, [record_of(one, 0, Outcome.COMPLETE)])):
        with open_mirror(folder, space, None) as mirror:
            mirror.bring_up_to_date(records)
    with pytest.raises(InvalidInput, match="its objectives are not"), open_mirror(folder, several, None) as mirror:
        mirror.bring_up_to_date(records)


def test_server_restarted_in_the_middle_loses_and_doubles_nothing(folder: StudyFolder, server: Server) -> None:
    space = half_feasible_space()
    records = [record_of(space, n, ENDS[n % 3]) for n in range(30)]
    store(folder, *records)
    slowest = 0.0
    with open_mirror(folder, space, server.url) as mirror:
        mirror.bring_up_to_date([])
        for record in records:
            if record.number in (10, 20):
                server.stop()
            begun = time.perf_counter()
            carry_out(mirror, record, space=space)
            slowest = max(slowest, time.perf_counter() - begun)
            if record.number in (12, 21):
                wait_until(lambda: mirror.trouble)
                assert "is not written at present (" in str(mirror.trouble)
                assert PASSWORD not in str(mirror.trouble)
                server.start()
            time.sleep(0.01)
        wait_until(lambda: mirror.trouble is None)
    assert mirror.trouble is None
    assert slowest < 0.2
    assert_mirrors(study_in(folder, server.url), records, space)


def test_server_that_is_away_at_a_later_start_does_not_hold_the_search(folder: StudyFolder, server: Server) -> None:
    space = half_feasible_space()
    records = [record_of(space, n, ENDS[n % 3]) for n in range(5)]
    server.stop()
    try:
        with pytest.raises(InvalidInput, match="refused"), open_mirror(folder, space, server.url) as mirror:
            mirror.bring_up_to_date([])
        server.start()
        with open_mirror(folder, space, server.url) as mirror:
            mirror.bring_up_to_date(records[:1])
        server.stop()
        store(folder, *records)
        with open_mirror(folder, space, server.url) as mirror:
            mirror.bring_up_to_date(records[:3])
            assert "refused" in str(mirror.trouble)
            carry_out(mirror, *records[3:], space=space)
        assert str(mirror.trouble).endswith("or searcher doctor --fix, brings it up to date")
        assert PASSWORD not in str(mirror.trouble)
    finally:
        server.start()
    with open_mirror(folder, space, server.url) as mirror:
        mirror.bring_up_to_date(records)
    assert_mirrors(study_in(folder, server.url), records, space)


def test_locked_file_delays_the_mirror_and_not_the_search(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("searcher.study_database.LOCK_SECONDS", 0.05)
    space = half_feasible_space()
    records = [record_of(space, n, ENDS[n % 3]) for n in range(6)]
    with open_mirror(folder, space, None) as mirror:
        mirror.bring_up_to_date([])
        with sqlite3.connect(folder.database, isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            begun = time.perf_counter()
            carry_out(mirror, *records, space=space)
            assert time.perf_counter() - begun < 0.2
            wait_until(lambda: mirror.trouble)
            assert "database is locked" in str(mirror.trouble)
            other.execute("ROLLBACK")
        other.close()
        wait_until(lambda: mirror.trouble is None)
    assert_mirrors(study_in(folder, None), records, space)


@pytest.mark.parametrize("lost", ["study", "file"])
def test_study_deleted_during_a_search_is_written_anew(folder: StudyFolder, lost: str) -> None:
    space = half_feasible_space()
    records = [record_of(space, n, ENDS[n % 3]) for n in range(6)]
    store(folder, *records)
    with open_mirror(folder, space, None) as mirror:
        mirror.bring_up_to_date(records[:4])
        if lost == "file":
            folder.database.unlink()
        else:
            optuna.delete_study(study_name=folder.path.name, storage=f"sqlite:///{folder.database}")
        carry_out(mirror, *records[4:], space=space)
    assert mirror.trouble is None
    assert_mirrors(study_in(folder, None), records, space)


def test_renamed_folder_and_the_study_of_an_earlier_version_are_found(folder: StudyFolder, tmp_path: Path) -> None:
    space = half_feasible_space()
    old = optuna.create_study(study_name="search", storage=f"sqlite:///{folder.database}", direction="maximize")
    old.enqueue_trial(space.decode(3))
    records = [record_of(space, 0, Outcome.COMPLETE)]
    with open_mirror(folder, space, None) as mirror:
        mirror.bring_up_to_date(records)
    assert_mirrors(study_in(folder, None), records, space)
    moved = StudyFolder(folder.path.rename(tmp_path / "renamed"))
    with open_mirror(moved, space, None) as mirror:
        mirror.bring_up_to_date(records)
    assert [s.study_name for s in optuna.get_all_study_summaries(f"sqlite:///{moved.database}")] == ["renamed"]


@pytest.mark.parametrize("damage", ["torn", "no database", "schema", "no records"])
def test_unusable_file_is_refused_with_the_way_out(folder: StudyFolder, damage: str) -> None:
    space = half_feasible_space()
    records = [record_of(space, n, Outcome.COMPLETE) for n in range(20)]
    with open_mirror(folder, space, None) as mirror:
        mirror.bring_up_to_date(records)
    content = folder.database.read_bytes()
    if damage == "torn":
        folder.database.write_bytes(content[: len(content) // 3])
    elif damage == "no database":
        folder.database.write_bytes(b"x" * 4096)
    elif damage == "schema":
        with sqlite3.connect(folder.database) as other:
            other.execute("UPDATE alembic_version SET version_num = 'v99'")
        other.close()
    asked = [] if damage == "no records" else records
    with pytest.raises(InvalidInput) as refused, open_mirror(folder, space, None) as mirror:
        mirror.bring_up_to_date(asked)
    assert f"{folder.database} must be a usable study, but " in str(refused.value)
    assert f"`searcher doctor {folder.path} --fix`" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_servers_study_of_the_same_name_is_refused(folder: StudyFolder, server: Server, tmp_path: Path) -> None:
    space = half_feasible_space()
    with open_mirror(folder, space, server.url) as mirror:
        mirror.bring_up_to_date([])
    other = StudyFolder(tmp_path / "elsewhere" / folder.path.name)
    other.path.mkdir(parents=True)
    with pytest.raises(InvalidInput) as refused, open_mirror(other, space, server.url) as mirror:
        mirror.bring_up_to_date([])
    assert f"has a study named {folder.path.name} already, of " in str(refused.value)
    assert str(folder.path) in str(refused.value)
    assert "--study NAME" in str(refused.value)


def test_folder_remembers_its_server_without_the_password(folder: StudyFolder, server: Server) -> None:
    space = half_feasible_space()
    with open_mirror(folder, space, server.url) as mirror:
        mirror.bring_up_to_date([])
    kept = json.loads(folder.storage_file.read_text())
    assert kept["url"] == f"postgresql://me@127.0.0.1:{server.port}/postgres"
    other = f"postgresql://me:{PASSWORD[:6]}@127.0.0.1:{server.port}/another"
    with pytest.raises(InvalidInput, match="is mirrored on") as refused, open_mirror(folder, space, other):
        pass
    assert PASSWORD[:6] not in str(refused.value)
    assert f"delete {folder.storage_file}" in str(refused.value)
    assert not folder.database.exists()


def test_folder_that_forgot_its_server_is_known_there_by_its_place(folder: StudyFolder, server: Server) -> None:
    space = half_feasible_space()
    for _ in range(2):
        with open_mirror(folder, space, server.url) as mirror:
            mirror.bring_up_to_date([])
        folder.storage_file.unlink()


def test_environment_names_the_server_of_new_studies_only(
    folder: StudyFolder, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = half_feasible_space()
    old = StudyFolder(tmp_path / "old")
    old.path.mkdir()
    for place in (old, folder, old, folder):
        with open_mirror(place, space, None) as mirror:
            mirror.bring_up_to_date([])
        monkeypatch.setenv("SEARCHER_STORAGE", server.url)
    assert (old.database.exists(), old.storage_file.exists()) == (True, False)
    assert (folder.database.exists(), folder.storage_file.exists()) == (False, True)


def test_folder_mirrored_in_its_file_refuses_a_server(folder: StudyFolder, server: Server) -> None:
    space = half_feasible_space()
    with open_mirror(folder, space, None) as mirror:
        mirror.bring_up_to_date([])
    with pytest.raises(InvalidInput, match=r"is mirrored in study\.db"), open_mirror(folder, space, server.url):
        pass


def test_remembered_server_is_used_without_being_named(
    folder: StudyFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = half_feasible_space()
    with open_mirror(folder, space, server.url) as mirror:
        mirror.bring_up_to_date([])
    records = [record_of(space, 0, Outcome.COMPLETE)]
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with open_mirror(folder, space, None) as mirror:
        mirror.bring_up_to_date(records)
    assert_mirrors(study_in(folder, server.url), records, space)


def test_wrong_password_is_one_line_that_does_not_show_it(folder: StudyFolder, server: Server) -> None:
    url = server.url.replace("s3cret", "wrong")
    failed = pytest.raises(InvalidInput, match="password authentication failed")
    with failed as refused, open_mirror(folder, half_feasible_space(), url) as mirror:
        mirror.bring_up_to_date([])
    assert "wrong" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_user_without_rights_is_told_so(folder: StudyFolder, server: Server) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    url = f"postgresql://guest:guest@127.0.0.1:{server.port}/postgres"
    refusal = pytest.raises(InvalidInput, match=r"permission denied for .*; correct that, or")
    with refusal, open_mirror(folder, half_feasible_space(), url) as mirror:
        mirror.bring_up_to_date([])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://me:pw@host/db", "its scheme is mysql"),
        ("sqlite:///all.db", "its scheme is sqlite"),
        ("postgresql://me:pw@host", "names none"),
        ("me:pw@host", "it is .me:\\*{3}@host.; correct it"),
        ("postgresql://me:pw@host:x/db", "it is .postgresql://me:\\*{3}@host:x/db.;"),
    ],
)
def test_other_urls_are_refused_without_their_password(url: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        storage_from(url)
    assert "pw" not in str(refused.value)


def test_password_in_the_query_is_not_shown_either() -> None:
    storage = storage_from("postgresql://me@/db?host=/run/postgresql&password=pw")
    assert str(storage) == "postgresql://me@/db?host=%2Frun%2Fpostgresql"
    assert storage.redact("connection with pw failed") == "connection with *** failed"
    assert "pw" not in repr(storage)


def test_missing_driver_is_named_with_its_extra(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    missing = pytest.raises(InvalidInput, match=r'pip install "bhvit-searcher\[postgresql\]"')
    with missing, open_mirror(folder, half_feasible_space(), "postgresql://me@127.0.0.1:1/db") as mirror:
        mirror.bring_up_to_date([])


@pytest.mark.slow
def test_search_killed_at_random_moments_ends_with_a_study_equal_to_its_records(folder: StudyFolder) -> None:
    draw = random.Random(4)
    script = [sys.executable, "-m", "tests.searcher.killed_search", str(folder.path), "2", "16", "0.02"]
    folder.path.rmdir()
    for kills in range(5):
        with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                _, errors = process.communicate(timeout=draw.uniform(0.2, 0.8) if kills < 4 else 60)
            except subprocess.TimeoutExpired:
                process.kill()
                continue
            assert (process.returncode, errors) == (0, "")
    records = folder.records()
    assert not StudyDatabase(folder, folder.space(), None).compare(records)
    trials = study_in(folder, None).trials
    assert [(t.number, t.params) for t in trials] == [(r.number, r.choices) for r in records]
    assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED", "FAIL"}


def test_mirror_costs_little(folder: StudyFolder) -> None:
    space, count = half_feasible_space(), 100
    records = [record_of(space, n, Outcome.COMPLETE) for n in range(count)]
    with open_mirror(folder, space, None) as mirror:
        mirror.bring_up_to_date([])
        begun = time.process_time()
        for record in records:
            carry_out(mirror, record, space=space)
            time.sleep(0.005)
    assert (time.process_time() - begun) / count < 0.004  # seconds; 6 ms a trial are allowed for everything


def dashboard(url: str) -> tuple[subprocess.Popen[bytes], str]:
    """A real optuna-dashboard on `url`, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(sys.executable).with_name("optuna-dashboard")
    process = subprocess.Popen([script, "--port", str(port), url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        assert process.poll() is None
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, 30)
    return process, f"127.0.0.1:{port}"


def answer(address: str, path: str) -> Any:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as reply:
        return json.loads(reply.read())


@pytest.mark.parametrize("storage", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_dashboard_shows_a_study_that_is_being_written(folder: StudyFolder, storage: str | None) -> None:
    if shutil.which("optuna-dashboard", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("optuna-dashboard is not installed")
    space = half_feasible_space()
    records = [record_of(space, n, Outcome.COMPLETE) for n in range(30)]
    url = f"sqlite:///{folder.database}" if storage is None else storage_from(storage).for_sqlalchemy
    with open_mirror(folder, space, storage) as mirror:
        mirror.bring_up_to_date([])
        process, address = dashboard(url)
        try:
            studies = answer(address, "/api/studies")["study_summaries"]
            study = next(s["study_id"] for s in studies if s["study_name"] == folder.path.name)
            for record in records:
                carry_out(mirror, record, space=space)
                seen = answer(address, f"/api/studies/{study}?after=0")
            wait_until(lambda: len(answer(address, f"/api/studies/{study}?after=0")["trials"]) == len(records))
            assert mirror.trouble is None
            assert seen["name"] == folder.path.name
        finally:
            process.kill()
            process.communicate()
    assert_mirrors(study_in(folder, storage), records, space)
