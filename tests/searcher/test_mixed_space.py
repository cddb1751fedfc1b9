"""Spaces that choose among several models: one code for every configuration, the costs of each, and what is refused."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhvit.errors import InvalidInput
from bhvit.families import FAMILIES
from searcher import feasible
from searcher.coordinator import Ended, run_search
from searcher.derived import ablation, alone, of_model, single
from searcher.executors.threads import ThreadExecutor
from searcher.feasible import feasible_set, neighbours, profile
from searcher.grid import Grid
from searcher.space import Space, load_space, parse_space
from searcher.variables import Kind
from tests.searcher.architectures import model_of, small_architecture
from tests.searcher.fake_training import fake_train
from tests.searcher.screens import screen
from tests.searcher.spaces import FAMILY_NAMES, mixed_models, mixed_space, plain_mixed, plain_space, small_space

NAMES = [model["name"] for model in mixed_models()]
FAMILY = FAMILY_NAMES[0]
SOME = st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True)


@settings(max_examples=15, deadline=None)
@given(SOME)
def test_every_configuration_has_one_code_and_costs_what_its_candidate_costs(names: list[str]) -> None:
    space = mixed_space(*names)
    every = [space.decode(i) for i in range(space.size)]
    assert space.size == sum(model.size for model in space.models)
    assert [space.encode(choices) for choices in every] == list(range(space.size))
    codes = [space.digits_of(choices) for choices in every]
    assert codes == sorted(set(codes))
    assert [space.choices_of(digits) for digits in codes] == every
    blocks = list(Grid(space).blocks())
    assert np.concatenate([block.codes for block in blocks]).tolist() == [list(digits) for digits in codes]
    totals = [space.candidate(choices).cost().total for choices in every]
    assert np.concatenate([block.memory_bytes for block in blocks]).tolist() == [t.memory_bytes for t in totals]
    assert np.concatenate([block.ops for block in blocks]).tolist() == [t.ops for t in totals]
    order = np.random.default_rng(0).permutation(space.size)
    (block,) = Grid(space).at(np.array(codes, np.uint8)[order])
    assert block.ops.tolist() == [totals[i].ops for i in order]


@settings(max_examples=15, deadline=None)
@given(SOME)
def test_choices_hold_the_variables_of_their_model_alone(names: list[str]) -> None:
    space = mixed_space(*names)
    for model in space.models:
        choices = space.complete({"model": model.label})
        assert list(choices) == ["model", *(v.name for v in model.variables)]
        inactive = {v.name for v in space.variables} - choices.keys()
        digits = dict(zip((v.name for v in space.variables), space.digits_of(choices), strict=True))
        assert {name for name, digit in digits.items() if name in inactive} == inactive
        assert all(digits[v.name] == v.inactive for v in space.variables if v.name in inactive)
        assert all(model.label not in v.models for v in space.variables if v.name in inactive)


@settings(max_examples=10, deadline=None)
@given(SOME)
def test_canonical_file_of_a_mixed_space_reads_back(names: list[str]) -> None:
    space = mixed_space(*names, enqueue=[{"model": names[1]}])
    again = parse_space(space.to_plain(), "again")
    assert (again.file, again.fingerprint) == (space.file, space.fingerprint)


def test_spaces_of_one_model_are_the_questions_they_have_always_been() -> None:
    fingerprints = [load_space(f"search_spaces/{name}.yaml").fingerprint for name in ("demo", "pets_tiny", "cifar10")]
    assert fingerprints == ["24f5d859c316a074", "df4b4e903a4557dd", "c3c510a70bdd00c6"]
    assert "relative_to: {widths: 1, precision: fp32}" in load_space("search_spaces/demo.yaml").to_yaml()


def test_variables_are_the_union_by_name_with_the_model_first() -> None:
    space = mixed_space("one_layer", FAMILY, "float", "stages")
    layer = space.models[0].base.addresses[0]
    assert [(v.name, v.kind, v.models) for v in space.variables[:2]] == [
        ("model", Kind.MODEL, ()),
        ("hidden", Kind.HIDDEN, ("one_layer", FAMILY)),
    ]
    assert {v.name: v.models for v in space.variables[2:]} == {
        **{f"hidden.stage{i}": ("stages",) for i in range(len(space.models[3].base.stages))},
        layer: ("one_layer",),
        "*": (FAMILY, "stages"),
    }


def test_a_full_precision_baseline_is_an_alternative_without_choices() -> None:
    space = mixed_space(FAMILY, "float")
    baseline = space.candidate(space.complete({"model": "float"}))
    assert space.models[1].size == 1
    assert baseline == baseline.parent
    assert {p.name for p in baseline.layers.values()} == {"fp32"}


@pytest.mark.parametrize("names", list(itertools.combinations(FAMILIES, 2)))
def test_without_a_default_every_model_has_that_of_its_family_in_any_order(names: tuple[str, ...]) -> None:
    for order in (names, names[::-1]):
        models = [model_of(small_architecture(name, 32), name) for name in order]
        for sections in ({}, {"precision": {"groups": [{"layers": "*0*", "choices": ["fp16"]}]}}):
            space = parse_space({"model": models, **sections}, "mixed")
            defaults = {model.label: model.precision.default for model in space.models}
            assert defaults == {name: FAMILIES[name].config.precisions[0] for name in order}
            assert parse_space(space.to_plain(), "again").file == space.file
        given = parse_space({"model": models, "precision": {"default": "fp16"}}, "given")
        assert {model.precision.default for model in given.models} == {"fp16"}


def test_a_point_without_a_model_is_of_the_first() -> None:
    space = mixed_space("one_layer", "float", enqueue=[{"hidden": 2}, {"model": "float"}])
    assert [point["model"] for point in space.enqueued] == ["one_layer", "float"]
    assert space.enqueued[1] == {"model": "float"}


def _of_other_choices(**sections: Any) -> Space:
    """Two models whose variables have the same names, each with choices of its own in an order of its own."""
    widths = [{"hidden": {"choices": choices}} for choices in ([1, 2], [4, 1, 0.5])]
    groups = [[{"layers": "*", "choices": choices}] for choices in (["int8", "binary"], ["fp16", "int8"])]
    models = [
        {**model, "widths": w, "precision": {"groups": g}}
        for model, w, g in zip((MODEL | {"name": "model"}, OTHER), widths, groups, strict=True)
    ]
    return parse_space({"model": models, **sections}, "own")


def test_a_variable_has_the_choices_of_all_models_and_each_model_its_own() -> None:
    space = _of_other_choices()
    assert [(v.name, v.choices) for v in space.variables] == [
        ("model", ("model", "other")),
        ("hidden", (0.5, 1, 2, 4)),
        ("*", ("binary", "int8", "fp16")),
    ]
    assert [[v.choices for v in model.variables] for model in space.models] == [
        [(1, 2), ("binary", "int8")],
        [(0.5, 1, 4), ("int8", "fp16")],
    ]
    assert [space.decode(i) for i in range(space.size)] == [
        {"model": label, "hidden": hidden, "*": precision}
        for label, widths, precisions in (
            ("model", (1, 2), ("binary", "int8")),
            ("other", (0.5, 1, 4), ("int8", "fp16")),
        )
        for hidden in widths
        for precision in precisions
    ]
    codes = [space.digits_of(space.decode(i)) for i in range(space.size)]
    assert codes == [(0, 1, 0), (0, 1, 1), (0, 2, 0), (0, 2, 1), *((1, h, p) for h in (0, 1, 3) for p in (1, 2))]
    assert space.complete({"model": "other"}) == {"model": "other", "hidden": 1, "*": "fp16"}  # the first it lists


def test_own_choices_cost_what_their_candidates_do() -> None:
    space = _of_other_choices()
    codes = np.array([space.digits_of(space.decode(i)) for i in range(space.size)], np.uint8)
    totals = [space.candidate(space.decode(i)).cost().total for i in range(space.size)]
    blocks = list(Grid(space).blocks())
    assert np.concatenate([block.codes for block in blocks]).tolist() == codes.tolist()
    assert np.concatenate([block.memory_bytes for block in blocks]).tolist() == [t.memory_bytes for t in totals]
    order = np.random.default_rng(1).permutation(space.size)
    (block,) = Grid(space).at(codes[order])
    assert block.ops.tolist() == [totals[i].ops for i in order]
    found = feasible_set(space)
    assert [found.row_of(digits) for digits in map(tuple, codes.tolist())] == list(range(space.size))


def test_a_choice_that_only_another_model_lists_is_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r"enqueue\[0\]: in model other hidden must be one of 0.5, 1, 4, but it is 2"
    ):
        _of_other_choices(enqueue=[{"model": "other", "hidden": 2}])
    with pytest.raises(InvalidInput, match=r"\* must be one of binary, int8, but it is 'fp16'"):
        _of_other_choices().digits_of({"model": "model", "hidden": 1, "*": "fp16"})


def test_a_neighbour_under_another_model_has_the_choices_that_this_lists() -> None:
    space = _of_other_choices()
    for hidden, precision, kept in ((1, "int8", (1, "int8")), (2, "binary", (1, "fp16"))):
        digits = space.digits_of({"model": "model", "hidden": hidden, "*": precision})
        found = [space.choices_of(row) for row in neighbours(space, np.array(digits, np.uint8)).tolist()]
        assert [tuple(choices.values())[1:] for choices in found if choices["model"] == "other"] == [kept]
        assert len(found) == 3


def test_a_search_among_own_choices_tries_each_once_and_every_view_shows_it(in_memory: Path) -> None:
    space = _of_other_choices(search={"trials": 20, "pruner": "none"})
    summary = run_search(space, in_memory / "own", ThreadExecutor(fake_train))
    assert (summary.ended, summary.trained) == (Ended.EXHAUSTED, space.size)
    assert len({record.candidate.id for record in summary.records}) == space.size
    found = optuna.load_study(study_name="own", storage=f"sqlite:///{in_memory / 'own' / 'study.db'}")
    assert [trial.params for trial in found.trials] == [record.choices for record in summary.records]
    shown = screen("space", str(in_memory / "own" / "space.yaml"), tty=False, width=100)
    for row in ("hidden 1, 2 model", "hidden 0.5, 1, 4 other", "\\* binary, int8 model", "\\* int8, fp16 other"):
        assert re.search(row.replace(" ", " +").replace(", +", ", "), shown)
    study = str(in_memory / "own")
    assert "hidden 0.5, 1, 4" in screen("show", study, tty=False, width=160)
    for kind in ("importance", "map", "parallel"):
        assert screen("plot", study, "--kind", kind, tty=False, width=100)


def test_lists_that_all_models_share_keep_the_files_order() -> None:
    widths = {"hidden": {"choices": [2, 0.5, 1]}}
    assert mixed_space("one_layer", FAMILY, widths=widths).variables[1].choices == (2, 0.5, 1)
    turned = {**OTHER, "widths": {"hidden": {"choices": [1, 2, 0.5]}}}
    space = parse_space({"model": [MODEL, turned], "widths": widths}, "turned")
    assert [model.variables[0].choices for model in space.models] == [(0.5, 1, 2), (0.5, 1, 2)]


def test_a_variable_may_have_64_choices_in_all_models_together() -> None:
    lists = [[1 + i / 8 for i in range(40)], [1 + i / 8 for i in range(30, 64)], [1 + i / 8 for i in range(30, 65)]]
    first, *others = [{"hidden": {"choices": choices}} for choices in lists]
    models = [[{**MODEL, "name": "x", "widths": first}, {**OTHER, "widths": widths}] for widths in others]
    assert len(parse_space({"model": models[0]}, "many").variables[1].choices) == 64
    with pytest.raises(InvalidInput, match="hidden must have at most 64 choices in all models together, but it has 65"):
        parse_space({"model": models[1]}, "many")


@pytest.mark.parametrize("family", [f.name for f in FAMILIES.values() if "binary" not in f.config.precisions])
def test_what_limits_refer_to_is_named_where_it_is_wrong(family: str) -> None:
    models = [{**model_of(small_architecture(f, 32), f), "name": f"of_{f}"} for f in (FAMILY, family)]
    budget = {"relative_to": {"model": f"of_{family}", "precision": "binary"}, "memory": 0.5}
    with pytest.raises(InvalidInput, match=f"^mixed: budget.relative_to: model of_{family}: .*binary"):
        parse_space({"model": models, "budget": budget}, "mixed")


@pytest.mark.parametrize("named", [None, FAMILY_NAMES[-1]])
def test_relative_limits_refer_to_the_first_model_or_the_named_one(named: str | None) -> None:
    relative_to: dict[str, Any] = {"widths": 2, "precision": "int8"} | ({"model": named} if named else {})
    space = mixed_space("one_layer", FAMILY_NAMES[-1], budget={"relative_to": relative_to, "memory": 0.5})
    one = small_space(named or FAMILY)
    reference = one.base.scaled(2, 2)
    assert space.reference is not None
    assert space.reference.architecture == reference
    assert space.budget.memory == 0.5 * space.reference.cost().memory_bytes
    assert parse_space(space.to_plain(), "again").budget == space.budget


def test_names_default_to_family_and_preset_or_to_the_family() -> None:
    model = plain_space(FAMILY)["model"]
    lists = {key: value for key, value in small_space(FAMILY).to_plain()["model"].items() if key in ("family", "norm")}
    base = small_space(FAMILY).base.scaled(2)
    names = ("embed_dims", "intermediate_dims", "depths", "num_heads")
    written = {**lists, **{name: list(getattr(base, name)) for name in names}}
    space = parse_space({"model": [model, written]}, "named")
    assert [m.label for m in space.models] == [f"{FAMILY}_{model['preset']}", FAMILY]


MODEL = plain_space(FAMILY)["model"]
OTHER = {**MODEL, "name": "other", "norm": "layer"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": [MODEL]},
            "model, as a list, must have 2 to 64 alternatives, but it has 1; a single model is written",
        ),
        ({"model": [MODEL, "tiny"]}, "model[1] must be a mapping of keys to values, but it is 'tiny'."),
        (
            {"model": [MODEL, {**OTHER, "widthz": {}}]},
            "unknown key in model[1]: 'widthz' (did you mean 'widths'?); use one of: ",
        ),
        ({"model": [MODEL, {**OTHER, "name": "a b"}]}, "model[1]: name must be 1 to 40 letters, digits or any of"),
        *(
            ({"model": [MODEL, {**OTHER, "name": name}]}, f"model[1]: name must be a word, but YAML reads {name} as")
            for name in ("5", "1.0", "yes", "2026-01-01", "-", "0x1", "-.inf")
        ),
        (
            {"model": [OTHER, {**MODEL, "name": "other"}]},
            "names must be distinct, but model[0] and model[1] are both",
        ),
        (
            {"model": [MODEL, {**MODEL, "name": "b"}]},
            "are the same model with the same widths and precision; remove one",
        ),
        *(
            (
                {"model": [MODEL, {**MODEL, "name": "b", **own}]},
                "b are the same model with the same widths and precision",
            )
            for own in (
                {"widths": {"hidden": {"choices": [1.0, 2]}}},
                {"widths": {"hidden": {"choices": [2, 1]}, "intermediate": {"choices": [1]}}},
                {"precision": {"groups": [{"layers": "*?*", "choices": ["int8", "binary"]}]}},
                {"precision": {"default": "fp16", "groups": [{"layers": "*", "choices": ["binary", "int8"]}]}},
                {"norm": FAMILIES[FAMILY].config.norms[0]},
            )
        ),
        ({"model": [MODEL, {**OTHER, "norm": "group"}]}, "mixed: model[1]: norm must be "),
        ({"model": [MODEL, {**OTHER, "preset": "huge"}]}, f"mixed: model[1]: unknown {FAMILY} preset 'huge'"),
        ({"model": [MODEL, {**OTHER, "image_size": 50}]}, "mixed: model[1]: image_size must be a multiple of "),
        (
            {"model": [MODEL, {**OTHER, "widths": {"hidden": {"choices": [1, 1.00001]}}}]},
            "mixed: model other: widths: the choices of hidden must give different widths",
        ),
        (
            {"model": [MODEL, {**OTHER, "precision": {"groups": [{"layers": "x", "choices": ["int8"]}]}}]},
            "mixed: model other: precision.groups[0]: 'x' must match a layer",
        ),
        (
            {"model": [MODEL, {**OTHER, "classes": 5}]},
            "all alternatives must have the same classes, because they share",
        ),
        ({"model": [MODEL, {**OTHER, "image_size": 448}]}, "all alternatives must have the same image_size, because"),
        ({"enqueue": [{"model": "z"}]}, "enqueue[0]: model must be one of one_layer, float, but it is 'z'."),
        (
            {"enqueue": [{"model": "float", "hidden": 2}]},
            "enqueue[0]: 'hidden' is a variable of model one_layer, but the point is of float; set model to one_layer",
        ),
        (
            {"enqueue": [{"width": 2}]},
            "enqueue[0]: 'width' is no variable of the space; its variables are model, hidden",
        ),
        (
            {"enqueue": [{"model": "one_layer", "modl": 2}]},
            "enqueue[0]: 'modl' is no variable of model one_layer (did you mean 'model'?); its variables are model,",
        ),
        *(
            ({"enqueue": [{key: "float"}]}, f"enqueue[0]: '{key}' is no variable of the space (did you mean 'model'?);")
            for key in ("mdoel", "mdl", "mod*")
        ),
        ({"enqueue": [{}, {"model": "one_layer"}]}, "enqueue[1] is the same configuration as enqueue[0]"),
        (
            {"budget": {"relative_to": {"model": "z"}, "ops": 1.0}},
            "budget.relative_to: model must be one of one_layer, float, but it is 'z'.",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_space({**plain_mixed("one_layer", "float"), **changes}, "mixed")
    text = str(caught.value)
    assert text.startswith("mixed: ")
    assert message in text
    assert "\n" not in text


def test_a_point_of_the_first_model_by_default_says_so_where_it_is_wrong() -> None:
    with pytest.raises(InvalidInput, match="of model stages, but the point is of float, the first, since it names no"):
        mixed_space("float", "stages", enqueue=[{"hidden.stage0": 1.5}])
    with pytest.raises(InvalidInput, match=f"of models one_layer and {FAMILY}, .* set model to one_layer or {FAMILY}"):
        mixed_space("float", "one_layer", FAMILY, enqueue=[{"hidden": 2}])


def test_a_point_names_no_model_where_there_is_one() -> None:
    with pytest.raises(InvalidInput, match=r"enqueue\[0\]: model chooses among several models, but small has one;"):
        small_space(enqueue=[{"model": FAMILY}])


def test_a_single_model_has_no_other_that_limits_refer_to() -> None:
    with pytest.raises(InvalidInput, match=r"names a model where a file lists several, but it names 'x' and there is"):
        small_space(FAMILY, budget={"relative_to": {"model": "x"}, "memory": 0.5})


def test_what_needs_one_model_says_which_there_are() -> None:
    with pytest.raises(InvalidInput, match="needs a space of one model, but mixed chooses among one_layer and float;"):
        ablation(mixed_space("one_layer", "float"), 3, 3)


def test_a_model_of_a_space_alone_has_its_candidates_and_the_same_limits() -> None:
    budget = {"relative_to": {"model": FAMILY}, "memory": 0.7, "latency": 0.9, "device": "avx512"}
    space = mixed_space("one_layer", FAMILY, budget=budget, enqueue=[{"model": FAMILY, "hidden": 2}, {}])
    one = of_model(space, FAMILY)
    assert (one.size, one.budget, one.device) == (space.models[1].size, space.budget, space.device)
    offset = space.models[0].size
    ids = [space.candidate(space.decode(offset + i)).id for i in range(one.size)]
    assert [one.candidate(one.decode(i)).id for i in range(one.size)] == ids
    assert one.enqueued == ({"hidden": 2, "*": "binary"},)


@pytest.mark.parametrize("name", [FAMILY_NAMES[-1], "float"])
def test_one_candidate_of_a_mixed_space_is_trained_and_kept_as_it_is(name: str) -> None:
    space = mixed_space("one_layer", FAMILY_NAMES[-1], "float")
    choices = space.complete({"model": name})
    candidate = space.candidate(choices)
    kept = parse_space(alone(space, candidate).to_plain(), "kept")
    assert (kept.size, kept.candidate(kept.decode(0)).id) == (1, candidate.id)
    one, alike = single(space, choices), of_model(space, name)
    assert one.candidate(one.enqueued[0]) == candidate
    assert one.question == alike.question  # of its model alone
    assert (one.name, one.search.trials, len(one.enqueued)) == (f"mixed-{name}-{candidate.id}", 1, 1)
    assert parse_space(one.to_plain(), "stored").fingerprint == one.fingerprint


def test_profile_counts_every_model_by_itself() -> None:
    free = mixed_space("one_layer", FAMILY_NAMES[-1], "float")
    costs = sorted(free.candidate(free.decode(i)).cost().memory_bytes for i in range(free.size))
    space = mixed_space("one_layer", FAMILY_NAMES[-1], "float", budget={"memory": costs[5]})
    found = profile(space)
    within = [not space.budget.violations(space.candidate(space.decode(i)).cost().total) for i in range(space.size)]
    start, counts = 0, []
    for model in space.models:
        counts.append(sum(within[start : start + model.size]))
        start += model.size
    assert [own.feasible for own in found.models.values()] == counts
    assert (found.feasible, found.share) == (sum(counts), sum(counts) / space.size)
    assert found.shares == {"memory": sum(counts) / space.size}
    assert len(feasible_set(space)) == sum(counts)


def test_a_small_model_is_whole_beside_one_that_is_too_large_to_enumerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feasible, "ENUMERABLE", 2000)
    monkeypatch.setattr(feasible, "SAMPLE", 500)
    each = {"groups": [{"layers": "*", "tie": "each", "choices": ["binary", "int8"]}]}
    space = parse_space(
        {
            **plain_mixed(),
            "model": [{**MODEL, "name": "large", "precision": each}, *plain_mixed("float", FAMILY)["model"]],
        },
        "large",
    )
    found = profile(space)
    large, *small = found.models.values()
    assert large.sampled
    assert 480 < large.examined < 700
    assert [own.examined for own in small] == [model.size for model in space.models[1:]]
    assert found.share == 1.0
    rows = feasible_set(space)
    assert rows.sampled
    assert (np.diff([space.encode(space.choices_of(digits)) for digits in rows.codes.tolist()]) > 0).all()
    assert rows.row_of(space.digits_of(space.complete({"model": "float"}))) == (rows.codes[:, 0] == 0).sum()
    assert large.examined <= (rows.codes[:, 0] == 0).sum() <= large.examined + small[1].size  # which is part of it
    assert set(rows.codes[:, 0]) == {0, 1}


def test_share_of_a_sampled_space_weighs_models_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feasible, "ENUMERABLE", 100)
    monkeypatch.setattr(feasible, "SAMPLE", 100)
    each = {"groups": [{"layers": "*", "tie": "each", "choices": ["binary", "fp16"]}]}
    models = [{**MODEL, "name": "large", "precision": each}, *plain_mixed("float")["model"]]
    space = parse_space({**plain_mixed(), "model": models, "budget": {"memory": "1 KiB"}}, "large")
    assert profile(space).share == 0.0
    limit = of_model(space, "float").candidate({}).cost().memory_bytes
    found = profile(parse_space({**space.to_plain(), "budget": {"memory": limit}}, "large"))
    own = found.models["large"].share
    assert own > 0
    assert math.isclose(found.share, own, rel_tol=1e-3)  # a million to one
    assert feasible_set(parse_space({**space.to_plain(), "budget": {"memory": limit}}, "large")).share == found.share


def test_neighbours_differ_in_one_choice_or_in_the_model() -> None:
    space = mixed_space("one_layer", FAMILY, "float")
    choices = space.complete({"model": FAMILY, "hidden": 2, "*": "int8"})
    found = [
        space.choices_of(digits) for digits in neighbours(space, np.array(space.digits_of(choices), np.uint8)).tolist()
    ]
    own = [other for other in found if other["model"] == FAMILY]
    assert own == [{**choices, "hidden": 1}, {**choices, "*": "binary"}]
    layer = space.models[0].base.addresses[0]
    assert [o for o in found if o not in own] == [
        {"model": "one_layer", "hidden": 2, layer: "binary"},
        {"model": "float"},
    ]
