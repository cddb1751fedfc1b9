"""Other people's studies, written by the real Optuna, and what Optuna itself says of them."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from bhvit.errors import InvalidInput
from searcher.cli import main
from searcher.optuna_storage import OptunaStorage, _postgresql, names_storage, storage_named
from searcher.optuna_studies import OptunaStudy, study_among
from searcher.records import Outcome
from tests.searcher.postgresql import PASSWORD, Server, running_server
from tests.searcher.screens import assert_golden, screen
from tests.searcher.studies import many_study

WRITER = """
import optuna, sys
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(study_name="live", storage=sys.argv[1], sampler=optuna.samplers.RandomSampler(0))
print("begun", flush=True)
while True:
    study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=1)
"""


def fill(storage: object, trials: int = 30) -> dict[str, optuna.Study]:
    """A study constrained by name, one with several objectives and a list of constraints, and an empty one."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("lr", 1e-4, 1, log=True)
        layers = trial.suggest_int("layers", 1, 5)
        trial.suggest_categorical("optimizer", ["adam", "sgd", None])
        if trial.number % 10 == 3:
            raise optuna.TrialPruned
        if trial.number % 10 == 5:
            raise ArithmeticError("NaN")
        trial.set_constraint("memory", layers - 3.5)
        return -float("inf") if trial.number == 1 else layers + rate

    one = optuna.create_study(
        study_name="one", storage=storage, direction="maximize", sampler=optuna.samplers.RandomSampler(0)
    )
    one.optimize(objective, trials, catch=(ArithmeticError,))
    one.enqueue_trial({"lr": 0.1})
    sampler = optuna.samplers.NSGAIISampler(
        seed=0, population_size=10, constraints_func=lambda t: (t.params["a"] - 0.8, -1)
    )
    two = optuna.create_study(study_name="two", storage=storage, directions=["maximize", "minimize"], sampler=sampler)
    two.optimize(lambda t: (t.suggest_float("a", 0, 1), t.suggest_float("b", 0, 1) + t.params["a"]), trials)
    none = optuna.create_study(study_name="none", storage=storage)
    return {"one": one, "two": two, "none": none}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optuna")
    fill(f"sqlite:///{folder}/o.db")
    return folder / "o.db"


@pytest.fixture
def file(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(template, "o.db"))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as found:
        yield found


def assert_as_optuna_says(ours: list[OptunaStudy], theirs: dict[str, optuna.Study]) -> None:
    assert [study.name for study in ours] == list(theirs)
    for study, other in zip(ours, theirs.values(), strict=True):
        trials = other.trials
        assert [t.number for t in study.trials] == [t.number for t in trials]
        assert [t.state.name for t in study.trials] == [t.state.name for t in trials]
        assert [t.params for t in study.trials] == [t.params for t in trials]
        assert [dict(t.constraints) for t in study.trials] == [t.constraints for t in trials]
        assert [t.values for t in study.trials] == [tuple(t.values or ()) for t in trials]
        times = [t.datetime_complete and t.datetime_complete.timestamp() for t in trials]
        assert [t.ended for t in study.trials] == pytest.approx(times)
        assert study.maximize == tuple(d.name == "MAXIMIZE" for d in other.directions)
    assert ours[0].best is not None
    assert ours[0].best.number == theirs["one"].best_trial.number
    assert {t.values for t in ours[1].front} == {tuple(t.values) for t in theirs["two"].best_trials}
    assert ours[2].best is None


def loaded(storage: object) -> dict[str, optuna.Study]:
    return {name: optuna.load_study(study_name=name, storage=storage) for name in ("one", "two", "none")}


def test_sqlite_file_is_read_as_optuna_reads_it(file: Path) -> None:
    assert_as_optuna_says(storage_named("sqlite:///o.db").studies(params=True), loaded(f"sqlite:///{file}"))
    assert storage_named("o.db").studies() == storage_named(f"sqlite:///{file}").studies()


def test_journal_is_read_as_optuna_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    studies = fill(JournalStorage(JournalFileBackend(str(path))), 20)
    extra = optuna.create_study(study_name="gone", storage=JournalStorage(JournalFileBackend(str(path))))
    extra.add_trial(optuna.trial.create_trial(value=1.0))
    optuna.delete_study(study_name="gone", storage=JournalStorage(JournalFileBackend(str(path))))
    with path.open("a") as file:
        file.write('{"op_code": 4, "study_')  # being written
    assert_as_optuna_says(storage_named(str(path)).studies(params=True), studies)


