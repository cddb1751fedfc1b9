"""Spaces that choose among several models: one code for every configuration, the costs of each, and what is refused."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhvit.errors import InvalidInput
from bhvit.families import FAMILIES
from searcher import feasible
from searcher.derived import ablation, alone, of_model, single
from searcher.feasible import feasible_set, neighbours, profile
from searcher.grid import Grid
from searcher.space import load_space, parse_space
from searcher.variables import Kind
from tests.searcher.architectures import model_of, small_architecture
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


@pytest.mark.parametrize(
    ("first", "second", "remedy"),
    [
        ({"widths": {"hidden": {"choices": [1, 3]}}}, {}, "set per_stage: true in one of them."),
        (
            {"widths": {"hidden": {"choices": [1, 3], "per_stage": True}}},
            {"widths": {"hidden": {"choices": [1, 2], "per_stage": True}}},
            "set per_stage: false in one of them.",
        ),
        ({"precision": {"groups": [{"layers": "*", "choices": ["int8"]}]}}, {}, "write the layers of one as another g"),
        (
            {"precision": {"groups": [{"layers": "*", "choices": ["binary"], "tie": "each"}]}},
            {"precision": {"groups": [{"layers": "*", "choices": ["int8"], "tie": "each"}]}},
            "give the layers of one another tie.",
        ),
    ],
)
def test_variables_of_one_name_with_other_choices_are_refused_with_a_remedy_that_works(
    first: dict[str, Any], second: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(InvalidInput, match="must have the same choices in all models") as caught:
        parse_space({**plain_mixed("float"), "model": [{**MODEL, **first}, {**OTHER, **second}]}, "mixed")
    assert f"give both the same, or {remedy}" in str(caught.value)


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
GROUPS = {"groups": [{"layers": "*", "choices": ["int8", "fp16"]}]}


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
        ({"model": [OTHER, {**MODEL, "name": "other"}]}, "labels must be distinct, but model[0] and model[1] are both"),
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
        (
            {"model": [MODEL, {**OTHER, "classes": 5}]},
            "all alternatives must have the same classes, because they share",
        ),
        ({"model": [MODEL, {**OTHER, "image_size": 448}]}, "all alternatives must have the same image_size, because"),
        (
            {"model": [{**MODEL, "name": "x"}, {**OTHER, "precision": GROUPS}]},
            "* must have the same choices in all models, but x has binary, int8 and other has int8, fp16; give both",
        ),
        ({"enqueue": [{"model": "z"}]}, "enqueue[0]: model must be one of one_layer, float, but it is 'z'."),
        (
            {"enqueue": [{"model": "float", "hidden": 2}]},
            "enqueue[0]: 'hidden' is a variable of model one_layer, but the point is of float; set model to one_layer",
        ),
        (
            {"enqueue": [{"width": 2}]},
            "enqueue[0]: 'width' is no variable of model one_layer; its variables are hidden",
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
    with pytest.raises(InvalidInput, match="is a variable of model stages, but the point is of float, the first; set"):
        mixed_space("float", "stages", enqueue=[{"hidden.stage0": 1.5}])


def test_a_single_model_has_no_other_that_limits_refer_to() -> None:
    with pytest.raises(InvalidInput, match=r"names a model where a file lists several, but it names 'x' and there is"):
        small_space(FAMILY, budget={"relative_to": {"model": "x"}, "memory": 0.5})


def test_what_needs_one_model_says_which_there_are() -> None:
    with pytest.raises(InvalidInput, match="needs a space of one model, but mixed chooses among one_layer or float;"):
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
    one = single(space, choices)
    assert one.candidate(one.enqueued[0]) == candidate


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
