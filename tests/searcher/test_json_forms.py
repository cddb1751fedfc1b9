"""`docs/json.md` lists every key that `--json` of a command can have, and its type."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from bhvit import PrecisionPlan
from bhvit.runtime import packed_file
from bhvit.runtime.schema import Header, random_arrays
from searcher.plain import budget_json, costs_json, trial_json, worker_json
from searcher.status import WorkerStatus
from searcher.study_folder import StudyFolder
from tests.searcher.architectures import small_architecture
from tests.searcher.screens import screen
from tests.searcher.studies import (
    SPACE_FILE,
    empty_study,
    many_study,
    one_trial_study,
    other_schema_study,
    running_study,
    two_objectives_study,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "json.md"
MAPPINGS = (  # whose keys are names: of variables, layers, outcomes, limits, precisions
    *("choices", "outcomes", "budget_share", "candidate.layers", "weights_by_precision", "macs_by_precision"),
    *("states", "params", "constraints", "variables", "options", "accuracies", "models", "best_of_models"),
)
TYPES = {bool: "boolean", int: "number", float: "number", str: "text", type(None): "null"}
TYPE, WORDS = 43, 77  # columns of the document at which a key's type and its description begin
Form = dict[str, set[str]]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Studies of all sorts in `runs/`, and a storage of somebody else."""
    home = tmp_path_factory.mktemp("forms")
    for make in (empty_study, one_trial_study, two_objectives_study):
        make(home / "runs")
    many = many_study(home / "runs", 80)
    search = many.space().to_plain()["search"]
    many_study(home / "runs", 80, "other_seed", search={**search, "seed": 1})
    result = {"split": "test", "accuracy": 0.5, "loss": 1.0, "images": 10}
    per_class = [{"name": "a", "images": 10, "accuracy": 0.5}]
    (min(many.trials.iterdir()) / "test.json").write_text(json.dumps({**result, "per_class": per_class}))
    many_study(home / "runs", 3, "complete_accounting", budget={"memory": "1 MiB", "accounting": "complete"})
    many_study(home / "runs", 8, "on_device", budget={"memory": "1 MiB", "latency": "1 s", "device": "avx512"})
    many_study(home / "runs", 3, "without_log").events.unlink()
    other_schema_study(home / "runs")
    model = {**many.space().to_plain()["model"], "depths": [1, 1, 1, 1]}
    many_study(home / "runs", 2, "other_network", model=model)
    many_study(home / "runs", 12, "mixed", model=[{**model, "name": "a"}, {**model, "name": "b", "norm": "layer"}])
    _plain_optuna(home / "plain.db")
    _packed_model(home / "model.bhvit")
    with running_study(home / "runs"):
        _abandon(home / "runs")
        yield home


@pytest.fixture(scope="module")
def shared(studies: Path) -> dict[str, Form]:
    """The forms that views share: path of a key -> its types."""
    folder = StudyFolder(studies / "runs" / "many")
    budget, records = folder.space().budget, folder.records()
    timed = StudyFolder(studies / "runs" / "on_device")
    records += timed.records()
    silent = WorkerStatus("worker 1", 0, "qat", 0, 5, 0, 0, 1.0)
    heard = WorkerStatus("worker 1", 0, "qat", 1, 5, 1, 31, 1.0, 0.5, 1.0, 512.0, 1e9)
    return {
        "trial": _form([trial_json(r, budget) for r in records]),
        "result": _form([costs_json(r) for r in records]),
        "budget": _form([budget_json(budget), budget_json(type(budget)()), budget_json(timed.space().budget)]),
        "worker": _form([worker_json(silent), worker_json(heard)]),
    }


def _commands(home: Path) -> dict[str, list[list[str]]]:
    names = (
        "many",
        "empty",
        "front",
        "running",
        "abandoned",
        "without_log",
        "complete_accounting",
        "other_network",
        "on_device",
        "mixed",
    )
    studies = {name: str(home / "runs" / name) for name in names}
    many, empty, front, running, *_ = studies.values()
    timed, mixed = (f"{studies[name]}/space.yaml" for name in ("on_device", "mixed"))
    plain = str(home / "plain.db")
    kinds = ("front", "history", "importance", "parallel", "curves", "map", "budget")
    return {
        "ls": [["ls", str(home / "runs")], ["ls", plain]],
        "show": [
            *(["show", study] for study in studies.values()),
            ["show", many, "--seeds", "--budget", "memory=0.5,ops=none"],
            ["show", studies["on_device"], "--device", "rpi5"],
            ["show", studies["mixed"], "--budget", "memory=1 B"],
        ],
        "show of a plain Optuna study": [["show", plain, "--study", name] for name in ("plain", "empty")],
        "trial": [
            *(["trial", many, number] for number in ("0", "7", "12", "20", "33")),
            *(["trial", running, number] for number in ("11", "12", "14")),
            ["trial", studies["on_device"], "1"],
        ],
        "diff": [
            ["diff", many, "1", "2"],
            ["diff", running, "1", "12"],
            ["diff", many, "1", "1", "--with", studies["other_network"]],
            ["diff", studies["other_network"], "1", "1", "--with", many],
            ["diff", studies["on_device"], "1", "2"],
        ],
        "compare": [
            ["compare", many, front, empty],
            ["compare", many, studies["complete_accounting"]],
            ["compare", many, studies["on_device"]],
            ["compare", many, studies["mixed"]],
        ],
        "watch": [["watch", study] for study in studies.values()],
        "plot": [
            *(["plot", many, "--kind", kind] for kind in kinds),
            ["plot", empty],
            ["plot", studies["mixed"], "--kind", "map"],
            ["plot", studies["on_device"]],
        ],
        "space": [["space", str(SPACE_FILE)], ["space", timed], ["space", mixed]],
        "cost": [["cost", "--preset", "tiny"], ["cost", "--device", "avx2"]],
        "ablation": [["ablation", file, "--costs", "--runs", str(home / "none")] for file in (str(SPACE_FILE), timed)],
        "data": [["data"], ["data", "trashnet_mini"]],
        "bench": [["bench", str(home / "model.bhvit"), "--repeats", "2"]],
        "evaluate": [["evaluate", many, "0"]],
        "doctor": [["doctor", many]],
    }


