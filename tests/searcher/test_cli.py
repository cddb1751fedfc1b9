"""The command line as a user meets it: whole processes, exit codes, one-line errors, plain text in a pipe."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from bhvit.families import DEFAULT_FAMILY, FAMILIES
from searcher.cli import COMMANDS, main
from tests.searcher.architectures import address_of, first_preset

PLAIN = {
    "model": {
        "embed_dims": [16, 32, 64, 128],
        "intermediate_dims": [64, 128, 256, 512],
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 4],
        "image_size": 96,
        "classes": 6,
    },
    "widths": {"hidden": {"choices": [1, 2]}},
    "precision": {"groups": [{"layers": "downsample*", "tie": "all", "choices": ["binary", "fp16"]}]},
    "budget": {"relative_to": {"widths": 1, "precision": "fp32"}, "memory": 0.5, "ops": 0.5},
}

LONE = {"widths": {}, "precision": {}}  # sections of a space of one configuration


@pytest.fixture
def space_file(tmp_path: Path):
    def write(**changes) -> str:
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump(PLAIN | changes))
        return str(path)

    return write


def searcher(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "searcher", *arguments], capture_output=True, text=True)


def test_output_that_cannot_be_written_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "searcher", "cost"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert result.returncode == 2
    assert result.stderr == "searcher: No space left on device; check path, permissions and free space.\n"


def test_a_folder_that_cannot_be_made_is_one_line(capsys) -> None:
    assert main(["search", "search_spaces/demo.yaml", "--runs", "/dev/null/runs"]) == 2
    err = capsys.readouterr().err
    assert "Not a directory" in err
    assert err.count("\n") == 1


def test_help_lists_every_command_and_answers_in_a_blink() -> None:
    """In three times what Python itself takes to start: 0.03 s on an idle machine. NumPy would take more."""
    helps, starts = [], []
    for _ in range(5):
        helps.append(_seconds("-m", "searcher", "--help"))
        starts.append(_seconds("-c", "pass"))
    shown = searcher("--help")
    assert shown.returncode == 0
    assert all(f"  {name} " in shown.stdout for name in COMMANDS)
    assert min(helps) < 3 * min(starts)


def _seconds(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command: str, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0
    assert f"searcher {command} " in out
    assert "examples:" in out.lower()
    assert max(map(len, out.splitlines())) < 80


def test_overview_has_every_command_in_one_group_and_fits_80_columns(capsys) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < 80
    rows = [line.split()[0] for line in lines[: lines.index("examples:")] if line.startswith("  ")]
    assert sorted(rows) == sorted(COMMANDS)
    assert [line for line in lines if line in ("run:", "look:", "check:")] == ["run:", "look:", "check:"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serach", "x.yaml"], "unknown command 'serach' (did you mean 'search'?)"),
        (["search"], "the following arguments are required: FILE; see `searcher search --help`."),
        (["search", "missing.yaml"], "missing.yaml must be a readable file, but No such file or directory"),
        (["space", "missing.yaml"], "missing.yaml must be a readable file"),
        (["show", "nowhere"], "nowhere must be the folder of a study"),
        (
            ["evaluate", "nowhere", "one"],
            "argument TRIAL: must be the number of a trial, such as 0 or 12, but it is 'one'",
        ),
        (["space", "search_spaces/demo.yaml", "--set"], "unrecognized arguments: --set"),
        (["search", "search_spaces/demo.yaml", "--budget", "ops=4m"], "'4m'; capitals count, write '4 M'; units: OPs"),
        (["search", "search_spaces/demo.yaml", "--budget", "memory=300 mib"], "write '300 MiB'; units: B, KiB, MiB"),
        (["sensitivity", "search_spaces/demo.yaml", "--budget", "size=1"], "unknown quantity in --budget 'size'"),
        (["cost", "--preset", "tinny"], f"unknown {DEFAULT_FAMILY} preset 'tinny' (did you mean 'tiny'?)"),
        (["cost", "--hidden", "-1"], "--hidden"),
        (["cost", "--layers", "downsample*"], "--layers takes GLOB=PRECISION, but it is 'downsample*'."),
        (["cost", "--layers", "downsampel*=fp16"], "'downsampel*' matches none of"),
        (["cost", "--image-size", "100"], "--image-size must be a multiple of"),
        (["cost", "--image-size", "0"], "--image-size must be a positive integer, but it is 0."),
        (["cost", "--set", "hidden=2"], "--set needs a space file"),
        (["cost", "search_spaces/demo.yaml", "--set", "hidden=["], "--set hidden must be valid YAML"),
        (["cost", "search_spaces/demo.yaml", "--set", "hidden=1", "--set", "hidden=2"], "'hidden' is given twice"),
        (["cost", "--hidden", "1e300"], "hidden factors must be positive numbers up to 64"),
        (["cost", "--classes", "9" * 30], "--classes must be at most 1048576"),
        (["show", "nowhere", "--top", "0"], "argument --top: must be a whole number of at least 1, but it is '0'"),
        (["cost", "--presett", "tiny"], "unrecognized arguments"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], message: str, capsys) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_cost_by_flags_is_the_published_row_as_json(capsys) -> None:
    assert main(["cost", "--hidden", "3", "--intermediate", "3", "--layers", "downsample*=fp16", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert f"{cost['memory_bytes'] / 2**20:.2f} {cost['ops'] / 1e6:.1f}" == "24.75 1065.1"
    assert sum(layer["ops"] for layer in cost["layers"]) == cost["ops"]
    assert cost["layers"][0]["address"] == "stem"


def test_cost_of_a_space_file_takes_its_variables(space_file, capsys) -> None:
    assert main(["cost", space_file(), "--set", "hidden=2", "--set", "downsample*=fp16", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert cost["candidate"]["architecture"]["stages"][3]["embed_dim"] == 256
    assert cost["candidate"]["layers"]["downsample3"] == "fp16"
    assert main(["cost", space_file(), "--hidden", "2"]) == 2
    assert "a candidate comes from a space file or from flags" in capsys.readouterr().err


def test_cost_table_in_a_pipe_is_plain_text_one_layer_a_line() -> None:
    out = searcher("cost", "--accounting", "complete").stdout
    assert out.isascii()
    assert "\x1b" not in out
    layer = next(line for line in out.splitlines() if line.startswith(address_of(first_preset(), 3, block=1)))
    assert "binary" in layer
    assert "peak activations 7.85 MiB at batch 1" in out


def test_space_profile_counts_what_the_cost_command_would(space_file, capsys) -> None:
    assert main(["space", space_file(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["size"], found["satisfiable"], found["sampled"]) == (4, True, False)
    assert found["budget"]["accounting"] == "reported"


RECIPE = {"base": "demo", "qat": {"epochs": 5, "warmup_epochs": 0}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Fewer than 200 feasible configurations: trials: 4 tries them all."),
        ({"recipe": RECIPE}, "pruner median may end those that fall behind after 2 of the 5 epochs of phase 2."),
        ({"recipe": {**RECIPE, "qat": {"epochs": 2, "warmup_epochs": 0}}}, "trials: 4 tries them all."),
        ({"recipe": RECIPE, "search": {"trials": 2, "pruner": "none"}}, "trials: 4 tries them all."),
        ({"search": {"trials": 4}}, "4 trials cover all 4 feasible configurations."),
        ({"search": {"trials": 1}, **LONE}, "There is one feasible configuration: 1 trial covers it."),
        ({"search": {"trials": 2}, **LONE}, "There is one feasible configuration: 2 trials cover it."),
        (LONE, "space: 1 configuration of "),
    ],
    ids=range(8),
)
def test_a_small_space_is_told_how_many_trials_try_it(changes: dict, said: str, space_file, capsys) -> None:
    changes = {"search": {"trials": 2}, "budget": {}} | changes
    assert main(["space", space_file(**changes)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.endswith(said) or text.startswith(said)


def test_space_that_cannot_meet_its_budget_fails_with_exit_code_2(space_file, capsys) -> None:
    assert main(["space", space_file(budget={"memory": "1 KiB"})]) == 2
    out = capsys.readouterr().out
    assert "The budget cannot be met" in out
    assert "memory: even the smallest candidate needs" in out
    assert main(["search", space_file(budget={"memory": "1 KiB"})]) == 2


def test_training_without_recipe_or_data_says_what_is_lacking(space_file, tmp_path, capsys) -> None:
    assert main(["search", space_file(), "--runs", str(tmp_path / "runs")]) == 2
    assert "training needs recipe and data, but the space lacks recipe" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_train_asks_for_one_candidate(space_file, capsys) -> None:
    assert main(["train", space_file()]) == 2
    assert "has 4 configurations; choose with --set VARIABLE=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["cost"], ["train"], ["ablation", "--costs"], ["sensitivity"]], ids=lambda c: c[0])
def test_a_file_of_one_model_has_none_to_choose(command: list[str], space_file, capsys) -> None:
    assert main([*command, space_file(), "--set", f"model={DEFAULT_FAMILY}"]) == 2
    text = "searcher: --set: model chooses among several models, but space has one; leave it out.\n"
    assert capsys.readouterr().err == text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_candidate_is_said_with_its_family(family: str, capsys) -> None:
    assert main(["cost", "--family", family]) == 0
    assert capsys.readouterr().out.startswith(f"{family}  C ")


def test_ablation_shows_its_costs_before_anything_is_trained(capsys) -> None:
    assert main(["ablation", "search_spaces/pets_tiny.yaml", "--costs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["steps"]
    figures = [(r["step"], f"{r['memory_bytes'] / 2**20:.2f}", f"{r['ops'] / 1e6:.1f}") for r in rows]
    assert figures == [("base", "1.55", "49.3"), ("+ intermediate", "3.45", "100.7"), ("+ hidden", "13.68", "382.3")]
    assert {r["accuracy"] for r in rows} == {None}


@pytest.mark.parametrize("path", sorted(Path("search_spaces").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_spaces_can_be_met_and_are_trainable(path: Path, capsys) -> None:
    assert main(["space", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["feasible"] > 5
    from searcher.space import load_space

    recipe, data = load_space(path).training
    assert recipe.qat.epochs >= 1
    assert data.name
