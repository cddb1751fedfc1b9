"""The final table, compared whole, and the figures around it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from bhvit import PrecisionPlan
from searcher.budget import Budget
from searcher.ranking import outcome_counts, ranked
from searcher.records import RECORD_FILE, Metrics, Outcome, TrialRecord, read_record, read_records, write_record
from searcher.snapshot import StudySnapshot
from searcher.space import parse_space
from searcher.study_folder import StudyFolder
from searcher.trial_fields import TrialFields
from searcher.views.candidate import choices_text, factor_text, precision_text
from searcher.views.console import console, plain_text
from searcher.views.leaderboard import leaderboard
from searcher.views.study import ended_view
from tests.searcher.architectures import address_of, candidate_of, first_preset, model_of
from tests.searcher.screens import ESCAPES, terminal
from tests.searcher.spaces import small_space

MIB = 2**20
PRESET = first_preset()
(EARLY, EVERYWHERE), (LATE, _) = PRESET.block_parts(0), PRESET.block_parts(3)
DEEP = address_of(PRESET, 2, part=1, block=3)
SPACE = parse_space(
    {
        "model": model_of(PRESET),
        "widths": {"hidden": {"choices": [1, 1.5]}, "intermediate": {"choices": [1, 2], "per_stage": True}},
        "precision": {"groups": [{"layers": "downsample*", "choices": ["binary", "fp16"]}]},
        "budget": {"memory": "2 MiB", "ops": "100M"},
    },
    "tiny",
)
BUDGET = Budget(memory=2 * MIB, ops=100e6)
BINARY = PrecisionPlan.uniform("binary")


def trial(number: int, accuracy: float, plan: PrecisionPlan = BINARY, **changes) -> TrialRecord:
    metrics = Metrics(accuracy, accuracy, 3, "key", 0.9, parent_trained=changes.pop("parent_trained", False))
    record = TrialRecord(
        number,
        candidate_of(PRESET, plan),
        {"hidden": 1.5, **{f"intermediate.stage{i}": 1 + (i == 1) for i in range(4)}, "downsample*": "binary"},
        MIB,
        50e6,
        Outcome.COMPLETE,
        metrics,
    )
    return replace(record, **changes)


RECORDS = [
    trial(0, 0.70),
    trial(1, 0.75, BINARY.with_layers("downsample*", "fp16")),
    trial(2, 0.72, outcome=Outcome.STOPPED, parent_trained=True),
    trial(3, 0.99, memory_bytes=3 * MIB),
    trial(4, 0.0, outcome=Outcome.DIVERGED, metrics=None, message="NaN"),
    trial(5, 0.70, memory_bytes=MIB / 2),
]


def table_lines(width: int, tty: bool) -> list[str]:
    snapshot = StudySnapshot(StudyFolder(Path("nowhere")), SPACE, tuple(RECORDS))
    with terminal(width, tty=tty) as out:
        console().print(leaderboard(snapshot, TrialFields(SPACE), snapshot.ranked, noted=False))
    return [line.rstrip() for line in ESCAPES.sub("", out.getvalue()).splitlines()]


def test_the_whole_table_in_a_pipe() -> None:
    assert table_lines(80, tty=False) == [
        "mark  place  trial  hidden      MLP  bits                      Top-1%   FP%    memory  share%    OPs  share%",
        "★◆        1      1     1.5  1/2/1/1  1/1-16-1/1-16-1/1-16-1/1    75.0  90.0   1.00MiB      50  50.0M      50",
        "~         2      2     1.5  1/2/1/1  1/1-1-1/1-1-1/1-1-1/1       72.0  90.0   1.00MiB      50  50.0M      50",
        "◆         3      5     1.5  1/2/1/1  1/1-1-1/1-1-1/1-1-1/1       70.0  90.0  512.0KiB      25  50.0M      50",
        "-         4      0     1.5  1/2/1/1  1/1-1-1/1-1-1/1-1-1/1       70.0  90.0   1.00MiB      50  50.0M      50",
    ]


def test_the_whole_table_on_a_terminal() -> None:
    assert table_lines(80, tty=True) == [
        "    trial  hidden  S0  │D1│S1  │D2│S2  │D3│S3    Top-1 %     memory     OPs",
        "───────────────────────────────────────────────────────────────────────────",
        "★◆      1     1.5   1 1│16│ 1 1│16│ 1 1│16│ 1 1     75.0   1.00 MiB  50.0 M",
        "~       2     1.5   1 1│ 1│ 1 1│ 1│ 1 1│ 1│ 1 1     72.0   1.00 MiB  50.0 M",
        "◆       5     1.5   1 1│ 1│ 1 1│ 1│ 1 1│ 1│ 1 1     70.0  512.0 KiB  50.0 M",
        "        0     1.5   1 1│ 1│ 1 1│ 1│ 1 1│ 1│ 1 1     70.0   1.00 MiB  50.0 M",
    ]


def test_narrower_terminals_give_up_columns_and_never_wrap() -> None:
    for width in range(28, 200):
        lines = table_lines(width, tty=True)
        assert len(lines) == 2 + 4, width
        assert all(cell_len(line) <= width for line in lines)


def test_ties_go_to_the_smaller_model_and_over_budget_trials_are_not_ranked() -> None:
    assert [r.number for r in ranked(RECORDS, BUDGET)] == [1, 2, 5, 0]
    assert [r.number for r in ranked(RECORDS, Budget())] == [3, 1, 2, 5, 0]


def test_outcomes_are_counted_without_zeros() -> None:
    assert outcome_counts(RECORDS) == {"complete": 4, "stopped": 1, "diverged": 1}


def test_trials_that_find_their_parent_save_its_training() -> None:
    assert StudySnapshot(StudyFolder(Path("nowhere")), SPACE, tuple(RECORDS)).parents_saved == (1, 4)


def test_a_parent_trained_by_a_trial_that_failed_was_trained_here(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    failed = trial(0, 0.0, outcome=Outcome.CRASHED, metrics=None, attempts=1)
    records = (failed, trial(1, 0.7))
    assert StudySnapshot(folder, SPACE, records).parents_saved == (0, 1)
    folder.trial(failed).mkdir(parents=True)
    (folder.trial(failed) / "parent.json").write_text('{"key": "key"}')
    assert StudySnapshot(folder, SPACE, records).parents_saved == (1, 1)
    (folder.trial(failed) / "parent.json").write_text('{"key": "ke')  # half written by a process that was killed
    assert StudySnapshot(folder, SPACE, records).parents_saved == (0, 1)


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ({}, "binary"),
        ({"downsample*": "fp16"}, "binary, downsample fp16"),
        ({"downsample[12]": "int8"}, "binary, downsample1 int8, downsample2 int8"),
        ({f"stage2.*.{LATE}": "fp16"}, f"binary, stage2.{LATE} fp16"),
        (
            {f"*.{LATE}": "int4", f"*.{EVERYWHERE}": "int8"},
            f"int8, {EARLY} binary, downsample binary, {LATE} int4",
        ),
        ({DEEP: "fp32"}, f"binary, {DEEP} fp32"),
        ({"*": "fp32"}, "fp32"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_plan_is_said_in_the_fewest_words(rules: dict, text: str) -> None:
    plan = BINARY
    for pattern, precision in rules.items():
        plan = plan.with_layers(pattern, precision)
    assert precision_text(plan.resolve(PRESET.addresses)) == text


def test_choices_are_said_by_widths_and_the_whole_plan() -> None:
    space = small_space(precision={"default": "int8", "groups": [{"layers": "stage0*", "choices": ["int8", "fp16"]}]})
    choices = space.complete({"hidden": 2, "stage0*": "fp16"})
    layers = space.candidate(choices).layers
    assert choices_text(space, choices) == f"hidden 2, intermediate 1, {precision_text(layers)}"
    assert precision_text(layers).startswith("int8, ")


def test_a_width_that_is_not_searched_is_one() -> None:
    assert factor_text({"intermediate": 2}, "hidden") == "1"


def test_records_survive_the_disk(tmp_path) -> None:
    for record in RECORDS:
        write_record(tmp_path / "trials" / record.name, record)
    stored = read_records(tmp_path)
    assert [r.to_json() for r in stored] == [r.to_json() for r in RECORDS]
    assert [r.candidate.id for r in stored] == [r.candidate.id for r in RECORDS]


def test_trial_that_went_on_after_a_loss_of_nan_says_so(tmp_path) -> None:
    record = trial(3, 0.7)
    assert record.metrics is not None
    lines = {}
    for restarts in (0, 1):
        told = replace(record, metrics=replace(record.metrics, restarts=restarts))
        lines[restarts] = plain_text(ended_view(StudyFolder(tmp_path), SPACE, [told])).splitlines()
    said = set(lines[1]) - set(lines[0])
    assert said == {"  trial 3: its loss became NaN or infinite; it went on from its last good epoch."}


def test_record_from_before_restarts_were_counted_is_read(tmp_path) -> None:
    write_record(tmp_path, trial(3, 0.7))
    path = tmp_path / RECORD_FILE
    text = path.read_text()
    older = re.sub(r',\s*"restarts": 0', "", text)
    assert older != text
    path.write_text(older)
    metrics = read_record(tmp_path).metrics
    assert metrics is not None
    assert metrics.restarts == 0