def _abandon(runs: Path) -> None:
    """A search that was killed: its trials run, and nobody is at work on it."""
    shutil.copytree(runs / "running", runs / "abandoned")


def _packed_model(path: Path) -> None:
    sizes = small_architecture(image_size=32)
    header = Header.of_plan(sizes, PrecisionPlan.uniform("binary"))
    packed_file.write(path, header, random_arrays(header, 0))


def _plain_optuna(path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.create_study(storage=f"sqlite:///{path}", study_name="empty", directions=["minimize", "maximize"])
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name="plain")
    for x, way in ((0.5, "a"), (1.5, None), (0.7, True)):
        study.enqueue_trial({"x": x, "way": way})
        trial = study.ask()
        trial.suggest_float("x", 0, 2)
        trial.suggest_categorical("way", ["a", True, None])
        trial.set_constraint("limit", x - 1)
        study.tell(trial, x)
    study.ask()  # remains without a parameter


def _form(values: list[Any], shared: dict[str, Form] | None = None) -> Form:
    """Path of a key -> its types in any of `values`; what is one of the `shared` forms is one type."""
    form: Form = {}
    for value in values:
        for path, kind in _keys(value, "", shared or {}):
            form.setdefault(path, set()).add(kind)
    return form


def _keys(value: Any, path: str, shared: dict[str, Form]) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        yield from ((key, kind) for item in value for key, kind in _keys(item, f"{path}[]", shared))
        if not value:
            yield f"{path}[]", ""
    elif isinstance(value, dict):
        known, covered = next(((n, top) for n, top in _tops(shared) if _is(n, top, value)), ("", set()))
        if known:
            yield path or "(the whole)", f"a {known}"
        named = any(f".{path}".endswith(f".{name}") for name in MAPPINGS)
        for key, item in value.items():
            if key not in covered:
                yield from _keys(item, ".".join(filter(None, (path, "<name>" if named else key))), shared)
    else:
        yield path, TYPES[type(value)]


def _tops(shared: dict[str, Form]) -> Iterator[tuple[str, set[str]]]:
    return ((name, {key.partition(".")[0] for key in form}) for name, form in shared.items())


def _is(name: str, keys: set[str], value: dict[str, Any]) -> bool:
    """Whether a mapping is of a shared form: trials and results may have keys beside theirs."""
    return keys <= value.keys() if name in ("trial", "result") else keys == value.keys()


def _block(form: Form, said: dict[str, str]) -> str:
    lines = []
    for path, kinds in sorted(form.items()):
        within = [other for other in form if other.startswith((f"{path}.", f"{path}["))]
        named = sorted(filter(None, kinds), key=lambda kind: (kind == "null", kind))
        if within and not named:
            continue
        what = "or null" if within and named == ["null"] else " | ".join(named)
        assert len(what) < WORDS - TYPE - 2
        lines.append(f"{path:<{TYPE}} {what:<{WORDS - TYPE - 2}} {said.get(path, '')}".rstrip())
    return "\n".join(lines)


def _said(text: str) -> dict[str, dict[str, str]]:
    """View -> key -> what the document says of it."""
    found: dict[str, dict[str, str]] = {}
    view = ""
    for line in text.splitlines():
        if line.startswith("## "):
            view = line[3:]
        elif len(line) > WORDS - 1:
            found.setdefault(view, {})[line[:TYPE].strip()] = line[WORDS - 1 :].strip()
    return found


def test_every_key_of_every_view_is_documented(studies: Path, shared: dict[str, Form]) -> None:
    forms = {f"a {name}": form for name, form in shared.items()}
    for view, commands in _commands(studies).items():
        shown = [json.loads(screen(*argv, "--json", tty=False)) for argv in commands]
        assert all((data["view"], data["schema"]) == (view.split()[0], 1) for data in shown)
        data = [{k: v for k, v in one.items() if k not in ("view", "schema")} for one in shown]
        forms[view] = _form(data, shared)
    text = DOCUMENT.read_text(encoding="utf-8")
    said = _said(text)
    blocks = [f"## {view}\n```\n{_block(form, said.get(view, {}))}\n```\n" for view, form in forms.items()]
    written = "\n".join([text.partition("\n## ")[0], *blocks])
    if os.environ.get("UPDATE_GOLDEN"):
        DOCUMENT.write_text(written, encoding="utf-8")
    assert written == DOCUMENT.read_text(encoding="utf-8"), "docs/json.md differs; look, then UPDATE_GOLDEN=1"
