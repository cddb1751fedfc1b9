"""`searcher compare`: whole screens, and what they say against counting by hand."""

import json
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from searcher.cli import main
from searcher.comparison import Comparison
from searcher.derived import of_model
from searcher.records import write_record
from searcher.snapshot import StudySnapshot, snapshot_of
from searcher.space import Space, parse_space
from searcher.study_folder import StudyFolder
from tests.searcher.screens import assert_golden, screen
from tests.searcher.spaces import FAMILY_NAMES, mixed_space
from tests.searcher.studies import empty_study, many_study, one_trial_study, running_study, two_objectives_study

TIGHT = {"memory": "300 KiB", "ops": "8 MOPs"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compare")
    runs = place / "runs"
    many_study(runs, 120)
    many_study(runs, 40, "tight", budget=TIGHT, search={"trials": 40, "seed": 3, "startup": 10})
    many_study(runs, 20, "complete", budget={**TIGHT, "accounting": "complete"})
    two_objectives_study(runs)
    empty_study(runs)
    one_trial_study(runs)
    return place


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def study(name: str) -> StudySnapshot:
    return snapshot_of(StudyFolder(Path("runs") / name))


def comparison(*names: str) -> Comparison:
    return Comparison(tuple(map(study, names)))


@pytest.mark.parametrize("width", [80, 100, 200])
def test_three_studies_side_by_side(width: int) -> None:
    assert_golden(f"compare_{width}", screen("compare", "many", "tight", "front", width=width))


def test_a_study_that_runs_and_one_that_is_empty(place: Path) -> None:
    with running_study(place / "runs"):
        assert_golden("compare_running_80", screen("compare", "running", "empty", "one", width=80))


def test_many_studies_stand_in_blocks_below_each_other_each_with_its_labels_and_names(tmp_path: Path) -> None:
    names = [f"a-long-name-of-a-study-{i}" for i in range(7)]
    for name in names:
        many_study(tmp_path / "runs", 3, name)
    text = screen("compare", "--runs", str(tmp_path / "runs"), *names, width=80)
    results = text[text.index("Results") : text.index("Best Top-1 (%) after")].splitlines()
    assert max(map(len, text.splitlines())) <= 80
    assert [word for line in results for word in line.split() if word in names] == names
    blocks = sum(any(name in line for name in names) for line in results)
    assert 1 < blocks < 7
    assert sum(line.startswith("● complete") for line in results) == blocks


def test_in_a_pipe_a_study_is_a_column_however_many_there_are(tmp_path: Path) -> None:
    names = [f"a-long-name-of-a-study-{i}" for i in range(20)]
    for name in names:
        many_study(tmp_path / "runs", 1, name)
    rows = [line.split() for line in screen("compare", *names, "--runs", f"{tmp_path}/runs", tty=False).splitlines()]
    assert ["result", *names] in rows
    assert ["memory", *["266.7KiB"] * 20] in rows
    assert ["state", *["done"] * 20] in rows
    assert "★" not in screen("compare", "many", "tight", tty=False).rpartition("★")[0]  # but in the note


def test_in_a_pipe_there_is_no_frame_and_no_escape_code() -> None:
    text = screen("compare", "many", "tight", tty=False, colour=True)
    assert "\x1b" not in text
    assert not set(text) & set("─│┌┐└┘├┤┬┴┼")


def test_only_what_differs_is_listed() -> None:
    asked = {row.key: row.values for row in comparison("many", "tight").asked}
    assert asked == {
        "seed": (0, 3),
        "budget.memory": (study("many").budget.memory, 300 * 1024),
        "budget.ops": (study("many").budget.ops, 8e6),
        "search.trials": (120, 40),
        "search.startup": (None, 10),
        "search.threads": (1, None),
    }


def test_the_common_budget_is_the_tightest_of_each_limit() -> None:
    both = comparison("many", "tight")
    assert both.common_budget.limits == {"memory": 300 * 1024, "ops": 8e6}
    for ranking, snapshot in zip(both.common_rankings, both.studies, strict=True):
        trained = [r for r in snapshot.records if r.outcome.trained]
        within = [r.number for r in trained if r.memory_bytes <= 300 * 1024 and r.ops <= 8e6]
        assert sorted(r.number for r in ranking) == within


def test_the_joint_front_is_what_no_trial_of_any_study_beats() -> None:
    both = comparison("many", "tight")
    points = [[(r.metrics.accuracy, -r.memory_bytes, -r.ops) for r in ranking] for ranking in both.common_rankings]
    everyone = set(points[0]) | set(points[1])

    def beaten(point: tuple[float, ...]) -> bool:
        return any(other != point and all(a >= b for a, b in zip(other, point, strict=True)) for other in everyone)

    front = {point for point in everyone if not beaten(point)}
    assert both.front_size == len(front)
    assert [len(found) for found in both.fronts] == [len(front & set(own)) for own in points]


def test_best_after_n_trainings_counts_failed_ones_and_not_those_never_trained() -> None:
    both = comparison("many", "tight")
    table = dict(both.progress)
    never_trained = sum(r.outcome == "over budget" for r in both.studies[0].records)
    assert never_trained
    assert list(table) == [5, 10, 20, 50, 100, 120 - never_trained]
    limit = both.common_budget
    for count, values in table.items():
        for snapshot, value in zip(both.studies, values, strict=True):
            ended = [r for r in snapshot.records if r.attempts and r.outcome.finished]
            within = [r for r in ended[:count] if r.outcome.trained and not limit.violations(r)]
            best = max((r.metrics.accuracy for r in within), default=None)
            assert value == (best if count <= len(ended) else None)


def test_shared_candidates_agree_as_far_as_their_accuracies_do(tmp_path: Path) -> None:
    one, other = (many_study(tmp_path / "runs", 30, name) for name in ("one", "other"))
    differences = []
    for record in other.records():
        if record.outcome == "complete":
            change = 0.001 * (record.number % 7)
            differences.append(change)
            accuracy = record.metrics.accuracy + change
            _ = record.metrics.epochs, record.candidate
            metrics = type(record.metrics)(
                accuracy, accuracy, 1, record.metrics.parent_key, record.metrics.parent_accuracy, True
            )
            write_record(other.trial(record), replace(record, metrics=metrics))
    ((pair),) = Comparison((snapshot_of(one), snapshot_of(other))).agreements
    assert pair.candidates == len(differences)
    assert pair.difference.mean == pytest.approx(statistics.fmean(differences))
    assert pair.difference.deviation == pytest.approx(statistics.stdev(differences))


def _asked(**spaces: Space) -> dict[str, tuple[Any, ...]]:
    studies = tuple(StudySnapshot(StudyFolder(Path(name)), space, ()) for name, space in spaces.items())
    return {row.key: row.values for row in Comparison(studies).asked}


LABELS = ("stages", FAMILY_NAMES[-1], "float")
WIDER = {"hidden": {"choices": [1, 2, 3]}}


def test_models_of_one_label_are_compared_and_those_that_one_study_has_are_named() -> None:
    groups = [{"layers": f"stage{i}*", "choices": ["binary", "fp16"]} for i in (0, 1)]
    several = mixed_space(*LABELS, precision={"groups": groups[:1]})
    other = mixed_space(*LABELS[:2], widths=WIDER, precision={"groups": groups})
    asked = _asked(one=several, two=other)
    of = f"model.{LABELS[1]}"
    assert asked.pop("models") == (list(LABELS), list(LABELS[:2]))
    assert asked.pop(f"{of}.widths.hidden.choices") == ([1, 2], [1, 2, 3])
    assert asked.pop(f"{of}.precision.groups[1].choices") == (None, ["binary", "fp16"])
    assert all(key.startswith((f"{of}.precision.groups[1].", "model.stages.precision.groups[1].")) for key in asked)


@pytest.mark.parametrize("label", LABELS[1:])
def test_the_only_model_of_a_study_is_compared_with_that_of_its_family(label: str) -> None:
    several = mixed_space(*LABELS[1:])
    alone = of_model(several, label)
    assert alone.family == several.model_of({"model": label}).family
    assert _asked(one=several, two=alone) == {"models": (list(LABELS[1:]), [alone.family])}
    wider = Space(
        "wider", replace(alone.file, widths=parse_space({**several.to_plain(), "widths": WIDER}, "w").file.widths)
    )
    asked = _asked(one=several, two=alone, three=wider)
    assert asked.pop("models") == (list(LABELS[1:]), [alone.family], [alone.family])
    assert all(key.startswith(f"model.{label}.widths.") for key in asked)
    old = [1, 2] if several.model_of({"model": label}).widths.any else None
    assert asked[f"model.{label}.widths.hidden.choices"] == (old, old, [1, 2, 3])


def test_a_model_among_several_of_its_family_is_found_by_its_label_alone() -> None:
    several = mixed_space("stages", FAMILY_NAMES[0])
    alone = of_model(several, "stages")  # its widths are a stage each
    assert _asked(one=several, two=alone)[f"model.{FAMILY_NAMES[0]}.widths.hidden.per_stage"] == (False, True)
    without = mixed_space("stages", "float")
    assert not any(key.startswith("model.") for key in _asked(one=without, two=alone))


def test_costs_in_different_accountings_are_not_compared() -> None:
    both = comparison("many", "complete")
    assert both.common_budget is None
    assert both.fronts is None
    text = screen("compare", "many", "complete")
    assert "counted in different ways" in text
    assert "joint front" not in text


def test_studies_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    other = one_trial_study(tmp_path / "elsewhere")
    assert Comparison((study("one"), snapshot_of(other))).names == ("runs/one", str(other.path))


def test_json_has_an_entry_a_study_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "many", "tight", "empty", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [entry["study"] for entry in data["studies"]] == ["runs/many", "runs/tight", "runs/empty"]
    assert data["studies"][2]["best"] is None
    assert {len(row["values"]) for row in data["asked"]} == {3}
    assert {len(row["accuracy"]) for row in data["progress"]} == {3}
    assert [pair["studies"] for pair in data["shared_candidates"]] == [[0, 1], [0, 2], [1, 2]]


def test_studies_without_a_training_leave_nothing_to_compare(tmp_path: Path) -> None:
    other = empty_study(tmp_path / "runs")
    assert main(["compare", "empty", str(other.path)]) == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["many"], "compare takes at least two studies, but it is given one; name another one."),
        (["many", "runs/many"], "compare takes each study once, but runs/many is given twice."),
        (["many", "nothing"], "nothing must be the folder of a study"),
        ([], "the following arguments are required: STUDY"),
    ],
)
def test_wrong_input_is_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_rows_keep_their_names_however_many_studies_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(20):
        shutil.copytree(one_trial_study(tmp_path / "source").path, tmp_path / f"a_study_of_its_own_{i}")
    monkeypatch.chdir(tmp_path)
    names = sorted(path.name for path in tmp_path.glob("a_*"))
    text = screen("compare", *names, width=80)
    results = text[text.index("Results") : text.index("Best Top-1")]
    assert results.count("trials ") == results.count("best: Top-1") == 10  # two of these names fit beside each other
    assert all(results.count(f" {name} ") + results.count(f" {name}\n") == 1 for name in names)
    shutil.copytree(names[0], "one_more")
    assert "compare takes up to 20 studies, but 21 are given; leave some out." in screen("compare", *names, "one_more")
