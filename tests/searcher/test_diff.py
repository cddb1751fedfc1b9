"""`searcher diff`: whole screens, and what they say against the two records."""

import json
from pathlib import Path

import pytest

from searcher.cli import main
from searcher.records import Outcome
from searcher.snapshot import snapshot_of
from searcher.study_folder import StudyFolder
from searcher.trial_diff import Side, TrialDiff
from tests.searcher.screens import assert_golden, screen
from tests.searcher.studies import many_study, study_space


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("diff")
    model = {"preset": "tiny", "classes": 37, "image_size": 224, "downsample": "plain"}
    many_study(place / "runs", 60)
    many_study(place / "runs", 10, "tiny", model=model, budget={"memory": "30 MiB", "ops": "2 GOPs"})
    many_study(place / "runs", 12, "seed1", search={"trials": 12, "seed": 1})
    return place


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def diff_of(before: int, after: int, other: str = "many") -> TrialDiff:
    snapshots = [snapshot_of(StudyFolder(Path("runs") / name)) for name in ("many", other)]
    sides = [Side(s, s.trial(number)) for s, number in zip(snapshots, (before, after), strict=True)]
    return TrialDiff(*sides)


@pytest.mark.parametrize("width", [80, 100, 200])
def test_two_trials_beside_each_other(width: int) -> None:
    assert_golden(f"diff_{width}", screen("diff", "many", "7", "8", width=width))


def test_in_a_pipe_every_layer_that_differs_is_a_row() -> None:
    text = screen("diff", "many", "7", "8", tty=False, colour=True)
    assert "\x1b" not in text
    assert not set(text) & set("─│┌┐└┘├┤┬┴┼")
    first = study_space().base.addresses[0]
    rows = [line.split() for line in text.splitlines() if line.startswith(first)]
    assert [row[:2] for row in rows] == [[first, "int8→binary"]]


def test_networks_of_other_depths_are_compared_layer_by_layer() -> None:
    assert_golden("diff_other_network_80", screen("diff", "many", "7", "3", "--with", "tiny", width=80))


def test_differences_are_those_of_the_records() -> None:
    diff = diff_of(7, 8)
    before, after = (side.record for side in diff.sides)
    totals = [report.total for report in diff.costs]
    assert [(t.memory_bytes, t.ops) for t in totals] == [(r.memory_bytes, r.ops) for r in (before, after)]
    assert diff.accuracies == (before.metrics.accuracy, after.metrics.accuracy)
    changes = {a for a in before.candidate.layers if before.candidate.layers[a] != after.candidate.layers[a]}
    assert {a for a, (one, other) in diff.precisions.items() if one != other} == changes
    assert sum(c.after.memory_bytes - c.before.memory_bytes for c in diff.layers) == pytest.approx(
        after.memory_bytes - before.memory_bytes
    )


def test_exchanged_sides_give_the_opposite_differences(capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for numbers in (["7", "8"], ["8", "7"]):
        assert main(["diff", "many", *numbers, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    for key in ("accuracy_difference", "memory_bytes_difference", "ops_difference"):
        assert found[0][key] == pytest.approx(-found[1][key])
    assert found[0]["before"] == found[1]["after"]


def test_the_same_candidate_in_two_studies_differs_in_its_result_alone() -> None:
    text = screen("diff", "many", "3", "3", "--with", "seed1", width=100)
    assert "Trial 3 of runs/many → trial 3 of runs/seed1" in text
    assert "the same in everything but precision" not in text
    assert "the same" in text
    assert "the same in all 13 layers" in text
    assert json.dumps(diff_of(3, 3, "seed1").layers) == "[]"


def test_a_failed_trial_has_no_accuracy_to_compare(tmp_path: Path) -> None:
    folder = many_study(tmp_path / "runs", 60)
    failed = next(r.number for r in folder.records() if r.outcome in (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY))
    text = screen("diff", str(folder.path), "7", str(failed), width=80)
    (row,) = [line.split() for line in text.splitlines() if line.startswith("Top-1  ")]
    assert row[-1] == "-"
    assert "Learning curves" not in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["many", "7", "7"], "diff takes two different trials, but both are trial 7 of many."),
        (["many", "7", "7", "--with", "runs/many"], "diff takes two different trials"),
        (["many", "7"], "the following arguments are required: OTHER_TRIAL"),
        (["many", "7", "400"], "there is no trial 400; its trials are 0 to 59"),
        (["many", "7", "1", "--with", "none"], "none must be the folder of a study"),
    ],
)
def test_wrong_input_is_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
