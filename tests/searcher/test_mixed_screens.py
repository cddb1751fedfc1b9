"""Screens of spaces and studies that choose among models, in narrow terminals: nothing is cut, lost or said twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bhvit.families import FAMILIES
from searcher import feasible
from searcher.budget import RelativeTo
from searcher.charts.accuracy import front_figure
from searcher.charts.chart import Chart, Role
from searcher.feasible import SpaceProfile, profile
from searcher.numbers import share_text
from searcher.quantities import QUANTITIES
from searcher.ranking import metrics_of
from searcher.records import Outcome, TrialRecord
from searcher.snapshot import StudySnapshot, snapshot_of
from searcher.space import Space, parse_space
from searcher.variables import Kind
from searcher.views import study_header
from searcher.views.space import verdict
from searcher.views.strip import UNALIGNED, strips_note
from tests.searcher.screens import screen
from tests.searcher.spaces import FAMILY_NAMES, every_model
from tests.searcher.studies import StudyWriter

NARROW = (80, 100)
LONG = "a_label_of_all_the_forty_characters_there"


def _space(*names: str, device: str | None = None) -> Space:
    """A space of some (or all) of `every_model`; those without widths of their own have two variables of width."""
    models = [model for model in every_model() if not names or model["name"] in names]
    for model in models:
        if model["name"] not in FAMILY_NAMES:
            model.setdefault("widths", {"hidden": {"choices": [1, 2]}})
    return parse_space(
        {
            "model": models,
            "widths": {"hidden": {"choices": [1, 2]}, "intermediate": {"choices": [1, 2]}},
            "precision": {"groups": [{"layers": "stage[01]*", "choices": ["binary", "fp16"]}]},
            "budget": {} if device is None else {"device": device},
        },
        "mixed",
    )


def _study(folder: Path, space: Space) -> StudySnapshot:
    """Twenty trials (or all there are) of a space that nobody trained."""
    writer = StudyWriter(folder, space, 20)
    for _ in range(min(20, len(writer.feasible))):
        writer.trial(Outcome.COMPLETE)
    return snapshot_of(writer.end())


@pytest.fixture(scope="module", params=[None, "avx512"], ids=["costs", "latency"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StudySnapshot:
    predicted = [name for name, family in FAMILIES.items() if family.work is not None]
    names = () if request.param is None else (*predicted, "float")
    return _study(tmp_path_factory.mktemp("runs") / "mixed", _space(*names, device=request.param))


def _said(text: str) -> str:
    """A screen without its line breaks."""
    return " ".join(text.split())


def _lines(text: str, width: int) -> list[str]:
    lines = text.splitlines()
    assert max(map(len, lines)) <= width, max(lines, key=len)
    return lines


@pytest.mark.parametrize("width", NARROW)
def test_space_says_of_every_model_what_it_holds_and_costs(study: StudySnapshot, width: int) -> None:
    space = study.space
    shown = _lines(screen("space", str(study.folder.space_file), width=width), width)
    for model in space.models:
        own = profile(space).models[model.label]
        count = rf"{model.label} +{model.family} +{own.size:,} +{own.feasible:,} \(100.0 %\)"
        assert any(re.match(count, line) for line in shown)
        for quantity in map(QUANTITIES.__getitem__, space.quantities):
            ends = {quantity.text(getattr(quantity.of(own), end)): None for end in ("minimum", "maximum")}
            assert any(re.match(rf"{model.label} .*{' to '.join(ends)}", line) for line in shown)


def test_longest_labels_are_folded_where_there_is_no_other_way(tmp_path: Path) -> None:
    space = _space(FAMILY_NAMES[0], "float").to_plain()
    space["model"][1]["name"] = LONG[:40]
    (tmp_path / "long.yaml").write_text(json.dumps(space))
    shown = _lines(screen("space", str(tmp_path / "long.yaml"), width=80), 80)
    assert any(re.match(rf"{LONG[:20]}\w* +{FAMILY_NAMES[0]} +1 +1 \(100.0 %\)", line) for line in shown)


def _rows(lines: list[str]) -> Iterator[tuple[str, int, str, str]]:
    """Heading, number, model and line of every trial in the tables of a screen."""
    heading = ""
    for line in lines:
        if not line or "Top-1 %" in line:
            heading = line if "trial" in line else ""
        elif heading and (found := re.match(r"[ ★◆]*(\d+) +([a-z]+…?) ", line)):
            yield heading, int(found[1]), found[2], line


def _width_cells(heading: str, row: str) -> list[str]:
    """The cells of a row under `hidden` and `MLP`, or under `width`, which is both; none without such columns."""
    ends = [heading.index(name) + len(name) for name in ("width", "hidden", "MLP") if name in heading]
    return "×".join(row[:end].split()[-1] for end in ends).split("×") if ends else []


@pytest.mark.parametrize("width", NARROW)
@pytest.mark.parametrize("command", [("show",), ("show", "--front"), ("watch", "--once")], ids=" ".join)
def test_rows_have_the_model_and_both_widths(study: StudySnapshot, command: tuple[str, ...], width: int) -> None:
    lines = _lines(screen(*command, str(study.folder.path), width=width), width)
    models = set()
    crowded = study.space.device is not None and width == 80 and command[0] == "show"  # memory is worth more there
    for heading, number, model, row in _rows(lines):
        record = study.records[number]
        label, accuracy = str(record.choices["model"]), metrics_of(record).accuracy
        assert label.startswith(model.removesuffix("…"))
        factors = [str(record.choices.get(name, "-")) for name in ("hidden", "intermediate")]
        assert _width_cells(heading, row) == ([] if crowded else factors)
        assert f"{100 * accuracy:.1f}" in row.split()
        models.add(label)
    assert len(models) > 1


def test_cells_of_two_digits_are_apart_where_no_letters_stand_over_them(study: StudySnapshot) -> None:
    lines = _lines(screen("watch", "--once", str(study.folder.path), width=100), 100)
    strips = [row[heading.index("MLP") + 3 :] for heading, *_, row in _rows(lines)]
    assert len(strips) == len(study.records)
    aligned = any("S0" in line for line in lines)
    assert any(("1616" if aligned else "16 16") in strip for strip in strips)
    assert aligned or not any(re.search(r"\d{3}", strip) for strip in strips)


def test_networks_without_a_layer_in_common_are_said_to_have_none(study: StudySnapshot) -> None:
    layers = [record.candidate.layers.keys() for record in study.records]
    apart = [(i, j) for i in range(len(layers)) for j in range(i) if not layers[i] & layers[j]]
    assert bool(apart) == (study.space.device is None)
    for before, after in apart[:1]:
        said = _said(screen("diff", str(study.folder.path), str(before), str(after), width=80))
        assert f"no layer in common; {len(layers[before])} layers only in trial {before};" in said


def test_nothing_of_a_model_is_within_the_budget_or_nothing_was_found() -> None:
    space = parse_space({**_space(FAMILY_NAMES[0], "float").to_plain(), "budget": {"memory": "100 KiB"}}, "mixed")
    found = profile(space)
    whole, few = found.models["float"], found.models[FAMILY_NAMES[0]]
    assert not whole.feasible

    def said(**models: SpaceProfile) -> str:
        return " ".join(verdict(space, replace(found, models={**found.models, **models})))

    certain = "Nothing of float is within the budget: raise it, or leave the model out."
    assert certain in said()
    assert certain in said(float=replace(whole, size=10**8))  # its cheapest one is over the limit
    missed = said(float=replace(whole, size=10**8, memory_bytes=few.memory_bytes))
    assert certain not in missed
    assert "None of 1 sampled configurations of float is within the budget; the model may have one" in missed


def _network(label: str, *addresses: str) -> Any:
    """What a note on strips needs of a model."""
    return SimpleNamespace(label=label, base=SimpleNamespace(addresses=addresses))


def test_strips_of_several_models_have_one_note_that_says_once_what_is_equal() -> None:
    stage, stages = ["stage0.block0.a", "stage0.block0.b"], [f"stage{i}.block0.{part}" for i in (0, 1) for part in "cd"]
    one, two = _network("one", *stage), _network("two", *stages, "downsample1")
    twin = _network("twin", *stage)
    assert strips_note([one]) == "Bits of weights: S0 stage (a, then b), * blocks differ."
    assert strips_note([one, twin]) == strips_note([one])
    both = "S0-S1 stages (one, twin: a, then b; two: c, then d), D1 downsampling, * blocks differ."
    assert strips_note([one, two, twin]) == f"Bits of weights: {both}"


def _note(text: str) -> str:
    """The only note on strips of a screen."""
    _, note = _said(text).split("Bits of weights: ")
    return note.split("blocks differ.")[0]


def test_notes_and_headings_are_of_the_models_that_occur(study: StudySnapshot) -> None:
    path = str(study.folder.path)
    for label in {r.choices["model"] for r in study.ranked}:
        words = ("--where", f"model=={label}", "--columns", "trial,bits")
        for shown in (screen("show", path, *words, width=80), screen("export", path, "--latex", *words, tty=False)):
            assert ":" not in _note(shown)
            assert UNALIGNED not in shown
    everything = _note(screen("show", path, "--top", "99", width=80))
    labels = set(re.findall(r"\w+(?=[,:])", everything))
    assert labels >= {r.choices["model"] for r in study.ranked}
    assert labels.isdisjoint({m.label for m in study.space.models} - {r.choices["model"] for r in study.ranked})


@pytest.mark.parametrize("hidden", [1, 2])
def test_a_square_is_drawn_of_every_model_whose_reference_was_trained(study: StudySnapshot, hidden: int) -> None:
    relative_to = RelativeTo({"hidden": hidden})
    seen = study.under(replace(study.space.file.budget, relative_to=relative_to))
    expected = {}
    for model in study.space.models:
        wide = [v.name for v in model.variables if v.kind is Kind.HIDDEN]
        if wide or hidden == 1:
            choices = {v.name: hidden if v.name in wide else v.default for v in model.variables}
            parent = model.candidate(choices).parent
            own = [r for r in seen.records if r.choices["model"] == model.label]
            started = [metrics_of(r).parent_accuracy for r in own if r.candidate.parent == parent]
            if started:
                memory, percent = parent.cost().total.memory_bytes, f"{100 * started[0]:.1f} %"
                expected[f"full-precision reference {model.label} {percent}"] = ((memory,), (started[0],))
    for panel in front_figure(seen, ("memory",)).panels:
        assert isinstance(panel, Chart)
        assert {s.name: (s.x, s.y) for s in panel.series if s.role is Role.PARENT} == expected
    assert len(expected) > 1


def test_best_of_each_model_stand_below_a_list_that_lacks_one_and_satisfy_the_condition(study: StudySnapshot) -> None:
    def best(*words: str) -> tuple[str, list[int]]:
        lines = screen("show", str(study.folder.path), *words, width=200, tty=False).splitlines()
        heading = next((i for i, line in enumerate(lines) if line.startswith("The most accurate")), None)
        if heading is None:
            return "", []
        end = lines.index("", heading) if "" in lines[heading:] else None
        rows = [line for line in lines[heading + 2 : end] if not line.startswith("No trained")]
        return lines[heading], [int(row.split()[1]) for row in rows]

    def first_of_each(condition: Callable[[TrialRecord], bool]) -> list[int]:
        firsts = {r.choices["model"]: r.number for r in reversed(study.ranked) if condition(r)}
        return [r.number for r in study.ranked if firsts.get(r.choices["model"]) == r.number]

    assert best("--top", "99") == ("", [])
    assert best("--top", "1") == ("The most accurate of each model", first_of_each(lambda r: True))
    limit = metrics_of(study.ranked[1]).accuracy
    heading, numbers = best("--top", "1", "--where", f"accuracy<{limit}")
    assert heading == f"The most accurate of each model with accuracy<{limit}"
    assert numbers == first_of_each(lambda r: metrics_of(r).accuracy < limit)


def test_share_of_sampled_models_is_the_weighted_one_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feasible, "ENUMERABLE", 100)
    monkeypatch.setattr(feasible, "SAMPLE", 100)
    monkeypatch.setattr(study_header, "ENUMERABLE", 100)
    each = {"groups": [{"layers": "*", "tie": "each", "choices": ["binary", "fp16"]}]}
    plain = {**_space(*FAMILY_NAMES[:2]).to_plain(), "precision": each}
    plain["model"][1]["precision"] = {"default": "binary"}
    costs = profile(parse_space(plain, "large")).models[FAMILY_NAMES[0]].memory_bytes
    space = parse_space({**plain, "budget": {"memory": costs.minimum * 1.5}}, "large")
    found = profile(space)
    share = share_text(found.share)
    assert found.sampled
    assert share_text(found.feasible / found.examined) != share
    study = _study(tmp_path / "large", space)
    heading = f"within the budget: {share} by random samples; the space is too large to enumerate"
    assert heading in _said(screen("space", str(study.folder.space_file), width=80))
    within = f"configurations, {share} within the budget, by samples of the models"
    assert within in _said(screen("show", str(study.folder.path), width=80))
    resliced = screen("show", str(study.folder.path), "--budget", "memory=1GiB", width=80)
    assert "configurations, 100.0 % within the budget, by samples of the models" in _said(resliced)
    assert f"{space.size:,} configurations, {share} within memory" in screen("watch", str(study.folder.path), "--once")
    events = study.folder.events
    events.write_text(re.sub(r', "share": [0-9.e-]+', "", events.read_text()))  # as earlier versions wrote it
    assert snapshot_of(study.folder).feasible_share is None
    assert "by samples of the models" in _said(screen("show", str(study.folder.path), width=80))
    assert f"{found.feasible:,} sampled within" in screen("watch", str(study.folder.path), "--once")
