"""`searcher plot`: whole screens, what is refused, and what other programs read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from searcher.charts.kinds import KINDS
from searcher.cli import main
from searcher.records import EpochRecord, Outcome
from tests.searcher import studies
from tests.searcher.screens import assert_golden, screen


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for write in (studies.empty_study, studies.one_trial_study, studies.many_study, studies.two_objectives_study):
        write(folder)
    studies.other_schema_study(folder)
    return folder


@pytest.fixture(autouse=True)
def _inside(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_screens_of_five_hundred_trials(kind: str, width: int) -> None:
    assert_golden(f"plot_{kind}_{width}", screen("plot", "many", "--kind", kind, width=width))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("one_front", ["one"]),
        ("one_history", ["one", "--kind", "history"]),
        ("one_parallel", ["one", "--kind", "parallel"]),
        ("one_map", ["one", "--kind", "map"]),
        ("one_budget", ["one", "--kind", "budget"]),
        ("trial", ["many", "--kind", "curves", "--trial", "421"]),
        ("tighter", ["many", "--x", "ops", "--budget", "ops=5M"]),
        ("two_objectives", ["front"]),
    ],
)
def test_screens_of_other_studies(name: str, arguments: list[str]) -> None:
    assert_golden(f"plot_{name}", screen("plot", *arguments, width=80))


def test_a_running_study_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with studies.running_study(tmp_path):
        assert_golden("plot_running", screen("plot", "running", "--kind", "history", width=80))


def test_no_line_is_wider_than_the_terminal() -> None:
    for kind in KINDS:
        for width in (60, 80, 133):
            lines = screen("plot", "many", "--kind", kind, width=width).splitlines()
            assert max(map(len, lines)) <= width, (kind, width)


def test_a_space_with_a_single_candidate_is_drawn_or_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    epochs = tuple(EpochRecord(phase, 1, 1, 1.0, 1.0, 0.5, 1.0) for phase in ("fp", "qat"))
    monkeypatch.setattr(studies.StudyWriter, "_epochs", lambda *_: epochs)
    writer = studies.StudyWriter(tmp_path / "single", studies.study_space(precision={}, widths={}), 1)
    writer.trial(Outcome.COMPLETE)
    study = str(writer.end().path)
    codes = {kind: main(["plot", study, "--kind", kind]) for kind in KINDS}
    assert {kind for kind, code in codes.items() if code == 1} == {"importance", "parallel", "map"}
    assert set(codes.values()) == {0, 1}
    out = capsys.readouterr().out
    assert "nothing to draw: the space has a single candidate." in out
    assert "nothing to draw: the space chooses no precision." in out


def test_twenty_curves_have_twenty_marks() -> None:
    legend = screen("plot", "many", "--kind", "curves", "--top", "20", width=100).split("epoch\n")[1]
    marks = re.findall(r"(\S) trial \d+", legend)
    assert len(marks) == len(set(marks)) == 20


def test_piped_drawing_has_neither_escape_codes_nor_box_drawing() -> None:
    for kind in KINDS:
        text = screen("plot", "many", "--kind", kind, width=80, tty=False, colour=True)
        assert "\x1b" not in text
        assert not any("\u2500" <= c <= "\u257f" for c in text), kind
        assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("asked", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_where_there_is_no_unicode_every_view_has_ascii_alone(runs: Path, asked: dict[str, str]) -> None:
    views = ["plot many --kind front", "plot many --kind map", "show many", "show many --columns help", "ls ."]
    program = f"from searcher.cli import main; assert not any(main(view.split()) for view in {views})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**asked, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        check=True,
    )
    assert done.stdout.isascii()
    assert b"?" not in done.stdout  # what a character without a counterpart would become
    assert b"\\u" not in done.stdout  # or its code


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_study_is_one_line_and_exit_code_1(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "empty", "--kind", kind]) == 1
    out = capsys.readouterr().out
    assert out.startswith("empty: nothing to draw: ")
    assert out.count("\n") == 1


def test_a_trial_that_failed_has_no_curve_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "many", "--kind", "curves", "--trial", "43"]) == 1
    assert capsys.readouterr().out == "many: nothing to draw: no learning curve of trial 43 (out of memory).\n"
    assert "No learning curve: trial 43 (out of memory)." in screen(
        "plot", "many", "--kind", "curves", "--trial", "43", "--trial", "421", width=80
    )


def test_a_condition_that_no_trial_meets_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "many", "--where", "accuracy>99%"]) == 1
    assert capsys.readouterr().out == "many: nothing to draw: no trial satisfies --where 'accuracy>99%'.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["many", "--kind", "frnt"], "invalid choice: 'frnt'"),
        (["many", "--x", "energy"], "invalid choice: 'energy'"),
        (["many", "--kind", "map", "--x", "ops"], "--x is for --kind front, but the kind is map"),
        (["many", "--top", "3"], "--top is for --kind curves, map or parallel, but the kind is front"),
        (["many", "--kind", "curves", "--top", "0"], "--top: must be a whole number of at least 1, but it is '0'"),
        (["many", "--kind", "curves", "--top", "2", "--trial", "3"], "leave one out"),
        (["many", "--kind", "curves", "--trial", "999"], "there is no trial 999; its trials are 0 to 499"),
        (["many", "--kind", "curves", "--top", "21"], "at most 20 trials, but 21 are asked for"),
        (["many", "--kind", "curves", "--trial", "x"], "must be the number of a trial, such as 0 or 12, but it is 'x'"),
        (["empty", "--kind", "curves", "--trial", "1"], "there is no trial 1; it has none yet"),
        (["many", "--kind", "curves", "--trial", "3", "--where", "hidden==1"], "leave one out"),
        (["many", "--trial", "3"], "--trial is for --kind curves"),
        (["many", "--out", "front.pdf"], "--out must end in .png, .svg, .html, but it is 'front.pdf'"),
        (["many", "--out", "front"], "--out must end in"),
        (["many", "--out", "none/front.svg"], "--out must be in a folder that exists, but none is none"),
        (["many", "--budget", "energy=3"], "unknown quantity in --budget 'energy'"),
        (["many", "--budget", "memory"], "--budget takes memory=LIMIT,ops=LIMIT"),
        (["many", "--where", "hiden>2"], "hiden"),
        (["many", "--where", "hidden>"], "hidden>"),
        (["nowhere"], "nowhere must be the folder of a study"),
        (["later"], "must have schema 2, but this one has 9"),
    ],
)
def test_wrong_input_is_one_line_with_the_remedy(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_json_has_the_form_that_is_documented(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "many", "--kind", kind, "--json"]) == 0
    data = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert data["view"] == "plot"
    assert data["kind"] == kind
    assert set(data) == {"view", "schema", "study", "kind", "title", "budget", "panels", "notes", "nothing", "trials"}
    assert data["panels"]


def test_json_of_the_front_holds_every_trained_trial(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plot", "many", "--x", "memory", "--json"])
    (panel,) = json.loads(capsys.readouterr().out)["panels"]
    drawn = {
        trial: (x, y)
        for s in panel["series"]
        for trial, x, y in zip(s["trials"], s["x"], s["y"], strict=False)
        if s["trials"]
    }
    stored = {}
    for path in (runs / "many" / "trials").glob("*/record.json"):
        record = json.loads(path.read_text())
        if record["outcome"] in ("complete", "stopped"):
            stored[record["number"]] = (record["memory_bytes"], record["metrics"]["accuracy"])
    assert drawn == stored


def test_json_where_there_is_nothing_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "empty", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["panels"] == []
    assert data["nothing"]


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    for path in sorted(folder.rglob("*")):
        yield str(path), path.stat().st_mtime_ns, path.stat().st_size


def test_plotting_writes_nothing_in_the_study(runs: Path) -> None:
    before = list(_files(runs / "many"))
    for kind in KINDS:
        screen("plot", "many", "--kind", kind)
    assert list(_files(runs / "many")) == before


def test_drawing_in_the_terminal_imports_neither_torch_nor_optuna_nor_matplotlib() -> None:
    program = (
        "import sys; from searcher.cli import main; main(['plot', 'many', '--kind', 'importance']);"
        "print([m for m in ('torch', 'optuna', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
