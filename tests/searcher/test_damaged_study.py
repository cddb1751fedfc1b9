"""A study whose files were damaged by hand, by a full disk or by another version: one line, or shown all the same."""

import dataclasses
import json

import pytest

from bhvit import InvalidInput
from searcher.cli import main
from searcher.events import last_start
from searcher.records import Metrics, Outcome, TrialRecord, write_record
from tests.searcher.spaces import small_space


@pytest.fixture
def study(tmp_path):
    """A study with one complete trial."""
    space = small_space()
    choices = space.decode(0)
    metrics = Metrics(0.5, 0.4, 1, "key", 0.6, parent_trained=True)
    record = TrialRecord(0, space.candidate(choices), choices, 1e5, 1e6, Outcome.COMPLETE, metrics)
    write_record(tmp_path / "trials" / record.name, record)
    (tmp_path / "space.yaml").write_text(space.to_yaml())
    started = {"planned": 7, "trained": 0, "feasible": 30, "size": 36, "sampled": False}
    (tmp_path / "events.jsonl").write_text(json.dumps({"event": "SearchStarted", "time": 1.0, **started}) + "\n")
    return tmp_path


def test_the_undamaged_study_is_shown(study, capsys) -> None:
    assert main(["show", str(study)]) == 0
    out = capsys.readouterr().out
    assert "1 of 7 trials" in out
    assert "36 configurations, 30 within the budget" in out
    assert "FP trainings: 1 run, 0 saved" in out


@pytest.mark.parametrize("line", ["5", "{}", '{"event": "SearchStarted"}', '{"event": "X"}', '{"event": "Sear', "\x00"])
def test_lines_of_the_log_that_are_no_events_are_passed_over(study, line: str, capsys) -> None:
    with (study / "events.jsonl").open("a") as log:
        log.write(line + "\n")
    assert last_start(study / "events.jsonl").planned == 7
    assert main(["show", str(study)]) == 0
    assert "1 of 7 trials" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("metrics", None, "a trial with outcome complete must have metrics"),
        ("number", "x", "record.number must be a whole number, but it is 'x'"),
        ("memory_bytes", "a", "record.memory_bytes must be a number"),
        ("ops", None, "record.ops must be a number"),
        ("choices", None, "record.choices must be a mapping"),
        ("outcome", "won", "'won' is not a valid Outcome"),
        ("schema", 99, "a trial record must have schema 2, but this one has 99"),
        ("candidate", 5, "not a stored candidate"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_record_is_named_in_one_line(study, key: str, value, message: str, capsys) -> None:
    path = next((study / "trials").glob("*/record.json"))
    data = json.loads(path.read_text())
    (data["details"] if key in data["details"] else data)[key] = value
    path.write_text(json.dumps(data))
    assert main(["show", str(study)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("record.json") == 1
    assert err.count("\n") == 1


def test_a_torn_record_is_named_in_one_line(study, capsys) -> None:
    path = next((study / "trials").glob("*/record.json"))
    path.write_text(path.read_text()[:50])
    assert main(["show", str(study)]) == 2
    assert capsys.readouterr().err.count("record.json") == 1


def test_brackets_in_a_message_are_shown_as_they_are(study, capsys) -> None:
    space = small_space()
    choices = space.decode(1)
    record = TrialRecord(1, space.candidate(choices), choices, 1e5, 1e6, Outcome.CRASHED, message="no [/bold] [x]")
    write_record(study / "trials" / record.name, record)
    assert main(["show", str(study)]) == 0
    assert "crashed   1  no [/bold] [x] (trial 1)" in capsys.readouterr().out


def test_a_damaged_test_result_is_refused(study, capsys) -> None:
    folder = next((study / "trials").iterdir())
    for damaged in ("{}", "5", '{"accuracy": "x"}'):
        (folder / "test.json").write_text(damaged)
        assert main(["evaluate", str(study), "0"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_finished_outcome_without_metrics_cannot_be_made() -> None:
    space = small_space()
    choices = space.decode(0)
    record = TrialRecord(0, space.candidate(choices), choices, 1.0, 1.0, Outcome.RUNNING)
    with pytest.raises(InvalidInput, match="must have metrics"):
        dataclasses.replace(record, outcome=Outcome.COMPLETE)


def test_another_accounting_is_another_question() -> None:
    reported = small_space(budget={"memory": "1 MiB"})
    complete = small_space(budget={"memory": "1 MiB", "accounting": "complete"})
    assert reported.fingerprint != complete.fingerprint
    assert reported.fingerprint == small_space(budget={"memory": "2 MiB"}).fingerprint
