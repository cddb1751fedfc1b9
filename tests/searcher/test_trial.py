"""`searcher trial`: whole screens, and what they say against what the study's files hold."""

import json
import random
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bhvit import PrecisionPlan
from bhvit.precision import PRECISIONS
from searcher.cli import main
from searcher.commands import selecting, train
from searcher.coordinator import Ended, SearchSummary
from searcher.events import EpochFinished, TrialFinished, TrialStarted, WorkerLost, events_of_trial
from searcher.records import EpochRecord, Outcome, write_record
from searcher.snapshot import snapshot_of
from searcher.space import load_space
from searcher.study_folder import StudyFolder
from searcher.trial_report import trial_report
from searcher.views.console import plain_text
from searcher.views.precision_map import change_map, map_lines, precision_map
from tests.searcher.architectures import address_of, candidate_of, first_preset, last_preset
from tests.searcher.screens import assert_golden, screen
from tests.searcher.studies import (
    StudyWriter,
    many_study,
    one_trial_study,
    other_schema_study,
    running_study,
    study_space,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("trial")
    many_study(place / "runs", 120)
    one_trial_study(place / "runs")
    other_schema_study(place / "runs")
    return place


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", ["searcher"])
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def first(folder: StudyFolder, outcome: Outcome) -> int:
    return next(r.number for r in folder.records() if r.outcome is outcome)


@pytest.fixture
def many(place: Path) -> StudyFolder:
    return StudyFolder(Path("runs/many"))


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_complete_trial_whose_worker_was_killed(width: int) -> None:
    assert_golden(f"trial_complete_{width}", screen("trial", "many", "7", width=width))


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, Outcome.DIVERGED, Outcome.CRASHED, Outcome.OVER_BUDGET])
def test_trials_that_ended_otherwise(many: StudyFolder, outcome: Outcome) -> None:
    text = screen("trial", "many", str(first(many, outcome)), width=80)
    assert_golden(f"trial_{outcome.value.replace(' ', '_')}_80", text)


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_running_trial_says_what_its_worker_does_and_its_curve_so_far(place: Path, width: int) -> None:
    with running_study(place / "runs"):
        assert_golden(f"trial_running_{width}", screen("trial", "running", "13", width=width))


def test_in_a_pipe_there_is_no_frame_and_no_escape_code() -> None:
    text = screen("trial", "many", "7", tty=False, colour=True)
    assert_golden("trial_complete_piped", text)
    assert "\x1b" not in text
    assert not set(text) & set("─│┌┐└┘├┤┬┴┼")
    assert any(line.split()[:2] == [address_of(first_preset(), 2, block=1), "binary"] for line in text.splitlines())


def test_what_is_filled_with_colour_says_its_bits() -> None:
    coloured = screen("trial", "many", "7", width=80, colour=True)
    filled = re.findall(r"\x1b\[[0-9;]*4[0-7]m([^\x1b]*)\x1b", coloured)
    cells, legend = filled[:15], filled[15:]  # the layers, stem and head; the precisions that they have
    assert set(cells) == set(legend)
    assert len(legend) == len(set(legend)) > 1
    assert set(filled) <= {f"{p.weight_bits:>2}" for p in PRECISIONS.values()}


