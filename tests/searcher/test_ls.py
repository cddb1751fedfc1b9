"""`searcher ls` on studies of ours: whole screens, what is estimated, what cannot be read, what nobody trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from searcher import inventory, snapshot
from searcher.cli import main
from searcher.events import SearchStarted
from searcher.inventory import studies_in
from searcher.records import Outcome, read_records
from searcher.snapshot import State, snapshot_of
from tests.searcher.records import store
from tests.searcher.screens import NOW, assert_golden, screen
from tests.searcher.studies import (
    StudyWriter,
    empty_study,
    many_study,
    one_trial_study,
    other_schema_study,
    running_study,
    study_space,
    two_objectives_study,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/ in it, in which there is a study of every sort."""
    place = tmp_path_factory.mktemp("ls")
    runs = place / "runs"
    for write in (empty_study, one_trial_study, many_study, two_objectives_study, other_schema_study):
        write(runs)
    interrupted = StudyWriter(runs / "table3" / "a-model-with-a-long-name-seed0", study_space(), 30)
    for outcome in (Outcome.COMPLETE, Outcome.COMPLETE, Outcome.CRASHED, Outcome.WAITING):
        interrupted.trial(outcome)
    interrupted.end("interrupted")
    (runs / "_warm_starts" / "0123").mkdir(parents=True)
    return place


