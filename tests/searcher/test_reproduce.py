"""`searcher reproduce` with trainings that are faked, and (slow) with real small ones."""

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import pytest
import yaml

from bhvit import FAMILIES, InvalidInput
from searcher.candidate import Candidate
from searcher.cli import main
from searcher.commands.setting import data_from, epochs_from, rows_from, seeds_from
from searcher.executors.threads import ThreadExecutor
from searcher.model_section import ModelSection
from searcher.recipe import DataConfig, recipe_from
from searcher.records import ClassResult, EpochRecord, Evaluation, Metrics
from searcher.reproduction_report import Report, RowResult
from searcher.reproduction_runs import PlanPace, Setting, plan_runs, with_epochs
from searcher.reproductions import PUBLISHED_FAMILY, reproduction_named
from searcher.views.console import plain_text
from searcher.views.exports import as_csv, as_latex, escaped
from searcher.views.reproduction import report_view
from tests.searcher.architectures import THIN, model_of, small_architecture
from tests.searcher.tiny_images import image_folder

PHASE = {"epochs": 2, "learning_rate": 0.002}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Images of three classes, a space file whose model is small, and a recipe of two epochs a phase."""
    root = tmp_path_factory.mktemp("reproduce")
    image_folder(root / "images")
    (root / "small.yaml").write_text(yaml.safe_dump({"model": model_of(THIN)}))
    (root / "short.yaml").write_text(yaml.safe_dump({"fp": PHASE, "qat": dict(PHASE), "batch_size": 8}))
    return root


@pytest.fixture
def reproduce(folder, tmp_path):
    """The command on the small setting; `more` are further arguments."""

    def call(table: str, *more: str) -> int:
        setting = ["--data", f"image_folder:{folder / 'images'}", "--model", str(folder / "small.yaml")]
        return main(
            ["reproduce", table, *setting, "--recipe", str(folder / "short.yaml"), "--runs", str(tmp_path), *more]
        )

    return call


class FakeTraining:
    """Stands for the pipeline: accuracy follows from width and seed; the `stop_at`-th training is interrupted."""

    def __init__(self) -> None:
        self.trained: list[tuple[str, int]] = []
        self.warm_starts: set[Path] = set()
        self.evaluated = 0
        self.stop_at = 0

    def train(self, candidate: Candidate, recipe, data, *, directory, warm_starts, seed, report, **_) -> Metrics:
        self.trained.append((candidate.id, seed))
        self.warm_starts.add(warm_starts)
        if len(self.trained) == self.stop_at:
            raise KeyboardInterrupt
        accuracy = 0.5 + candidate.architecture.embed_dims[3] / 1000 + seed / 100
        epochs = (EpochRecord("qat", 1, 1, 1.0, 1.0, accuracy, 0.0),)
        return Metrics(accuracy, accuracy, 1, "parent", 0.9, True, epochs)

    def evaluate(self, candidate, recipe, data, weights, split, device) -> Evaluation:
        self.evaluated += 1
        return Evaluation(split, 0.25, 1.0, 12, (ClassResult("red", 12, 0.25),))


@pytest.fixture
def fake(monkeypatch) -> FakeTraining:
    import searcher.pipeline

    training = FakeTraining()
    in_threads = lambda trains, names, pool: ThreadExecutor(trains[0])  # noqa: E731 - where the fake is known
    monkeypatch.setattr("searcher.commands.executors.ProcessExecutor", in_threads)
    monkeypatch.setattr(searcher.pipeline, "train_candidate", training.train)
    monkeypatch.setattr(searcher.pipeline, "evaluate_candidate", training.evaluate)
    return training


def report_json(reproduce, capsys, *arguments: str) -> dict:
    capsys.readouterr()
    assert reproduce(*arguments, "--report", "--format", "json") == 0
    return json.loads(capsys.readouterr().out)


def test_every_row_is_trained_with_every_seed_from_one_store_of_parents(reproduce, fake, tmp_path, capsys) -> None:
    assert reproduce("table3", "--seeds", "2", "--rows", "fp,w1,w2") == 0
    assert len(fake.trained) == len(set(fake.trained)) == 3 * 2
    assert [seed for _, seed in fake.trained] == [0] * 3 + [1] * 3
    assert fake.warm_starts == {tmp_path / "_warm_starts"}
    out = capsys.readouterr().out
    assert "run 4 of 6 (seed 2 of 2): hidden1-mlp1-fp32-seed1, about" in out
    last = out[out.rindex("table3:") :]
    row = next(line for line in last.splitlines() if line.startswith("binary w=2"))
    assert row.split()[-5:] == ["56.9", "±", "0.7", "2", "+3.2"]  # 0.5 + 64 / 1000, and 0.01 more with seed 1


def test_an_interrupted_reproduction_goes_on_where_it_was(reproduce, fake, capsys) -> None:
    fake.stop_at = 2
    assert reproduce("table3", "--seeds", "1", "--rows", "1,2,3") == 130
    assert "Interrupted; nothing is lost" in capsys.readouterr().out
    fake.stop_at = 0
    assert reproduce("table3", "--seeds", "1", "--rows", "1,2,3") == 0
    assert len(fake.trained) == 4
    assert fake.trained[1] == fake.trained[2]


def test_what_is_finished_is_not_trained_again_nor_by_another_table(reproduce, fake, capsys) -> None:
    assert reproduce("table3", "--seeds", "1", "--rows", "w1,w3") == 0
    assert reproduce("table3", "--seeds", "1", "--rows", "w1,w3") == 0
    assert len(fake.trained) == 2
    assert reproduce("width-sweep", "--seeds", "1", "--rows", "w1,w2.5,w3") == 0
    assert len(fake.trained) == 2 + 1
    assert reproduce("table4", "--seeds", "1", "--rows", "base,both") == 0
    assert len(fake.trained) == 3


def test_each_run_is_a_study_that_show_knows(reproduce, fake, tmp_path, capsys) -> None:
    assert reproduce("table3", "--seeds", "1", "--rows", "dagger") == 0
    (study,) = (tmp_path / "small-image_folder-short-2+2").iterdir()
    assert study.name == "hidden3-mlp3-binary-downsample-fp16-seed0"
    capsys.readouterr()
    assert main(["show", str(study)]) == 0
    assert "1/1-16-1/1-16-1/1-16-1/1" in capsys.readouterr().out  # binary, downsampling fp16


def test_another_recipe_in_the_same_folder_is_refused_before_training(reproduce, fake, capsys) -> None:
    assert reproduce("table3", "--seeds", "1", "--rows", "1", "--study", "mine") == 0
    assert reproduce("table3", "--seeds", "1", "--rows", "1", "--study", "mine", "--epochs", "3+1") == 2
    assert "recipe.fp.epochs is 2 there, 3 here" in capsys.readouterr().err
    assert len(fake.trained) == 1


def test_the_test_split_is_read_once_a_run_and_stands_beside_validation(reproduce, fake, capsys) -> None:
    assert reproduce("table3", "--seeds", "2", "--rows", "w1", "--test") == 0
    out = capsys.readouterr().out
    assert "test Top-1" in out
    assert "Validation means: binary w=1 53.7." in out
    assert reproduce("table3", "--seeds", "2", "--rows", "w1", "--test") == 0
    assert fake.evaluated == 2
    rows = report_json(reproduce, capsys, "table3", "--seeds", "2", "--test")["rows"]
    w1 = next(row for row in rows if row["key"] == "w1")
    assert (w1["test_top1_percent_mean"], w1["test_top1_percent_sd"], w1["seeds"]) == (25.0, 0.0, 2)
    assert w1["val_top1_percent_mean"] == pytest.approx(53.7)
    assert fake.evaluated == 2


def test_a_report_trains_nothing_and_a_failed_run_is_named_with_its_remedy(
    reproduce, fake, monkeypatch, capsys
) -> None:
    import searcher.pipeline
    from searcher.outcomes import Diverged

    def diverge(*_, **__):
        raise Diverged("the loss became nan")

    monkeypatch.setattr(searcher.pipeline, "train_candidate", diverge)
    assert reproduce("table3", "--seeds", "1", "--rows", "w1") == 1
    capsys.readouterr()
    found = report_json(reproduce, capsys, "table3", "--seeds", "1")
    assert found["failures"][0].startswith("binary w=1, seed 0, diverged: the loss became nan; delete ")
    assert fake.trained == []
    assert [row["seeds"] for row in found["rows"]] == [0] * 9


def test_the_dry_run_counts_shared_parents_and_times_the_models(reproduce, tmp_path, capsys) -> None:
    assert reproduce("table3", "--seeds", "2", "--dry-run") == 0
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[2].startswith("2 0 binary w=1 shared - 2 ")
    assert lines[3].startswith("3 0 binary w=2 to train 2 2 ")
    assert "10 runs, 0 finished; 6 FP trainings to do, 4 saved by sharing parents." in lines
    assert any(re.fullmatch(r"CPU: .* in all, one run after the other\.", line) for line in lines)
    assert not list(tmp_path.iterdir())


def test_the_published_plan_needs_no_data_on_disk(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "table3", "--report"]) == 0
    out = capsys.readouterr().out
    assert " ".join(next(line for line in out.splitlines() if "†" in line).split()) == (
        "binary w=3 † 24.75 24.75 1065.1 1065.1 - 0 87.8"
    )
    assert "teacher parent, not a fine-tuned DeiT-Tiny" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tabel3"], "unknown reproduction 'tabel3' (did you mean 'table3'?)"),
        (["table3", "--seeds", "0"], "--seeds takes 1 to 31 distinct seeds, but it is '0'"),
        (["table3", "--seeds", "1,1"], "--seeds takes 1 to 31 distinct seeds, but it is '1,1'"),
        (
            ["table3", "--seeds", "a"],
            "--seeds takes a count up to 31 such as 3, or a list such as 0,1,2, but it is 'a'",
        ),
        (["table3", "--rows", "w4"], "'w4' is none; the rows are 1 fp, 2 w1, 3 w2, 4 w3, 5 dagger"),
        (["table3", "--factor", "2"], "--factor belongs to table4"),
        (["table3", "--epochs", "0"], "--epochs takes N or FP+QAT, such as 12 or 12+8"),
        (["table3", "--data", "oxford"], "unknown data set 'oxford'"),
        (["table3", "--recipe", "pet"], "unknown recipe 'pet' (did you mean 'pets'?)"),
        (["table3", "--preset", "huge"], f"unknown {PUBLISHED_FAMILY} preset 'huge'; use one of: "),
        (["table3", "--threads", "0"], "threads must be at least 1"),
        (["table3", "--dry-run"], "--dry-run and --report exclude each other"),
        (["table3", "--out", "tests"], "--out must be a file, but tests is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_nothing_is_written(arguments, message, tmp_path, capsys) -> None:
    assert main(["reproduce", *arguments, "--report", "--runs", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [f.name for f in FAMILIES.values() if "binary" not in f.config.precisions])
def test_rows_that_a_family_cannot_have_are_refused_before_the_plan(name: str, reproduce, tmp_path, capsys) -> None:
    base, path = small_architecture(name), tmp_path / "real.yaml"
    path.write_text(yaml.safe_dump({"model": model_of(base, name)}))
    setting = ["--model", str(path), "--seeds", "1", "--runs", str(tmp_path / "runs")]
    assert reproduce("table3", *setting, "--dry-run") == 2
    assert f"table3 has rows whose precisions a {base.title} cannot have: w1 (binary)" in capsys.readouterr().err
    assert reproduce("table3", *setting, "--report", "--rows", "fp") == 0
    assert "FP w=1" in capsys.readouterr().out


def test_a_format_for_programs_is_not_mixed_with_progress(reproduce, fake, tmp_path, capsys) -> None:
    assert reproduce("table3", "--seeds", "1", "--rows", "w1", "--format", "json") == 2
    assert "--format json needs --report or --out FILE" in capsys.readouterr().err
    path = tmp_path / "t.json"
    assert reproduce("table3", "--seeds", "1", "--rows", "w1", "--format", "json", "--out", str(path)) == 0
    assert json.loads(path.read_text())["accuracies"] == {"w1": {"val": {"0": 0.532}, "test": {}}}


def test_seeds_epochs_and_rows_as_people_write_them() -> None:
    rows = reproduction_named("table3", PUBLISHED_FAMILY, ModelSection(preset="tiny").architecture()).rows
    assert (seeds_from("3"), seeds_from("2,0"), seeds_from("4,")) == ((0, 1, 2), (2, 0), (4,))
    assert (epochs_from("12"), epochs_from("12+8")) == ((12, 12), (12, 8))
    assert [row.key for row in rows_from("w2,1", rows)] == ["fp", "w2"]
    with pytest.raises(InvalidInput, match="but it is '1000000'"):
        seeds_from("1000000")


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (3, 0), (4, 1), (12, 3), (999, 5), (1000, 5)])
def test_shrunk_phases_keep_a_legal_warm_up(epochs: int, warmup: int) -> None:
    phase = with_epochs(recipe_from("pets"), epochs, epochs).qat
    assert (phase.epochs, phase.warmup_epochs) == (epochs, warmup)


def published_setting(seeds: tuple[int, ...] = (0, 1, 2)) -> Setting:
    data, model = DataConfig("oxford_iiit_pet", "data"), ModelSection(preset="tiny")
    return Setting("tiny", model, data, "pets", recipe_from("pets"), seeds)


def filled_report(name: str = "table4") -> Report:
    """A table whose first rows have three seeds, the third one, the others none."""
    setting = published_setting()
    table = reproduction_named(name, PUBLISHED_FAMILY, setting.base)
    accuracies = [{0: 0.81, 1: 0.82, 2: 0.824}, {0: 0.83, 1: 0.831, 2: 0.85}, {1: 0.866}, {}, {}]
    results = [
        RowResult(row, row.candidate(PUBLISHED_FAMILY, setting.base).cost().total, known, {})
        for row, known in zip(table.rows, accuracies, strict=False)
    ]
    return Report(table, setting, tuple(results), "val")


@pytest.mark.parametrize("width", [80, 100])
def test_the_whole_table_at_the_widths_of_terminals(width: int) -> None:
    assert (
        plain_text(report_view(filled_report()), width)
        == (Path(__file__).parent / "golden" / f"table4_{width}.txt").read_text()
    )


@pytest.mark.parametrize("name", ["table3", "table4", "width-sweep"])
def test_no_line_of_a_table_is_wider_than_the_terminal(name: str) -> None:
    assert max(map(len, plain_text(report_view(filled_report(name)), 80).splitlines())) <= 80


def test_gains_and_distances_by_hand() -> None:
    rows = {(row["kind"], row["key"], row["over"]): row for row in filled_report().to_plain()}
    mlp = rows["model", "intermediate", "base"]
    assert mlp["gain_points_mean"] == pytest.approx((2.0 + 1.1 + 2.6) / 3)
    assert mlp["gain_points_ci95_half_width"] == pytest.approx(4.303 * 0.754983 / 3**0.5, rel=1e-4)
    assert mlp["difference_to_published_points"] == pytest.approx((83.0 + 83.1 + 85.0) / 3 - 83.6)
    both = rows["comparison", "both", "intermediate"]
    assert (both["seeds"], both["gain_points_ci95_half_width"]) == (1, None)
    assert both["gain_points_mean"] == pytest.approx(86.6 - 83.1)
    assert both["gain_points_published"] == pytest.approx(3.1)


def test_csv_is_one_line_a_row_with_units_in_the_header() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(filled_report()))))
    assert [row["kind"] for row in rows] == ["model"] * 5 + ["comparison"] * 6
    assert float(rows[1]["memory_mib_published"]) == 4.39
    assert rows[4]["val_top1_percent_mean"] == ""


@pytest.mark.parametrize("name", ["table3", "table4"])
def test_latex_has_balanced_environments_full_rows_and_nothing_unescaped(name: str) -> None:
    text = as_latex(filled_report(name))
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    for body in re.findall(r"\\begin\{tabular\}\{(l r*|lr*)\}\n(.*?)\\end", text, re.DOTALL):
        columns = len(body[0])
        rows = [line for line in body[1].splitlines() if line.endswith(r"\\")]
        assert {line.replace(r"\&", "").count("&") + 1 for line in rows} == {columns}
    body = text.split("\n", 1)[1]
    assert body.isascii()
    assert not re.search(r"(?<!\\)[%#_~^]", body.replace(r"$^\dagger$", ""))
    assert body.count("{") == body.count("}")
    assert len(re.findall(r"(?<!\\)\$", body)) % 2 == 0


def test_every_special_character_of_latex_is_escaped() -> None:
    assert escaped(r"50% of a_b & \x {#} ~^$") == (
        r"50\% of a\_b \& \textbackslash{}x \{\#\} \textasciitilde{}\textasciicircum{}\$"
    )


def test_the_output_file_is_the_table_in_the_format_asked_for(reproduce, tmp_path, capsys) -> None:
    path = tmp_path / "tables" / "t.csv"
    path.parent.mkdir()
    assert reproduce("table4", "--factor", "2", "--report", "--format", "csv", "--out", str(path)) == 0
    assert path.read_text().startswith("kind,key,label,")
    assert reproduce("table4", "--factor", "2", "--report", "--out", str(path)) == 0
    assert path.read_text().startswith("table4: hidden against intermediate width")


def test_the_time_left_follows_epochs_and_parents(tmp_path) -> None:
    setting = published_setting((0,))
    table = reproduction_named("table3", PUBLISHED_FAMILY, setting.base)
    runs = plan_runs(setting, table.rows[:2], tmp_path)  # the same widths: 1000 + 1000 epochs, then 1000
    now = [0.0]
    pace = PlanPace(runs, lambda: now[0])
    assert pace.remaining is None
    now[0] = 60.0
    pace.finish(runs[0])
    assert pace.remaining == pytest.approx(30.0)


@pytest.mark.slow
def test_a_real_small_reproduction_shares_its_parents(reproduce, tmp_path, capsys) -> None:
    assert reproduce("table3", "--seeds", "2", "--rows", "fp,w1,w2", "--epochs", "1", "--test", "--threads", "1") == 0
    assert len(list((tmp_path / "_warm_starts").iterdir())) == 2 * 2
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}
    found = report_json(reproduce, capsys, "table3", "--seeds", "2", "--epochs", "1", "--test")
    assert [row["seeds"] for row in found["rows"][:5]] == [2, 2, 2, 0, 0]
    assert reproduce("table3", "--seeds", "2", "--rows", "fp,w1,w2", "--epochs", "1", "--test", "--threads", "1") == 0
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}


def test_what_cannot_be_trained_is_said_before_the_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    small = ["--data", "trashnet_mini", "--recipe", "demo", "--model", "search_spaces/demo.yaml", "--seeds", "1"]
    for more, rule in (
        (["--processes", "3"], "batch_size must be a multiple of processes, but they are 16 and 3"),
        (["--processes", "0"], "processes must be at least 1, but it is 0; use 1"),
        (["--device", "tpu"], "device must be auto, cpu, cuda or cuda:N, but it is 'tpu'"),
    ):
        for flag in ([], ["--dry-run"]):
            assert main(["reproduce", "table3", *small, *more, *flag, "--runs", str(tmp_path)]) == 2
            said = capsys.readouterr()
            assert rule in said.err
            assert not said.out
    assert not list(tmp_path.iterdir())


def test_another_teacher_than_a_deit_tiny_is_named_among_the_departures(tmp_path: Path) -> None:
    recipe = {"base": "pets", "teacher": str(tmp_path / "t.pth"), "teacher_model": "resnet18"}
    report = filled_report()
    setting = dataclasses.replace(report.setting, recipe=recipe_from(recipe))
    assert (
        f"teacher {tmp_path / 't.pth'}, not a fine-tuned DeiT-Tiny"
        in dataclasses.replace(report, setting=setting).departures
    )
    published = dataclasses.replace(setting, recipe=recipe_from(recipe | {"teacher_model": "deit_tiny_patch16_224"}))
    assert not any("DeiT" in text for text in dataclasses.replace(report, setting=published).departures)


def test_data_of_a_space_file_can_be_reproduced_on(tmp_path: Path) -> None:
    path = tmp_path / "hub.yaml"
    path.write_text("model: {preset: tiny}\ndata: {name: huggingface, path: user/set, root: x}\n")
    assert data_from(str(path)) == DataConfig("huggingface", "x", path="user/set")
    with pytest.raises(InvalidInput, match="has no folder to choose, but '/x' is given"):
        data_from("trashnet_mini:/x")