@pytest.mark.parametrize("preset", [first_preset(), last_preset(), last_preset().scaled(hidden=3, intermediate=3)])
def test_every_layer_is_a_cell_with_its_weight_bits(preset) -> None:
    rng = random.Random(0)
    names = list(PRECISIONS)
    plan = PrecisionPlan.of_layers({a: PRECISIONS[rng.choice(names)] for a in preset.addresses})
    candidate = candidate_of(preset, plan)
    lines = plain_text(precision_map(candidate, candidate.cost()), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    expected = []
    for stage, depth in enumerate(preset.depths):
        if stage:
            expected.append([f"downsample{stage}"])
        for kind in preset.block_parts(stage):
            expected.append([f"stage{stage}.block{block}.{kind}" for block in range(depth)])
    drawn = [line.split() for line in lines[2:-1]]  # without header, stem and head
    for addresses, words in zip(expected, drawn, strict=True):
        bits = ["2s" if (p := candidate.layers[a]).name == "ternary" else str(p.weight_bits) for a in addresses]
        assert words[-2 - len(bits) : -2] == bits


def test_the_shares_of_the_map_add_up() -> None:
    candidate = candidate_of(first_preset(), PrecisionPlan.uniform("binary"))
    lines = plain_text(precision_map(candidate, candidate.cost()), width=80).splitlines()[1:]
    for column in (-1, -2):
        assert sum(float(line.split()[column].rstrip("%")) for line in lines) == pytest.approx(100, abs=0.5)


def test_a_map_that_is_too_wide_goes_on_below() -> None:
    candidate = candidate_of(last_preset(), PrecisionPlan.uniform("int8"))
    narrow = plain_text(precision_map(candidate, candidate.cost()), width=62).splitlines()
    assert max(map(len, narrow)) <= 62
    cells = " ".join(line for line in narrow if "%" in line or not line.strip("8 ")).split()
    assert cells.count("8") == len(last_preset().addresses)


def test_the_map_knows_no_names_of_a_family() -> None:
    lines = map_lines(["patch", "enc.0.conv", "enc.1.conv", "enc.1.attn", "merge1", "dec.0.conv", "out"])
    assert [(line.stage, line.kind, line.addresses) for line in lines] == [
        ("patch", "", ("patch",)),
        ("enc", "conv", ("enc.0.conv", "enc.1.conv")),
        ("enc", "attn", (None, "enc.1.attn")),
        ("merge1", "", ("merge1",)),
        ("dec", "conv", ("dec.0.conv",)),
        ("out", "", ("out",)),
    ]


def test_a_map_of_changes_shows_layers_that_only_one_network_has() -> None:
    binary, int8 = PRECISIONS["binary"], PRECISIONS["int8"]
    text = plain_text(change_map({"a.0.x": binary, "a.1.x": int8}, {"a.0.x": int8, "b": int8}), width=80)
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["a", "x", "1→", "8", "8→--", "2", "of", "2"],
        ["b", "--→", "8", "1", "of", "1"],
    ]


