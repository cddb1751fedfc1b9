"""Fields against what the record's parsed candidate says."""

from fnmatch import fnmatchcase

import pytest

from bhvit import InvalidInput
from searcher.listing import ordered
from searcher.records import Outcome
from searcher.snapshot import StudySnapshot, snapshot_of
from searcher.study_folder import StudyFolder
from searcher.trial_fields import TrialFields
from tests.searcher.records import record_of, store
from tests.searcher.spaces import small_space
from tests.searcher.studies import study_space

SPACE = study_space()
FIELDS = TrialFields(SPACE)
GLOBS = [f"*.{part}" for part in SPACE.base.block_parts(3)]


@pytest.mark.parametrize("pattern", ["downsample1", "downsample*", *GLOBS, "stage2*", "*", "*.block1.*"])
def test_precisions_from_choices_are_those_of_the_candidate(pattern: str) -> None:
    for index in range(0, SPACE.size, 9973):
        record = record_of(SPACE, index)
        there = {p.name for a, p in record.candidate.layers.items() if fnmatchcase(a, pattern)}
        assert set(FIELDS.named(pattern).values(record)) == there


def test_values_are_plain_and_texts_have_units() -> None:
    record = record_of(SPACE, 12345, Outcome.COMPLETE)
    assert record.metrics is not None
    said = {name: (FIELDS.named(name).value(record), FIELDS.named(name).text(record)) for name in FIELDS.names}
    assert said["accuracy"] == (record.metrics.accuracy, f"{100 * record.metrics.accuracy:.1f}")
    assert said["gain"][1] == f"{100 * (record.metrics.accuracy - 0.9):+.1f}"
    assert said["id"][0] == record.candidate.id
    assert said["memory"][0] == record.memory_bytes
    assert said["memory"][1].endswith("iB")
    assert said["seconds"][1] == "8 s"
    assert said["worker"] == (None, "-")
    assert said["hidden"] == (1, "1")


def test_widths_that_every_stage_chooses_for_itself_are_one_field() -> None:
    space = small_space(widths={"hidden": {"choices": [1, 2], "per_stage": True}})
    fields = TrialFields(space)
    choices = space.complete({"hidden.stage1": 2})
    record = record_of(space, space.encode(choices))
    assert fields.named("hidden").text(record) == "1/2/1/1"
    assert fields.named("hidden.stage1").value(record) == 2
    assert fields.named("intermediate").value(record) == 1  # not searched


def test_sorting_puts_trials_without_a_value_last_either_way() -> None:
    records = [record_of(SPACE, n, o) for n, o in enumerate([Outcome.COMPLETE, Outcome.CRASHED, Outcome.COMPLETE])]
    for keys, numbers in (("accuracy", [0, 2, 1]), ("-accuracy", [2, 0, 1]), ("outcome,-trial", [2, 0, 1])):
        assert [r.number for r in ordered(records, FIELDS, keys)] == numbers
    with pytest.raises(InvalidInput, match="unknown field in --sort 'size'"):
        ordered(records, FIELDS, "size")


def test_no_field_parses_a_candidate_or_epochs(tmp_path) -> None:
    folder = StudyFolder(tmp_path)
    folder.space_file.write_text(SPACE.to_yaml())
    store(folder, *(record_of(SPACE, n, Outcome.COMPLETE) for n in range(3)))
    snapshot: StudySnapshot = snapshot_of(folder)
    for record in snapshot.records:
        for name in (*FIELDS.names, "*", SPACE.base.addresses[0]):
            FIELDS.named(name).text(record)
        assert "candidate" not in record.__dict__
        assert record.metrics is not None
        assert "epochs" not in record.metrics.__dict__
