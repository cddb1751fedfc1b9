"""A real study (tiny models, a few images) that chooses among models of every family, and all that is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from bhvit.families import FAMILIES
from bhvit.wording import listed
from searcher.cli import main
from searcher.commands.arguments import chosen
from searcher.feasible import profile
from searcher.snapshot import StudySnapshot, snapshot_of
from searcher.study_folder import StudyFolder
from searcher.trial_fields import TrialFields
from searcher.trial_report import trial_report
from tests.searcher.screens import screen
from tests.searcher.spaces import FAMILY_NAMES, every_model
from tests.searcher.tiny_images import image_folder

TRIALS = len(FAMILIES) + 3
FIRST = FAMILY_NAMES[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, a space file of models of all families, and the study that was run."""
    root = tmp_path_factory.mktemp("mixed")
    image_folder(root / "images")
    models = every_model()
    phase = {"epochs": 1, "learning_rate": 0.002}
    groups = [{"layers": "stage0.*", "choices": ["binary", "fp16"]}]
    space = {
        "model": models,
        "widths": {"hidden": {"choices": [1, 2]}},
        "precision": {"groups": groups},
        "budget": {"relative_to": {"widths": {"hidden": 2}, "model": FIRST}, "memory": 2.0},
        "search": {"trials": TRIALS, "seed": 0, "pruner": "none", "threads": 1},
        "recipe": {"fp": phase, "qat": dict(phase), "batch_size": 8},
        "data": {"name": "image_folder", "root": str(root / "images")},
        "enqueue": [{"model": model["name"]} for model in models],
    }
    (root / "mixed.yaml").write_text(json.dumps(space))  # which is YAML without its aliases
    assert main(["search", str(root / "mixed.yaml"), "--runs", str(root / "runs")]) == 0
    return root


@pytest.fixture(scope="module")
def study(home: Path) -> StudySnapshot:
    return snapshot_of(StudyFolder(home / "runs" / "mixed"))


def test_every_model_is_trained_from_a_parent_of_its_own(study: StudySnapshot) -> None:
    labels = [str(record.choices["model"]) for record in study.records]
    assert labels[: len(FAMILIES) + 1] == [*FAMILIES, "float"]
    assert len(study.ranked) == TRIALS
    for record in study.records:
        family = FIRST if record.choices["model"] == "float" else record.choices["model"]
        assert record.candidate.family == family
        assert record.candidate == study.space.candidate(record.choices)
    keys = {
        record.choices["model"]: record.metrics.parent_key
        for record in study.records[: len(FAMILIES)]
        if record.metrics
    }
    assert len(set(keys.values())) == len(FAMILIES)


def test_optuna_sees_the_parameters_that_a_trial_has(home: Path, study: StudySnapshot) -> None:
    url = f"sqlite:///{home / 'runs' / 'mixed' / 'study.db'}"
    found = optuna.load_study(study_name="mixed", storage=url)
    assert [trial.params for trial in found.trials] == [dict(record.choices) for record in study.records]
    labels = optuna.distributions.CategoricalDistribution([model.label for model in study.space.models])
    assert {trial.distributions["model"] for trial in found.trials} == {labels}


def test_the_same_command_goes_on_and_trains_nothing_twice(home: Path, study: StudySnapshot) -> None:
    assert main(["search", str(home / "mixed.yaml"), "--runs", str(home / "runs")]) == 0
    assert [r.name for r in snapshot_of(study.folder).records] == [r.name for r in study.records]


def test_a_run_notes_the_share_of_the_space_that_is_within_its_budget(study: StudySnapshot) -> None:
    assert study.feasible_share == profile(study.space).share


def test_fields_of_a_trial_are_those_of_its_model(study: StudySnapshot) -> None:
    fields = TrialFields(study.space)
    for record in study.records:
        layers, label = record.candidate.layers, record.choices["model"]
        assert fields.named("model").text(record) == label
        assert fields.named("hidden").value(record) == record.choices.get("hidden")
        for address in study.space.addresses:
            expected = layers[address].name if address in layers else None
            assert fields.named(address).value(record) == expected
        own = {p.name for address, p in layers.items() if address.startswith("stage1")}
        assert set(fields.named("stage1*").values(record)) == (own or {None})