def test_the_command_to_train_it_again_trains_the_same(many: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run_study(space, folder, *args, **kwargs):
        asked.append((space, folder))
        return SearchSummary(Ended.DONE, 1, 0, 1, ())

    monkeypatch.setattr(train, "run_study", run_study)
    snapshot = snapshot_of(many)
    original = load_space(many.space_file)
    for record in snapshot.records[:30]:
        asked.clear()
        screen(*trial_report(snapshot, record.number).again)
        ((space, folder),) = asked
        assert space.candidate(space.enqueued[0]).id == record.candidate.id
        assert space.training == original.training
        assert space.search.seed == original.search.seed
        assert folder == Path(f"runs/many-trial{record.number}")  # beside the study, where its FP parents are


def test_a_study_elsewhere_shares_its_parents_with_the_training_again(tmp_path: Path) -> None:
    folder = one_trial_study(tmp_path / "elsewhere")
    again = trial_report(snapshot_of(folder), 0).again
    assert again[again.index("--runs") + 1] == str(tmp_path / "elsewhere")


def test_rank_front_and_next_better_are_those_of_all_trials(many: StudyFolder) -> None:
    snapshot = snapshot_of(many)
    limits = snapshot.budget
    trained = [r for r in snapshot.records if r.outcome.trained and not limits.violations(r)]
    points = {r.number: (r.metrics.accuracy, -r.memory_bytes, -r.ops) for r in trained}
    for number, point in list(points.items())[:40]:
        report = trial_report(snapshot, number)
        accuracies = [other[0] for other in points.values()]
        better = sum(accuracy > point[0] for accuracy in accuracies)
        assert better < report.rank <= better + accuracies.count(point[0])
        assert (report.better is None) == (report.rank == 1)
        no_worse = [p for p in points.values() if all(a >= b for a, b in zip(p, point, strict=True))]
        assert report.on_front == (set(no_worse) == {point})


def test_another_budget_says_by_how_much_it_is_over(many: StudyFolder) -> None:
    record = many.records()[7]
    limit = record.memory_bytes / 2**20 / 1.25
    text = screen("trial", "many", "7", "--budget", f"memory={limit} MiB,ops=none", width=100)
    over = f"{(record.memory_bytes - limit * 2**20) / 1024:.1f} KiB over"
    assert f"↑ {over}" in text
    assert "125.0%" in text
    assert "none: it is over the budget" in text
    assert "M OPs left" not in text


def test_starts_are_read_from_the_log_though_other_numbers_begin_alike(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    epoch = EpochRecord("fp", 1, 2, 1.0, 1.0, 0.5, 1.0)
    events = [
        (10.0, TrialStarted(1, 1, "a", {"number": 1}, 1.0, 1.0, 0, 1)),
        (11.0, TrialStarted(11, 1, "b", {}, 1.0, 1.0, 0, 1)),
        (12.0, EpochFinished(1, epoch, "w1")),
        (13.0, EpochFinished(11, epoch, "w2")),
        (14.0, WorkerLost(1, "w1", "died")),
        (15.0, TrialStarted(1, 2, "a", {}, 1.0, 1.0, 0, 1)),
        (16.0, TrialFinished(1, Outcome.COMPLETE, 0.5, "", 1, 1)),
    ]
    lines = [{"event": type(e).__name__, "time": t, **json.loads(json.dumps(e, default=vars))} for t, e in events]
    text = "\n".join(json.dumps(line) for line in lines)
    log.write_text(text[: len(text) // 2] + text[len(text) // 2 :] + '\n{"event": "EpochFinished", "number": 1, "tor')
    assert list(events_of_trial(log, 1)) == [event for event in events if event[1].number == 1]
    assert list(events_of_trial(log, 3)) == []
    assert list(events_of_trial(tmp_path / "absent.jsonl", 1)) == []


def test_attempts_of_killed_searches_and_lost_workers_are_told_apart(many: StudyFolder, place: Path) -> None:
    with running_study(place / "runs") as folder:
        first_start, second = trial_report(snapshot_of(folder), 13).attempts
    assert first_start.end == "lost its worker, which was killed by signal 9"
    assert (first_start.epochs, first_start.seconds) == (10, 10.0)
    assert (second.end, second.ended, second.seconds) == ("", None, None)
    (_, killed) = trial_report(snapshot_of(folder), 13).attempts  # the lock is free now, and nobody said goodbye
    assert killed.end == "the search was killed"
    assert killed.seconds == 2.0
    assert "nobody is at work" in screen("trial", "running", "13")


def test_an_fp_parent_is_credited_to_the_trial_that_trained_it_also_where_that_failed(tmp_path: Path) -> None:
    writer = StudyWriter(tmp_path / "study", study_space(), 2)
    failed, other = writer.trial(Outcome.CRASHED), writer.trial(Outcome.COMPLETE)
    folder = writer.end()
    _ = other.candidate, other.metrics.epochs  # of the file that is replaced
    write_record(folder.trial(other), replace(other, metrics=replace(other.metrics, parent_trained=False)))
    assert "shared, trained before" in screen("trial", str(folder.path), "1")
    mark = folder.trial(failed) / "parent.json"
    mark.write_text(json.dumps({"key": "of other widths"}))
    assert trial_report(snapshot_of(folder), 1).parent_trial is None
    mark.write_text(json.dumps({"key": other.metrics.parent_key}))
    assert trial_report(snapshot_of(folder), 1).parent_trial == 0
    assert "shared, trained by trial 0" in screen("trial", str(folder.path), "1")
    assert "FP trainings: 1 run, 1 saved" in screen("show", str(folder.path))


def test_a_trial_whose_fp_parent_no_trial_here_trained_names_none(tmp_path: Path) -> None:
    writer = StudyWriter(tmp_path / "study", study_space(), 2)
    records = [writer.trial(Outcome.COMPLETE) for _ in range(2)]
    folder = writer.end()
    for record in records:
        write_record(folder.trial(record), replace(record, metrics=replace(record.metrics, parent_trained=False)))
    assert [trial_report(snapshot_of(folder), n).parent_trial for n in (0, 1)] == [None, None]


def test_a_start_that_was_killed_ended_at_its_last_sign_of_life(tmp_path: Path) -> None:
    folder = one_trial_study(tmp_path)
    epoch = EpochRecord("fp", 1, 2, 1.0, 1.0, 0.5, 1.0)
    started = [TrialStarted(0, attempt, "a", {}, 1.0, 1.0, 0, 1) for attempt in (1, 2)]
    events = [(10.0, started[0]), (25.0, EpochFinished(0, epoch, "w1")), (100.0, started[1])]
    events.append((130.0, TrialFinished(0, Outcome.COMPLETE, 0.5, "", 1, 1)))
    lines = [{"event": type(e).__name__, "time": t, **json.loads(json.dumps(e, default=vars))} for t, e in events]
    folder.events.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    first_start, second = trial_report(snapshot_of(folder), 0).attempts
    assert (first_start.started, first_start.ended, first_start.end) == (10.0, 25.0, "the search was killed")
    assert (first_start.worker, first_start.epochs) == ("w1", 1)
    assert (second.started, second.ended, second.end) == (100.0, 130.0, "complete")


def test_another_budget_does_not_count_the_space_for_one_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selecting, "profile", lambda space: pytest.fail("the whole space is counted"))
    assert main(["trial", "many", "7", "--budget", "memory=0.2"]) == 0


def test_files_crash_and_test_accuracy_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = one_trial_study(Path("runs"))
    (record,) = folder.records()
    home = folder.trial(record)
    (home / "best.safetensors").write_bytes(b"x" * 3072)
    parent = Path("runs/_warm_starts") / record.metrics.parent_key
    parent.mkdir(parents=True)
    (parent / "best.safetensors").write_bytes(b"x" * 2048)
    traceback = [f"line {i}" for i in range(40)]
    (home / "crash.txt").write_text("\n".join(traceback))
    result = {"split": "test", "accuracy": 0.625, "loss": 1.0, "images": 229, "per_class": []}
    (home / "test.json").write_text(json.dumps(result))
    text = screen("trial", "one", "0", width=100)
    assert "62.5 % Top-1 on 229 images" in text
    assert f"{home}/best.safetensors 3.00 KiB" in " ".join(text.split())
    assert f"{parent}/best.safetensors 2.00 KiB" in " ".join(text.split())
    assert "line 39" in text
    assert "line 14\n" not in text
    assert "(15 lines before)" in text
    assert "searcher evaluate" not in text  # the test split is read once


def test_json_has_curves_attempts_and_the_cost_of_every_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trial", "many", "7", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["view"], data["schema"], data["trial"], data["outcome"]) == ("trial", 1, 7, "complete")
    assert len(data["epochs"]) == 15
    assert len(data["starts"]) == 2
    assert sum(layer["ops"] for layer in data["cost"]["layers"]) == pytest.approx(data["cost"]["ops"])
    for limit in data["budget"]["limits"]:
        assert limit["left"] == pytest.approx(limit["limit"] - limit["used"])


def test_nothing_in_the_study_is_touched(many: StudyFolder) -> None:
    def state() -> list[tuple[str, int, int]]:
        return sorted((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in Path("runs").rglob("*"))

    before = state()
    for command in (["trial", "many", "7"], ["diff", "many", "7", "9"], ["compare", "many", "one"]):
        screen(*command)
    assert state() == before


def test_a_record_that_did_not_store_its_epochs_yet_has_no_chart(tmp_path: Path) -> None:
    folder = one_trial_study(tmp_path / "runs")
    (record,) = folder.records()
    waiting = type(record)(0, record.candidate, record.choices, 1.0, 1.0, Outcome.WAITING, attempts=0)
    write_record(folder.trial(record), waiting)
    folder.events.unlink()
    text = screen("trial", str(folder.path), "0")
    assert "no epoch has ended" in text
    assert "never started" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["many", "999"], "a trial must be one of runs/many, but there is no trial 999; its trials are 0 to 119."),
        (
            ["many", "x"],
            "argument TRIAL: must be the number of a trial, such as 0 or 12, but it is 'x'; see",
        ),
        (["nowhere", "1"], "nowhere must be the folder of a study"),
        (["many", "7", "--budget", "speed=3"], "unknown quantity in --budget 'speed'"),
        (["later", "1"], "a trial record must have schema 2, but this one has 9"),
    ],
)
def test_wrong_input_is_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trial", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