def test_postgresql_is_read_as_optuna_reads_it_and_shows_no_password(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.url.replace("postgresql://", "postgresql+psycopg://")
    theirs = fill(url, 20)
    assert_as_optuna_says(storage_named(server.url).studies(params=True), theirs)
    assert main(["ls", url]) == 0
    assert main(["show", server.url, "--study", "one"]) == 0
    assert main(["show", server.url, "--study", "ones"]) == 2
    wrong = url.replace(str(server.port), "1")
    assert main(["ls", wrong]) == 2
    text = "".join(capsys.readouterr())
    assert "127.0.0.1" in text
    assert PASSWORD not in text
    assert "s3cret" not in text


def test_transaction_on_postgresql_cannot_write(server: Server) -> None:
    import psycopg

    with pytest.raises(InvalidInput, match="read-only transaction"), _postgresql(storage_named(server.url)) as rows:
        rows("CREATE TABLE mine (a integer)")
    with psycopg.connect(server.url) as connection:
        found = connection.execute("SELECT 1 FROM pg_tables WHERE tablename = 'mine'").fetchall()
    assert found == []


def digest(folder: Path) -> dict[str, tuple[str, int]]:
    return {p.name: (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in folder.iterdir()}


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_no_byte_is_changed_and_no_file_is_made(mode: str, file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.close()
    before = digest(Path())
    assert main(["ls", "o.db"]) == main(["show", "o.db", "--study", "one"]) == main(["ls", "."]) == 0
    assert digest(Path()) == before


def test_what_a_killed_program_left_in_its_log_is_read_from_a_copy(file: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("UPDATE studies SET study_name = 'renamed' WHERE study_name = 'one'")
    connection.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("o.db", "o.db-wal"):
        shutil.copy(name, killed)
    connection.close()
    before = digest(killed)
    assert [study.name for study in storage_named(str(killed / "o.db")).studies()] == ["renamed", "two", "none"]
    assert digest(killed) == before


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_study_is_read_while_optuna_writes_it(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.close()
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, f"sqlite:///{path}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        deadline, sizes = time.monotonic() + 10, [0]
        while sizes[-1] < 5 and time.monotonic() < deadline:
            (study,) = storage_named(str(path)).studies(params=True)
            assert all(len(t.values) == 1 and "x" in t.params for t in study.complete)
            sizes.append(len(study.complete))
        assert sizes == sorted(sizes)
        assert sizes[-1] >= 5
        assert writer.poll() is None, "reading must not stop the writer"
    finally:
        writer.kill()
        writer.communicate()


def test_times_are_utc_since_optuna_5_and_local_before(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE trials SET datetime_complete = '2026-07-01 12:00:00' WHERE study_id = 1")
    connection.close()
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    noon_in_utc = 1782907200
    try:
        for version, hours in (("5.0.0", 0), ("4.5.0", 4)):
            with sqlite3.connect(file) as connection:
                connection.execute(f"UPDATE version_info SET library_version = '{version}'")
            connection.close()
            study = storage_named("o.db").studies("one")[0]
            assert study.trials[0].ended == noon_in_utc + hours * 3600
            if hours == 0:
                theirs = optuna.load_study(study_name="one", storage="sqlite:///o.db").trials[0].datetime_complete
                assert theirs is not None
                assert theirs.timestamp() == noon_in_utc
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_screens(width: int, file: Path) -> None:
    with sqlite3.connect(file) as connection:  # times that stay the same
        connection.execute("UPDATE trials SET datetime_start = '2027-01-01 00:00:00'")
        connection.execute(
            "UPDATE trials SET datetime_complete = '2027-01-01 00:00:00' WHERE datetime_complete IS NOT NULL"
        )
    connection.close()
    text = screen("ls", "o.db", width=width)
    assert max(map(len, text.splitlines())) <= width
    assert_golden(f"ls_optuna_{width}", text)
    for name in ("one", "two", "none"):
        text = screen("show", "o.db", "--study", name, "--top", "8", width=width)
        assert max(map(len, text.splitlines())) <= width
        assert_golden(f"show_optuna_{name}_{width}", text)


def test_json_of_a_study_has_every_trial_and_no_infinity(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "o.db", "--study", "one", "--json"]) == 0
    data = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert data["trials"][1]["values"] == [None]
    assert data["ranking"][0] == data["best"]["trial"]
    assert data["states"] == {"complete": 24, "pruned": 3, "failed": 3, "waiting": 1}
    assert all(trial["feasible"] for trial in data["trials"] if trial["trial"] in data["ranking"])


def test_files_of_other_programs_are_not_listed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.log").write_text("epoch 1\n")
    Path("text.db").write_text("not SQLite\n")
    with sqlite3.connect("other.db") as connection:
        connection.execute("CREATE TABLE studies (a)")
    connection.close()
    assert main(["ls", ".", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {study["storage"] for study in data["optuna_studies"]} == {"o.db"}
    assert data["unreadable_files"] == []


def test_tables_of_another_version_are_refused_kindly_and_hide_no_other(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, version in (("old.db", "v2.6.0.a"), ("new.db", "v9.0.0.a")):
        shutil.copy(file, name)
        with sqlite3.connect(name) as connection:
            connection.execute(f"UPDATE alembic_version SET version_num = '{version}'")
        connection.close()
    assert main(["ls", "old.db"]) == main(["ls", "new.db"]) == 2
    old, new = capsys.readouterr().err.splitlines()
    assert "but they are v2.6.0.a; `optuna storage upgrade --storage URL` with Optuna 3 or later" in old
    assert "but they are v9.0.0.a; update bhvit-searcher" in new
    assert main(["ls", "."]) == 0
    out = capsys.readouterr().out
    assert "one" in out
    assert "? old.db must have tables of version" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ls", "nowhere"], "nowhere must be a folder of studies"),
        (["ls", "nowhere.db"], "nowhere.db must be a file of Optuna's (SQLite or journal), but it is not there"),
        (["ls", "note.db"], "note.db must be a file of Optuna's (SQLite or journal), but it is another"),
        (["ls", "broken.db"], "broken.db must be a readable SQLite file, but file is not a database"),
        (["ls", "bare.db"], "bare.db must hold studies of Optuna, but it has none of its tables"),
        (["ls", "broken.log"], "line 2 is none of its operations"),
        (["ls", "sqlite://"], "a study in memory ends with its program"),
        (["ls", "sqlite:///:memory:"], "a study in memory ends with its program"),
        (["ls", "mysql://me:secret@host/db"], "its scheme is 'mysql'"),
        (["ls", "postgresql://me:secret@[bad/db"], "the URL is none"),
        (["ls", "postgresql://me:secret@host:port/db"], "the URL is none"),
        (["ls", "postgresql://me:secret@127.0.0.1:1/db"], "postgresql://me@127.0.0.1:1/db must be a readable database"),
        (["ls", "postgresql://me@127.0.0.1:1/db?password=secret"], "must be a readable database"),
        (["ls", "--state", "runing"], "argument --state: invalid choice: 'runing'"),
        (["ls", "--sort", "size"], "argument --sort: invalid choice: 'size'"),
        (["show", "o.db"], "o.db holds 3 studies; choose with --study NAME, one of: none, one, two."),
        (["show", "o.db", "--study", "ome"], "unknown study 'ome' (did you mean 'one'?)"),
        (["show", "o.db", "--study", "one", "--top", "0"], "--top: must be a whole number of at least 1"),
        (["show", "o.db", "--study", "one", "--where", "x>1"], "--where is for studies of searcher, but o.db holds"),
        (["show", "missing.sqlite"], "missing.sqlite must be a file of Optuna's"),
        (["show", "sqlite:///missing"], "missing must be a file of Optuna's"),
        (["show", "somewhere", "--study", "one"], "--study chooses among the studies in a file or URL"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_without_secrets(
    arguments: list[str], message: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("note.db").write_text("a note\n")
    Path("broken.db").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 20)
    Path("broken.log").write_text('{"op_code": 0, "study_name": "a", "directions": [1]}\n{"op_code": 4}\n')
    sqlite3.connect("bare.db").execute("CREATE TABLE a (b)").connection.close()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert "secret" not in captured.err
    assert captured.out == ""


def test_a_storage_with_one_study_needs_no_name() -> None:
    study = OptunaStudy("only", "place", (True,), (), ())
    assert study_among([study], None, "place") is study


def test_our_folders_are_no_storages(tmp_path: Path) -> None:
    (tmp_path / "study.db").mkdir()
    assert not names_storage(str(tmp_path / "study.db"))
    assert not names_storage("demo")
    assert "secret" not in f"{storage_named('postgresql://me:secret@host/db')!r}"
    assert isinstance(storage_named("postgresql://host/db"), OptunaStorage)


def test_parameters_share_a_column_where_they_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = optuna.create_study(study_name="wide", storage="sqlite:///w.db")
    study.enqueue_trial({f"a_long_name_{i}": i / 10 for i in range(8)})
    study.optimize(lambda t: sum(t.suggest_float(f"a_long_name_{i}", 0, 1) for i in range(8)), 1)
    narrow, wide = (screen("show", "w.db", width=width).splitlines() for width in (80, 200))
    assert max(map(len, narrow)) <= 80
    assert any("a_long_name_0=0, a_long_name_1=0.1" in line for line in narrow)
    assert any(line.split() == ["#", "trial", "value", *(f"a_long_name_{i}" for i in range(8))] for line in wide)


def test_mirror_of_our_study_lists_with_what_it_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = many_study(tmp_path, 20)
    assert main(["doctor", str(study.path), "--fix"]) == 1  # the tests' studies have no weights
    capsys.readouterr()
    assert main(["ls", str(study.database), "--json"]) == 0
    (mirror,) = json.loads(capsys.readouterr().out)["optuna_studies"]
    best = max((r for r in study.records() if r.outcome is Outcome.COMPLETE), key=lambda r: r.metrics.accuracy)
    assert mirror["best"] == {"trial": best.number, "values": [best.metrics.accuracy]}
    assert sum(mirror["states"].values()) == 20
    assert abs(mirror["last_sign"] - time.time()) < 60  # the mirror's times are in UTC
    assert main(["ls", str(study.path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [len(data[key]) for key in ("studies", "optuna_studies")] == [1, 0]
