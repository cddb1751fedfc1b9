"""What other programs, papers and the trainer get of a study, read back and compared with the records."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
import yaml

from searcher.cli import main
from searcher.records import TrialRecord
from searcher.space import load_space
from searcher.study_folder import StudyFolder
from tests.searcher.screens import assert_golden
from tests.searcher.studies import empty_study, many_study, one_trial_study


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    return many_study(tmp_path_factory.mktemp("runs"), 60)


def exported(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["export", *argv]) == 0
    return capsys.readouterr().out


def best_first(folder: StudyFolder) -> list[TrialRecord]:
    trained = [r for r in folder.records() if r.metrics is not None]
    return sorted(trained, key=lambda r: (-r.metrics.accuracy, r.memory_bytes))  # type: ignore[union-attr]


def test_csv_holds_the_leaderboard_in_plain_values(many: StudyFolder, capsys) -> None:
    rows = list(csv.DictReader(io.StringIO(exported(capsys, str(many.path)))))
    assert [int(row["trial"]) for row in rows] == [r.number for r in best_first(many)]
    for row, record in zip(rows, best_first(many), strict=True):
        assert float(row["accuracy"]) == record.metrics.accuracy  # type: ignore[union-attr]
        assert float(row["memory_bytes"]) == record.memory_bytes
        assert float(row["ops_share"]) == record.ops / many.space().budget.limits["ops"]
        assert {name: row[name] for name in record.choices} == {k: str(v) for k, v in record.choices.items()}


def test_all_trials_are_exported_with_nothing_where_there_is_nothing(many: StudyFolder, capsys) -> None:
    rows = json.loads(exported(capsys, str(many.path), "--all", "--json"))["trials"]
    assert sorted(row["trial"] for row in rows) == [r.number for r in many.records()]
    for row in rows:
        record = many.records()[row["trial"]]
        assert row["outcome"] == record.outcome
        assert (row["accuracy"] is None) == (record.metrics is None)
        assert row["message"] == (record.message or None)


def test_rows_columns_and_order_can_be_chosen(many: StudyFolder, capsys) -> None:
    chosen = ["--where", "hidden>=2", "--sort", "ops", "--top", "3", "--columns", "trial,ops,precision"]
    rows = list(csv.DictReader(io.StringIO(exported(capsys, str(many.path), *chosen))))
    expected = sorted((r.ops, r.number) for r in best_first(many) if r.choices["hidden"] >= 2)[:3]
    assert [(float(row["ops"]), int(row["trial"])) for row in rows] == expected
    assert list(rows[0]) == ["trial", "ops", "precision"]


@pytest.mark.parametrize("form", ["md", "latex"])
def test_tables_for_people_are_whole(tmp_path: Path, form: str, capsys) -> None:
    study = str(one_trial_study(tmp_path).path)
    assert_golden(f"export_{form}", exported(capsys, study, f"--{form}"))


def test_space_file_of_a_trial_is_one_configuration_and_says_where_it_is_from(many: StudyFolder, capsys) -> None:
    for record in many.records()[:20]:
        text = exported(capsys, str(many.path), "--trial", str(record.number))
        assert text.startswith(f"# Trial {record.number} of many ({record.outcome}")
        path = many.path.parent / "kept.yaml"
        path.write_text(text)
        space = load_space(path)
        assert space.size == 1
        assert space.candidate(space.decode(0)).id == record.candidate.id
        assert yaml.safe_load(text)["search"]["seed"] == many.space().search.seed


def test_file_gets_what_would_be_printed_and_the_printer_says_so(many: StudyFolder, tmp_path: Path, capsys) -> None:
    out = tmp_path / "table.csv"
    said = exported(capsys, str(many.path), "--out", str(out))
    assert re.fullmatch(rf"Wrote {out} \(.* KiB\): \d\d trials of many\.\n", said)
    assert out.read_text() == exported(capsys, str(many.path))


def test_empty_study_gives_an_empty_table(tmp_path: Path, capsys) -> None:
    study = str(empty_study(tmp_path).path)
    assert main(["export", study]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["export", study, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["trials"] == []


@pytest.mark.parametrize(
    ("suffix", "form"), [(".csv", "--csv"), (".json", "--json"), (".md", "--md"), (".tex", "--latex")]
)
def test_the_suffix_of_the_file_says_the_form(
    many: StudyFolder, tmp_path: Path, suffix: str, form: str, capsys
) -> None:
    out = tmp_path / f"table{suffix}"
    exported(capsys, str(many.path), "--out", str(out))
    assert out.read_text() == exported(capsys, str(many.path), form)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--trial", "99"], "there is no trial 99; its trials are 0 to 59."),
        (["--trial", "1", "--csv"], "not allowed with argument"),
        (["--csv", "--json"], "not allowed with argument"),
        (["--columns", "accurcy"], "unknown column 'accurcy'"),
        (["--out", "{study}", "--csv"], "--out must be a file, but {study} is a folder"),
        (["--out", "{study}/space.yaml", "--trial", "3"], "--out must be outside of studies, but {study} is one"),
        (["--out", "{study}/trials/x.csv"], "--out must be outside of studies, but {study} is one"),
        (["--out", "x.tex", "--csv"], "--csv writes .csv files, but --out is 'x.tex'"),
        (["--out", "x.csv", "--trial", "3"], "--trial writes .yaml files, but --out is 'x.csv'"),
        (["--out", "x.yaml"], "a space file is of one trial, but --out is 'x.yaml'; add --trial N."),
        (["--out", "x.xlsx"], "--out must end in .csv, .json, .md, .tex, .yaml, .yml, but it is 'x.xlsx'"),
        (["--columns", "help", "--json"], "--columns help is a list for people"),
        (["--trial", "x"], "must be the number of a trial, such as 0 or 12, but it is 'x'"),
        (["--out", "/nowhere/x.csv"], "--out must be in a folder that exists, but /nowhere is none"),
        (["--top", "0"], "argument --top: must be a whole number of at least 1, but it is '0'"),
        (["--where", "hidden>>2"], "expected a value after hidden>, but found '>'"),
        (["--trial", "3", "--top", "2"], "--trial writes a space file, for which --top has no meaning"),
    ],
)
def test_wrong_input_is_one_line(many: StudyFolder, argv: list[str], message: str, capsys) -> None:
    study = str(many.path)
    assert main(["export", study, *(word.format(study=study) for word in argv)]) == 2
    err = capsys.readouterr().err
    assert message.format(study=study) in err
    assert err.count("\n") == 1
