"""`searcher doctor` on studies that were damaged by hand: what it says, what it mends, and what it leaves alone."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from searcher.checkpoint_files import BEST, LAST, WARM_STARTS, torn
from searcher.cli import main
from searcher.doctor import examine, mend
from searcher.findings import Finding, Verdict
from searcher.records import RECORD_FILE, Outcome, read_records
from searcher.storage_url import storage_from
from searcher.study_folder import StudyFolder
from searcher.study_mirror import open_mirror
from searcher.views.console import plain_text
from searcher.views.doctor import doctor_view
from tests.searcher.fake_training import search, table
from tests.searcher.postgresql import running_server
from tests.searcher.records import half_feasible_space, record_of, store
from tests.searcher.screens import terminal
from tests.searcher.test_lock import HOLD

SPACE = half_feasible_space()
OUTCOMES = [Outcome.COMPLETE, Outcome.STOPPED, Outcome.CRASHED, Outcome.INTERRUPTED]


def checkpoint(path: Path) -> None:
    save_file({"w": np.arange(6.0), "b": np.ones((2, 3), np.float16)}, path, {"state": "{}"})


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    """Four trials, one of them unfinished, with their checkpoints, FP parent, log and database."""
    folder = StudyFolder(tmp_path / "runs" / "study")
    records = [record_of(SPACE, number, outcome) for number, outcome in enumerate(OUTCOMES)]
    store(folder, *records)
    folder.space_file.write_text(SPACE.to_yaml())
    folder.events.write_text('{"event": "SearchStarted"}\n')
    parent = folder.path.parent / WARM_STARTS / "parent"
    parent.mkdir(parents=True)
    for place in (parent, *(folder.trial(r) for r in records if r.outcome is not Outcome.CRASHED)):
        checkpoint(place / LAST)
        checkpoint(place / BEST)
    with open_mirror(folder, SPACE, None) as mirror:
        mirror.bring_up_to_date(records)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "lock"}


def wrong(findings: list[Finding]) -> list[Finding]:
    return [f for f in findings if f.verdict is Verdict.WRONG]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def trial(study: StudyFolder, number: int) -> Path:
    return next(study.trials.glob(f"{number:04d}-*"))


def test_healthy_study_is_said_to_be_and_not_touched(study: StudyFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(study.path.parent)
    assert main(["doctor", str(study.path)]) == 0
    out = capsys.readouterr().out
    assert f"{study.path}: healthy" in out
    assert "trial 3 not finished: the next search goes on with them" in out
    assert tree(study.path.parent) == before


def damage_last(study: StudyFolder) -> None:
    cut(trial(study, 3) / LAST)


def damage_best(study: StudyFolder) -> None:
    cut(trial(study, 3) / BEST)


def damage_parent(study: StudyFolder) -> None:
    cut(study.path.parent / WARM_STARTS / "parent" / BEST)


def damage_record(study: StudyFolder) -> None:
    cut(trial(study, 3) / RECORD_FILE)


def damage_log(study: StudyFolder) -> None:
    study.events.write_text(study.events.read_text() + '{"event": "Sear')


def leave_files(study: StudyFolder) -> None:
    (trial(study, 3) / f".{LAST}.x1.partial").write_bytes(bytes(600))
    (study.path.parent / WARM_STARTS / "parent" / f".{BEST}.x2.partial").write_bytes(bytes(400))


def damage_database(study: StudyFolder) -> None:
    study.database.write_bytes(b"no database" * 500)


def remove_database(study: StudyFolder) -> None:
    study.database.unlink()


def leave_database_behind(study: StudyFolder) -> None:
    store(study, record_of(SPACE, 3, Outcome.COMPLETE), record_of(SPACE, 4))
    shutil.rmtree(trial(study, 2))


@pytest.mark.parametrize(
    ("damage", "check", "message", "did"),
    [
        (damage_last, "checkpoints", "trial 3, last.safetensors: it has", "moved aside as last.safetensors.aside-"),
        (damage_best, "checkpoints", "trial 3, best.safetensors: it has", "last.safetensors.aside-"),
        (damage_parent, "checkpoints", "parent, best.safetensors: it has", "last.safetensors.aside-"),
        (damage_record, "records", "must be a readable JSON file", "moved aside as record.json.aside-"),
        (damage_log, "events", "the last line of events.jsonl is half written", "closed the line"),
        (leave_files, "leftovers", "2 temporary files, 1,000 B", "removed"),
        (damage_database, "database", "file is not a database", "the old one is kept as study.db.aside-"),
        (remove_database, "database", "has no study yet", "written from the records"),
        (leave_database_behind, "database", "trial 4 missing; trial 3 different; trial 2 without", "from the records"),
    ],
)
def test_damage_is_found_and_mended(
    damage: Callable[[StudyFolder], None], check: str, message: str, did: str, study: StudyFolder
) -> None:
    damage(study)
    before = tree(study.path.parent)
    found = next(f for f in wrong(examine(study)) if f.check == check)
    assert message in found.message
    assert tree(study.path.parent) == before
    done = next(f for f in mend(study) if f.check == check and f.verdict is Verdict.MENDED)
    assert did in done.remedy
    assert wrong(examine(study)) == []
    if damage not in (leave_files, damage_log, leave_database_behind):
        kept = tree(study.path.parent).values()
        assert all(content in kept or content.startswith(b"SQLite") for content in before.values())


def test_torn_best_weights_of_a_trained_trial_are_reported_and_kept(study: StudyFolder) -> None:
    cut(trial(study, 0) / BEST)
    (trial(study, 1) / BEST).unlink()
    before = tree(study.path.parent)
    for findings in (examine(study), mend(study)):
        assert [f.check for f in wrong(findings)] == ["checkpoints", "weights"]
        assert "trial 0, best.safetensors" in wrong(findings)[0].message
        assert "trial 1 has no best.safetensors" in wrong(findings)[1].message
        assert "to have it trained again" in wrong(findings)[1].remedy
    assert tree(study.path.parent) == before
    assert main(["doctor", str(study.path), "--fix"]) == 1


def test_parent_that_is_being_trained_is_left_alone(study: StudyFolder) -> None:
    damage_parent(study)
    with (study.path.parent / WARM_STARTS / "parent" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = next(f for f in mend(study) if f.check == "parents")
    assert found.verdict is Verdict.NOTE
    assert "is being trained" in found.message


def test_unreadable_space_file_is_named_and_the_rest_is_examined(study: StudyFolder) -> None:
    study.space_file.write_text("model: {preset: tiny")
    findings = {f.check: f for f in examine(study)}
    assert findings["space"].verdict is Verdict.WRONG
    assert str(study.space_file) in findings["space"].message
    assert findings["database"].verdict is Verdict.NOTE
    assert findings["checkpoints"].verdict is Verdict.OK


def test_nothing_is_mended_while_a_search_runs(study: StudyFolder, capsys: pytest.CaptureFixture[str]) -> None:
    leave_files(study)
    remove_database(study)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(study.lock)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert main(["doctor", str(study.path)]) == 0
        out = capsys.readouterr().out
        assert main(["doctor", str(study.path), "--fix"]) == 2
        other.kill()
    assert f"held by process {other.pid} on " in out
    assert "the search may be writing them" in out
    assert f"is in use by process {other.pid} on " in capsys.readouterr().err
    assert not study.database.exists()


def test_full_disk_is_foreseen(study: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"planned": 10, "trained": 0, "feasible": 18, "size": 36, "sampled": False}
    study.events.write_text(json.dumps({"event": "SearchStarted", "time": 1.0, **started}) + "\n")
    usage = namedtuple("usage", "total used free")
    size = max(sum(p.stat().st_size for p in folder.iterdir()) for folder in study.trials.iterdir())
    for trials, verdict in ((7, Verdict.WRONG), (8, Verdict.OK)):  # 7 are to come, and one is written beside another
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=trials * size: usage(0, 0, free))
        disk = next(f for f in examine(study) if f.check == "disk")
        assert disk.verdict is verdict
        assert "7 are to come" in disk.message


def test_torn_is_what_safetensors_itself_refuses(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    checkpoint(whole)
    content = whole.read_bytes()
    assert torn(whole) is None
    damaged = [content[:n] for n in range(len(content))] + [content + b"x", b"\xff" * len(content), b"{}" * 99]
    for data in damaged:
        part.write_bytes(data)
        with pytest.raises((SafetensorError, OSError)), safe_open(part, framework="np"):
            pass
        assert torn(part)


def test_mended_study_goes_on_to_the_table_of_an_undisturbed_one(tmp_path: Path) -> None:
    search(tmp_path / "undisturbed")
    search(tmp_path / "study", trials=5)
    study = StudyFolder(tmp_path / "study")
    cut(trial(study, 5) / RECORD_FILE)
    damage_database(study)
    damage_log(study)
    assert len([f for f in mend(study) if f.verdict is Verdict.MENDED]) == 3
    search(tmp_path / "study")
    assert table(read_records(tmp_path / "study")) == table(read_records(tmp_path / "undisturbed"))
    assert main(["doctor", str(study.path)]) == 1  # these trainings keep no weights


def test_study_on_a_server_is_compared_mended_and_its_absence_reported(study: StudyFolder) -> None:
    study.database.unlink()
    with running_server() as server:
        with open_mirror(study, SPACE, server.url) as mirror:
            mirror.bring_up_to_date(study.records())
        assert wrong(examine(study, server.url)) == []
        url = storage_from(server.url).for_sqlalchemy
        optuna.load_study(study_name="study", storage=url).add_trial(optuna.trial.create_trial(value=1.0))
        assert "trial 4 without a record" in wrong(examine(study, server.url))[0].message
        assert wrong(mend(study, server.url)) == []
        for path in study.trials.iterdir():
            shutil.rmtree(path)
        done = next(f for f in mend(study, server.url) if f.check == "database")
        assert done.verdict is Verdict.MENDED
        names = [s.study_name for s in optuna.get_all_study_summaries(url)]
        assert names[1] == "study"
        assert names[0].startswith("study.aside-")
        assert "password" in wrong(examine(study))[0].remedy
    refused = next(f for f in examine(study, server.url) if f.check == "database")
    assert "refused" in refused.message
    assert "pass/word" not in str(refused)


@pytest.mark.parametrize("width", [80, 100])
def test_view_fits_and_json_says_the_same(study: StudyFolder, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    damage_database(study)
    damage_log(study)
    with terminal(width):
        text = plain_text(doctor_view(study.path, examine(study)), width)
    assert max(map(len, text.splitlines()[1:])) <= width
    assert main(["doctor", str(study.path), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert [f["check"] for f in data["findings"] if f["verdict"] == "wrong"] == ["events", "database"]
    assert data["healthy"] is False


def test_piped_report_has_a_line_a_check(study: StudyFolder, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", str(study.path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [f.check for f in examine(study)]