def test_show_says_which_model_and_which_is_best_of_each(home: Path, study: StudySnapshot) -> None:
    shown = screen("show", str(home / "runs" / "mixed"), "--top", "1", tty=False, width=200)
    assert "The most accurate of each model" in shown
    table = shown[shown.index("The most accurate of each model") :].splitlines()[2:]
    assert sorted(line.split()[2] for line in table[: len(FAMILIES) + 1]) == sorted([*FAMILIES, "float"])
    data = json.loads(screen("show", str(home / "runs" / "mixed"), "--json", tty=False))
    best = {record.choices["model"]: record.number for record in reversed(study.ranked)}
    assert data["best_of_models"] == best
    assert data["question"]["models"]["float"] == {"family": FIRST, "variables": {}}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["show", "STUDY", "--where", "model=float", "--columns", "trial,model,hidden"], "float"),
        (["show", "STUDY", "--sort", "model,-accuracy", "--columns", "model"], FIRST),
        (["trial", "STUDY", str(len(FAMILIES))], f"model      float ({FIRST})"),
        (["diff", "STUDY", "0", str(len(FAMILIES) - 1)], "family"),
        (["diff", "STUDY", "0", str(len(FAMILIES))], "model"),
        (["watch", "STUDY"], "done"),
        (["ls", "RUNS"], "mixed"),
        (["plot", "STUDY"], f"full-precision reference {FIRST} "),
        (["plot", "STUDY", "--kind", "map"], f"{FIRST}: mean Top-1 (%)"),
        (["plot", "STUDY", "--kind", "parallel", "--top", "2"], "model"),
        (["plot", "STUDY", "--kind", "curves"], "phase 2"),
        (["doctor", "STUDY"], "healthy"),
        (["export", "STUDY"], "model"),
        (["export", "STUDY", "--md"], "| # | trial | model | hidden |"),
        (["export", "STUDY", "--trial", str(len(FAMILIES))], f"# float ({FIRST})  C "),
        (["export", "STUDY", "--latex"], "\\# & trial & model & hidden &"),
        (["space", "FILE"], "within the budget"),
        (["cost", "FILE"], f"{FIRST}  C "),
        (["cost", "FILE", "--set", "model=float"], f"float ({FIRST})  C "),
    ],
)
def test_every_view_knows_mixed_studies(home: Path, command: list[str], said: str) -> None:
    places = {"STUDY": str(home / "runs" / "mixed"), "RUNS": str(home / "runs"), "FILE": str(home / "mixed.yaml")}
    assert said in screen(*(places.get(word, word) for word in command), tty=False, width=160)


def test_one_candidate_of_several_models_is_trained_as_a_study_of_its_model(home: Path) -> None:
    command = [
        "train",
        str(home / "mixed.yaml"),
        "--runs",
        str(home / "runs"),
        "--set",
        "model=float",
        "--study",
        "one",
    ]
    said = screen(*command, tty=False)
    assert said.startswith(f"float ({FIRST})  C ")
    assert f"\n  searched: {FIRST} " in said
    assert "space:    1 configuration, " in said
    assert not any(words in said for words in ("  or: ", "of each model", "No trained trial"))


@pytest.mark.parametrize("number", range(len(FAMILIES) + 1))
def test_a_trial_says_how_to_train_it_again(study: StudySnapshot, number: int) -> None:
    words = trial_report(study, number).again
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert chosen(study.space, settings) == study.records[number].choices


def test_what_needs_one_model_asks_for_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(home / "mixed.yaml")
    labels = listed([*FAMILIES, "float"])
    for command in (["ablation", file, "--costs"], ["sensitivity", file]):
        assert main(command) == 2
        said = f"this needs one model, but mixed chooses among {labels}; add --set model={FIRST}, or another of them."
        assert said in capsys.readouterr().err
    assert main(["ablation", file, "--costs", "--set", f"model={FIRST}"]) == 0
    assert "+ hidden" in capsys.readouterr().out
    assert main(["ablation", file, "--costs", "--set", f"model={FIRST}", "--set", "hidden=2"]) == 2
    assert (
        "the ablation chooses the widths itself; --set names a model, but it is 'hidden=2'." in capsys.readouterr().err
    )


def test_another_list_of_models_is_another_question(home: Path, tmp_path: Path, capsys) -> None:
    space = json.loads((home / "mixed.yaml").read_text())
    del space["model"][-1], space["enqueue"][-1]
    (tmp_path / "mixed.yaml").write_text(json.dumps(space))
    assert main(["search", str(tmp_path / "mixed.yaml"), "--runs", str(home / "runs")]) == 2
    labels = ", ".join(FAMILIES)
    assert f"the models are {labels}, float there, {labels} here; use another folder" in capsys.readouterr().err