@pytest.fixture
def place(written: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(written)
    return written


@pytest.fixture
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("width", [80, 100, 200])
def test_screen(width: int, place: Path) -> None:
    with running_study(place / "runs"):
        text = screen("ls", width=width)
    shutil.rmtree(place / "runs" / "running")
    assert max(map(len, text.splitlines())) <= width
    assert_golden(f"ls_{width}", text)


def test_pipe_has_one_study_a_line_and_no_empty_cell(place: Path) -> None:
    text = screen("ls", tty=False)
    assert_golden("ls_pipe", text)
    head, *rows = text.splitlines()
    assert len(rows) == 6
    assert "\x1b" not in text
    columns = [head.index(name) for name in head.split()]
    assert columns == sorted(columns)
    assert "problem" in head
    assert all(row[head.index("problem") :].strip() for row in rows)


def test_names_are_never_broken(empty_place: Path) -> None:
    name = "a-name-that-is-longer-than-half-of-a-terminal-of-eighty-columns-seed0"
    many_study(empty_place / "runs", 3, name)
    for width in (80, 100, 200):
        lines = screen("ls", width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert sum(name in line for line in lines) == 1
    assert len(screen("ls", width=200).splitlines()) == len(lines)


def test_json_says_what_the_records_say(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "--sort", "name", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["view"], data["schema"]) == ("ls", 1)
    studies = {study["study"]: study for study in data["studies"]}
    assert list(studies) == ["empty", "front", "later", "many", "one", "table3/a-model-with-a-long-name-seed0"]
    records = read_records(Path("runs/many"))
    within = [r for r in records if r.metrics and r.memory_bytes <= 1433344 and r.ops <= 11627264]
    best = max(within, key=lambda r: r.metrics.accuracy)
    many = studies["many"]
    assert many["best"] == {
        "trial": best.number,
        "accuracy": best.metrics.accuracy,
        "memory_bytes": best.memory_bytes,
        "ops": best.ops,
        "latency_seconds": None,
    }
    assert sum(many["outcomes"].values()) == 500
    assert many["outcomes"]["over budget"] == sum(r.outcome is Outcome.OVER_BUDGET for r in records)
    assert studies["later"]["state"] == "unreadable"
    assert "schema" in studies["later"]["problem"]


def test_time_left_of_an_interrupted_study_is_what_its_last_trials_took(tmp_path: Path) -> None:
    """Trials of the tests take 60 seconds each: 30 asked for, 3 done, by one worker."""
    writer = StudyWriter(tmp_path / "study", study_space(), 30)
    for outcome in (Outcome.COMPLETE, Outcome.COMPLETE, Outcome.CRASHED):
        writer.trial(outcome)
    writer.end("interrupted")
    (entry,) = studies_in(tmp_path)
    assert (entry.state, entry.done, entry.remaining, entry.estimated) == (State.INTERRUPTED, 3, 27 * 60.0, True)


def test_study_that_tried_every_configuration_within_the_budget_is_done(tmp_path: Path) -> None:
    writer = StudyWriter(tmp_path / "study", study_space(), 30)
    writer.events.clear()
    writer.log(SearchStarted(planned=30, trained=0, feasible=1, size=10, sampled=False))
    writer.trial(Outcome.COMPLETE)
    writer.end("every feasible configuration tried")
    (entry,) = studies_in(tmp_path)
    assert (entry.state, entry.done, entry.planned, entry.remaining) == (State.DONE, 1, 30, None)


def test_time_left_of_a_running_study_is_what_its_search_says(tmp_path: Path) -> None:
    with running_study(tmp_path):
        (entry,) = studies_in(tmp_path)
        assert (entry.state, entry.remaining, entry.estimated) == (State.RUNNING, 1750.0, False)
        assert entry.active == NOW - 0.5


def test_studies_of_a_reproduction_are_found_one_level_deeper_and_no_further(tmp_path: Path) -> None:
    for below in ("a", "b/c", "b/d/e", "_warm_starts/f"):
        one_trial_study(tmp_path / below)
    assert [entry.name for entry in studies_in(tmp_path)] == ["a/one"]
    assert [entry.name for entry in studies_in(tmp_path / "b")] == ["c/one"]
    assert [entry.name for entry in studies_in(tmp_path / "a" / "one")] == ["one"]


@pytest.mark.parametrize(
    ("sort", "first"), [("name", "empty"), ("best", "many"), ("state", "table3/a-model-with-a-long-name-seed0")]
)
def test_order_is_the_one_asked_for(sort: str, first: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ls", "--sort", sort, "--json"])
    studies = json.loads(capsys.readouterr().out)["studies"]
    if sort == "state":
        studies = [s for s in studies if s["study"] != "many"]  # three of its trials are over the budget: interrupted
    assert studies[0]["study"] == first


def test_newest_comes_first(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ls", "--json"])
    times = [study["last_sign"] for study in json.loads(capsys.readouterr().out)["studies"]]
    assert times == sorted(times, reverse=True)


def test_state_chooses(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "--state", "done", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {study["study"] for study in data["studies"]} == {"one", "front"}
    assert main(["ls", "--state", "running"]) == 1
    assert "No study in runs is running" in capsys.readouterr().out


def test_a_torn_space_file_has_its_row_and_hides_no_other(empty_place: Path) -> None:
    for name in ("good", "torn"):
        one_trial_study(empty_place / "runs" / name)
    (empty_place / "runs/torn/one/space.yaml").write_text("model: {preset: [")
    text = screen("ls")
    assert "good/one" in text
    assert "? unreadable" in text
    assert "? torn/one: runs/torn/one/space.yaml must be valid YAML" in text


@pytest.mark.parametrize("arguments", [[], ["elsewhere"]])
def test_where_there_is_no_study_it_says_how_to_start_one(
    arguments: list[str], empty_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty_place / "elsewhere").mkdir()
    assert main(["ls", *arguments]) == 1
    assert "Start one: searcher search search_spaces/demo.yaml" in capsys.readouterr().out


def test_listing_writes_nothing(place: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in place.rglob("*")}

    before = state()
    screen("ls")
    assert state() == before


def test_study_whose_log_may_not_be_read_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies = [one_trial_study(tmp_path / "runs"), empty_study(tmp_path / "runs")]
    refused = studies[0].events

    def refusing(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def refuse(path: Path) -> Any:
            if path == refused:
                raise PermissionError(13, "Permission denied", str(path))
            return read(path)

        return refuse

    monkeypatch.setattr(snapshot, "last_start", refusing(snapshot.last_start))  # this test may be run by root
    monkeypatch.setattr(inventory, "last_time", refusing(inventory.last_time))
    one, other = sorted(studies_in(tmp_path / "runs"), key=lambda entry: entry.name, reverse=True)
    assert (one.state, one.problem) == (None, f"{refused}: Permission denied")
    assert other.state is State.EMPTY


def test_time_left_is_that_of_the_last_trials_shared_by_the_workers(tmp_path: Path) -> None:
    search = {**study_space().to_plain()["search"], "trials": 24, "workers": 2}
    writer = StudyWriter(tmp_path / "runs" / "study", study_space(search=search), 24)
    for _ in range(14):
        writer.trial(Outcome.COMPLETE)
    folder = writer.end("interrupted")
    for record in folder.records():
        if record.metrics is not None:
            seconds = 1000.0 if record.number < 4 else 60.0
            store(folder, replace(record, metrics=replace(record.metrics, seconds=seconds)))
    (entry,) = studies_in(tmp_path / "runs")
    study = snapshot_of(folder)
    trained = [r for r in study.records if r.metrics is not None]
    assert len(trained) >= inventory.RECENT + 2
    assert entry.estimated
    recent = [r.metrics.seconds for r in trained[-inventory.RECENT :] if r.metrics is not None]
    assert entry.remaining == (study.goal - study.done) * sum(recent) / len(recent) / 2
    assert min(recent) == 60.0


def test_study_named_like_a_storage_is_still_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = one_trial_study(tmp_path / "runs")
    folder.path.rename(tmp_path / "runs" / "v1.log")
    monkeypatch.chdir(tmp_path)
    assert "1 of 1 trials" in screen("show", "v1.log")
