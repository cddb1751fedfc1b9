"""`searcher show`: whole screens over studies of every kind, and what its options ask for."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from searcher.cli import main
from searcher.ranking import ranked
from searcher.records import Outcome, read_records
from searcher.snapshot import snapshot_of
from searcher.space import load_space
from searcher.study_folder import StudyFolder
from searcher.trial_ends import trial_ends
from tests.searcher.records import record_of, store
from tests.searcher.screens import ESCAPES, assert_golden, screen, terminal
from tests.searcher.spaces import small_space
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

WIDTHS = (80, 100, 200)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("show") / "runs"
    for build in (empty_study, one_trial_study, many_study, two_objectives_study, other_schema_study):
        build(folder)
    return folder


@pytest.fixture
def here(runs: Path, monkeypatch) -> Path:
    """The folder of all studies, as a relative path."""
    monkeypatch.chdir(runs.parent)
    return Path(runs.name)


def shown(here: Path, *argv: str, code: int = 0, capsys) -> str:
    assert main(["show", *argv]) == code
    return capsys.readouterr().out


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["empty", "one", "many", "front", "later"])
def test_whole_screens(here: Path, name: str, width: int) -> None:
    assert_golden(f"show_{name}_{width}", screen("show", f"runs/{name}", width=width))


@pytest.mark.parametrize("width", WIDTHS)
def test_whole_screen_of_a_running_search(tmp_path: Path, monkeypatch, width: int) -> None:
    monkeypatch.chdir(tmp_path)
    with running_study(Path("runs")):
        text = screen("show", "runs/running", width=width)
    text = re.sub(r"process \d+ on .*?, started .*? ago", "process 4711 on here, started 2 min 00 s ago", text)
    assert_golden(f"show_running_{width}", text)


def test_trials_of_a_search_that_was_killed_are_interrupted_everywhere(tmp_path: Path) -> None:
    with running_study(tmp_path) as folder:
        assert "▶ running" in screen("show", str(folder.path))
    text = screen("show", str(folder.path))
    assert "running  " not in text
    assert "‖ interrupted" in text
    assert snapshot_of(folder).trial(12).outcome is Outcome.INTERRUPTED


def test_a_sibling_that_may_not_be_read_is_left_out_of_the_means(tmp_path: Path, monkeypatch) -> None:
    folder, other = many_study(tmp_path, 12), one_trial_study(tmp_path)
    real = StudyFolder.space

    def space(self: StudyFolder):
        if self.path.name == other.path.name:
            raise PermissionError(13, "Permission denied", str(self.space_file))
        return real(self)

    monkeypatch.setattr(StudyFolder, "space", space)
    assert f"no right to read): {other.path.name}." in screen("show", str(folder.path), "--seeds", width=200)


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_a_strip_is_whole_or_absent_also_with_seeds(runs: Path, width: int) -> None:
    for line in screen("show", str(runs / "many"), "--seeds", width=width).splitlines():
        assert line.count("│") in (0, 6)


def test_no_line_in_a_pipe_ends_with_a_space_or_is_folded(tmp_path: Path) -> None:
    folder = many_study(tmp_path, 60)
    record = next(r for r in folder.records() if r.outcome.failed)
    message = " ".join(["a long message"] * 40)
    store(folder, replace(record, message=message))
    text = screen_unstripped("show", str(folder.path), "--all", "--columns", "trial,outcome,message", "--top", "99")
    assert not [line for line in text.splitlines() if line.endswith(" ")]
    assert [line.split()[0] for line in text.splitlines() if message in line][:1] == [str(record.number)]


def test_a_study_that_is_done_does_not_promise_more_trials(runs: Path) -> None:
    text = screen("show", str(runs / "one"), "--budget", "memory=1KiB")
    assert "No trained trial is within the budget." in text
    assert "yet" not in text


@pytest.mark.parametrize("view", ["trial many 7", "diff many 7 12", "compare many one"])
def test_charts_in_a_pipe_are_a_hundred_columns_wide(runs: Path, monkeypatch, view: str) -> None:
    monkeypatch.chdir(runs)
    lines = screen(*view.split(), tty=False).splitlines()
    axes = [line for line in lines if line.lstrip().startswith("+") and "--" in line]
    assert axes
    assert all(len(line) <= 100 for line in axes)


def screen_unstripped(*argv: str) -> str:
    with terminal(80, tty=False) as out:
        main(argv)
    return out.getvalue()


def test_whole_screen_in_a_pipe(here: Path) -> None:
    text = screen("show", "runs/many", tty=False)
    assert_golden("show_many_pipe", text)
    assert not set(text) & set("─│█\x1b")


@pytest.mark.parametrize("width", WIDTHS)
def test_whole_screen_of_a_question(here: Path, width: int) -> None:
    late = study_space().base.block_parts(3)[0]
    asked = ["--budget", "memory=0.5,ops=4M", "--where", f"stage3.*.{late}<=int4", "--sort", "-memory", "--top", "5"]
    assert_golden(f"show_asked_{width}", screen("show", "runs/many", *asked, width=width))


def test_no_line_is_wider_than_the_terminal(here: Path) -> None:
    for width in (70, 80, 91, 100, 120, 160, 200):
        for name in ("many", "front"):
            assert max(map(len, screen("show", f"runs/{name}", width=width).splitlines())) <= width


def test_screen_says_the_same_without_colour(here: Path) -> None:
    coloured = screen("show", "runs/many", width=100, colour=True)
    plain = "".join(f"{line.rstrip()}\n" for line in ESCAPES.sub("", coloured).splitlines())
    assert coloured != plain == screen("show", "runs/many", width=100)


def test_piped_rows_have_one_word_a_column(here: Path) -> None:
    lines = screen("show", "runs/many", "--top", "50", tty=False).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("mark"))
    rows = [line.split() for line in lines[start : start + 51]]
    assert {len(row) for row in rows} == {len(rows[0])}
    assert rows[0][5] == "bits"
    assert all(re.fullmatch(r"[\d*]+/[\d*]+(-[\d*]+-[\d*]+/[\d*]+){3}", row[5]) for row in rows[1:])


def test_json_holds_what_the_screen_shows(here: Path, capsys) -> None:
    data = json.loads(shown(here, "runs/many", "--json", "--top", "7", capsys=capsys))
    records = read_records(here / "many")
    best = ranked(records, load_space(here / "many" / "space.yaml").budget)
    assert data["view"] == "show"
    assert data["ranking"] == [r.number for r in best]
    assert data["listed"] == data["ranking"][:7]
    assert sum(end["count"] for end in data["ends"]) == len(data["trials"]) == len(records)
    assert [v["variable"] for v in data["importances"]["variables"]][:2] == ["hidden", "downsample1"]
    assert data["commonalities"]["found"][0]["variable"] == "hidden"
    assert set(data["front"]) <= set(data["ranking"])
    trial = data["trials"][data["ranking"][0]]
    assert trial["accuracy"] == best[0].metrics.accuracy
    assert data["state"] == "interrupted"


def test_another_budget_is_answered_without_training(here: Path, capsys) -> None:
    budget = ["--budget", "memory=0.5,ops=none"]
    data = json.loads(shown(here, "runs/many", "--json", *budget, capsys=capsys))
    limit = data["budget"]["memory_bytes"]
    fitting = [r for r in read_records(here / "many") if r.outcome.trained and r.memory_bytes <= limit]
    assert sorted(data["ranking"]) == sorted(r.number for r in fitting)
    assert data["resliced"]
    space = study_space(budget={"relative_to": {"precision": "fp32"}, "memory": 0.5})
    costs = [space.candidate(space.decode(i)).cost().memory_bytes for i in range(0, space.size, 500)]
    share = sum(cost <= limit for cost in costs) / len(costs)
    assert data["feasible"] / data["space_size"] == pytest.approx(share, abs=0.06)


def test_failed_trials_are_listed_on_request(here: Path, capsys) -> None:
    where = ["--where", "outcome==diverged"]
    text = shown(here, "runs/many", *where, code=1, capsys=capsys)
    assert "of all others 12 do: --all lists them" in " ".join(text.split())
    text = shown(here, "runs/many", *where, "--all", "--columns", "trial,message", capsys=capsys)
    assert text.count("loss became NaN in qat epoch 2, step 17") == 10 + 1  # rows, and the reason


def test_order_columns_and_front_are_as_asked(here: Path, capsys) -> None:
    columns = ["--columns", "trial,ops,downsample*", "--top", "4"]
    rows = shown(here, "runs/many", "--sort", "-ops", *columns, capsys=capsys).splitlines()
    start = next(i for i, line in enumerate(rows) if line.startswith("trial"))
    amounts = [float(line.split()[1].rstrip("M")) for line in rows[start + 1 : start + 5]]
    assert amounts == sorted(amounts, reverse=True)
    data = json.loads(shown(here, "runs/many", "--front", "--json", "--top", "100", capsys=capsys))
    assert data["listed"] == data["front"]
    assert "downsample1" in shown(here, "runs/many", "--columns", "help", capsys=capsys)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--top", "0"], "--top: must be a whole number of at least 1, but it is '0'"),
        (["--where", "hiden>=2"], "--where: unknown field 'hiden' (did you mean 'hidden'?)"),
        (["--where", ""], "--where: expected a comparison such as hidden>=2"),
        (["--sort", "acuracy"], "unknown field in --sort 'acuracy' (did you mean 'accuracy'?)"),
        (["--sort", "--top", "3"], "argument --sort: expected one argument"),
        (["--sort", ","], "--sort takes fields such as ops,-accuracy, but it is ','"),
        (["--columns", "trial,,ops"], "unknown column ''; use one of: "),
        (["--columns", "strip"], "unknown column 'strip'"),
        (["--columns", "mean"], "unknown column 'mean'"),
        (
            ["--budget", "flops=3"],
            "unknown quantity in --budget 'flops' (did you mean 'ops'?); use one of: device, latency, memory,",
        ),
        (["--budget", "memory"], "--budget takes memory=LIMIT,ops=LIMIT,latency=LIMIT, but it is 'memory'"),
        (["--budget", "memory=-1"], "memory must be a positive share of the reference, but it is -1"),
    ],
    ids=lambda value: "",
)
def test_wrong_input_is_one_line(here: Path, argv: list[str], message: str, capsys) -> None:
    assert main(["show", "runs/many", *argv]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_seeds_gives_mean_and_spread_over_studies_of_the_same_question(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    accuracies = {}
    for seed in (0, 1, 2):
        space = study_space(search={"trials": 3, "seed": seed})
        writer = StudyWriter(Path(f"runs/seed{seed}"), space, 3)
        writer.random.seed(seed)
        records = [writer.trial(Outcome.COMPLETE) for _ in range(3)]
        writer.end()
        accuracies[seed] = records[1].metrics.accuracy
    shutil.copytree("runs/seed0", "runs/again")
    other_schema_study(Path("runs"))
    StudyWriter(Path("runs/other"), study_space(recipe="pets"), 1).end()
    text = shown(tmp_path, "runs/seed0", "--seeds", "--columns", "trial,mean,sd,seeds", capsys=capsys)
    mean = sum(accuracies.values()) / 3
    sd = (sum((a - mean) ** 2 for a in accuracies.values()) / 2) ** 0.5
    assert ["1", f"{100 * mean:.1f}", f"{100 * sd:.1f}", "3"] in [line.split() for line in text.splitlines()]
    assert "seed0 (seed 0, 3 complete), seed1 (seed 1, 3 complete), seed2 (seed 2, 3 complete)." in text
    assert "Left out: again, later; they ask this question with a seed that is counted already." in " ".join(
        text.split()
    )
    assert "other" not in text


def test_messages_that_differ_in_their_figures_are_one_reason() -> None:
    space = small_space()
    texts = ["cuda:0 ran out of memory at 10.4 GiB", "cuda:1 ran out of memory at 9.8 GiB", "the host is full"]
    records = [record_of(space, n, Outcome.OUT_OF_MEMORY, message=text) for n, text in enumerate(texts)]
    (end,) = trial_ends(records, space.budget)
    assert [(reason.text, reason.trials) for reason in end.reasons] == [(texts[0], (0, 1)), (texts[2], (2,))]


def test_over_budget_trials_are_told_by_their_limit() -> None:
    space = small_space(budget={"memory": "1 MiB", "ops": "1000M"})
    wide = record_of(space, space.size - 1, Outcome.OVER_BUDGET, message="memory 2 MiB exceeds 1 MiB")
    (end,) = trial_ends([wide], space.budget)
    assert end.reasons[0].text.startswith("more memory")


def test_a_study_that_may_not_be_written_is_shown(tmp_path: Path, capsys) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.prepare()
    space = small_space()
    folder.space_file.write_text(space.to_yaml())
    store(folder, record_of(space, 0, Outcome.COMPLETE))
    before = sorted(p for p in tmp_path.rglob("*"))
    shown(tmp_path, str(folder.path), capsys=capsys)
    assert sorted(p for p in tmp_path.rglob("*")) == before
