"""Which norms and precisions a space file may name, as its model family says."""

from typing import Any

import pytest

from bhvit import FAMILIES, PRECISIONS, Family, InvalidInput, PrecisionPlan
from bhvit.precision import PLANS
from bhvit.wording import listed
from searcher.candidate import Candidate
from searcher.model_section import KEY_OF
from searcher.sensitivity import BINARY, parts_of
from searcher.space import Space, parse_space
from searcher.yaml_file import parse_yaml
from tests.searcher.architectures import refused

of_every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
LACKING = [(f, name) for f in FAMILIES.values() for name in PRECISIONS if name not in f.config.precisions]


def space_of(family: Family, model: dict[str, Any] | None = None, **sections: Any) -> Space:
    chosen = {"family": family.name, "preset": next(iter(family.presets)), "classes": 3, **(model or {})}
    return parse_space({"model": chosen, **sections}, "rules")


@of_every_family
def test_a_file_that_names_nothing_gets_the_familys_first_norm_and_precision(family: Family) -> None:
    config = family.config
    for sections in ({}, {"precision": {}}, {"precision": {"groups": []}}):
        space = space_of(family, **sections)
        candidate = space.candidate(space.decode(0))
        assert {p.name for p in candidate.layers.values()} == {config.precisions[0]}
        assert (candidate.norm, candidate.recu) == (config.norms[0], config.released_with_recu)
        assert candidate == Candidate(family.name, candidate.architecture, candidate.plan)
        assert space.to_plain()["precision"]["default"] == config.precisions[0]


@of_every_family
def test_what_means_the_same_has_one_id(family: Family) -> None:
    preset = next(iter(family.presets.values()))
    plan = PrecisionPlan.uniform(family.config.precisions[0])
    ids = {Candidate(family.name, preset, plan, recu=recu).id for recu in (True, False)}
    assert len(ids) == (2 if "binary" in family.config.precisions else 1)
    spaces = [space_of(family, {"recu": recu}) for recu in (True, False)]
    assert {space.candidate(space.decode(0)).recu for space in spaces} == ({True, False} if len(ids) == 2 else {False})
    assert len({str(space.to_plain()) for space in spaces}) == len(ids)


@of_every_family
def test_a_norm_that_the_family_lacks_is_refused(family: Family) -> None:
    norms = listed(family.config.norms, "or")
    with pytest.raises(
        InvalidInput, match=f"rules: model: norm must be {norms} in a {family.config.title}, but it is 'group'"
    ):
        space_of(family, {"norm": "group"})


def keys_of(family: Family) -> set[str]:
    """Keys of `model:` for this family."""
    return set(space_of(family).to_plain()["model"])


FOREIGN = [(f, key) for f in FAMILIES.values() for g in FAMILIES.values() for key in sorted(keys_of(g) - keys_of(f))]


@pytest.mark.parametrize(("family", "key"), FOREIGN, ids=[f"{f.name}-{key}" for f, key in FOREIGN])
def test_a_key_of_another_family_is_refused_with_its_families(family: Family, key: str) -> None:
    owners = listed(f.name for f in FAMILIES.values() if key in keys_of(f))
    with pytest.raises(InvalidInput) as caught:
        space_of(family, {key: 7})
    text = f"unknown key in model: '{key}' (an option of {owners}, but this is a {family.name}); use one of: "
    assert str(caught.value) == f"rules: {text}{', '.join(sorted(keys_of(family)))}."


WRITTEN_OTHERWISE = [(f, field, key) for f in FAMILIES.values() for field, key in KEY_OF.items() if key in keys_of(f)]


@pytest.mark.parametrize(
    ("family", "field", "key"), WRITTEN_OTHERWISE, ids=[f"{f.name}-{key}" for f, _, key in WRITTEN_OTHERWISE]
)
def test_a_wrong_value_is_told_by_its_key_alone(family: Family, field: str, key: str) -> None:
    for value in (-1, "nonsense"):
        with pytest.raises(InvalidInput, match=rf"^rules: model\b.*\b{key}\b") as caught:
            space_of(family, {key: value})
        assert field not in str(caught.value)
    with pytest.raises(InvalidInput, match=rf"unknown key in model: '{field}' \(did you mean '{key}'\?\)"):
        space_of(family, {field: 1})


@of_every_family
def test_an_unknown_preset_is_refused_with_its_key_the_family_and_those_that_have_it(family: Family) -> None:
    with pytest.raises(InvalidInput, match=f"rules: model: unknown {family.name} preset 'huge'; use one of: "):
        space_of(family, {"preset": "huge"})
    for name in {name for other in FAMILIES.values() for name in other.presets} - set(family.presets):
        owners = listed(other.name for other in FAMILIES.values() if name in other.presets)
        text = f"rules: model: preset '{name}' is one of {owners}, but the family is {family.name}; name another"
        with pytest.raises(InvalidInput, match=text):
            space_of(family, {"preset": name})


@pytest.mark.parametrize(("family", "precision"), LACKING, ids=[f"{f.name}-{p}" for f, p in LACKING])
def test_a_precision_that_the_family_lacks_is_refused_before_anything_is_searched(
    family: Family, precision: str
) -> None:
    has, preset = family.config.precisions[0], next(iter(family.presets.values()))
    groups = {"groups": [{"layers": preset.addresses[0], "choices": [has, precision]}]}
    for section, what in (
        ({"default": precision}, "precision.default"),
        ({"default": has, **groups}, r"a choice of precision\.groups\[0\]"),
    ):
        with pytest.raises(InvalidInput, match=f"rules: layers of a .*, but {what} is {precision}; use {has}"):
            space_of(family, precision=section)


@pytest.mark.parametrize(("family", "precision"), LACKING, ids=[f"{f.name}-{p}" for f, p in LACKING])
def test_a_default_that_no_layer_gets_may_be_any(family: Family, precision: str) -> None:
    groups = [{"layers": "*", "choices": list(family.config.precisions)}]
    space = space_of(family, precision={"default": precision, "groups": groups})
    assert space.size == len(family.config.precisions)


@pytest.mark.parametrize(("family", "precision"), LACKING, ids=[f"{f.name}-{p}" for f, p in LACKING])
def test_a_candidate_of_a_precision_that_the_family_lacks_costs_nothing_but_an_error(
    family: Family, precision: str
) -> None:
    preset = next(iter(family.presets.values()))
    candidate = Candidate(family.name, preset, PrecisionPlan.uniform(precision))
    with pytest.raises(InvalidInput, match=f"but {preset.addresses[0]} is {precision}; use"):
        candidate.cost()


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@of_every_family
def test_the_remedy_for_a_plan_as_default_works_where_the_plan_does(family: Family, plan: PrecisionPlan) -> None:
    text = f"^rules: precision: default must be a precision, but {plan.name} is a plan; write "
    with pytest.raises(InvalidInput, match=text) as caught:
        space_of(family, precision={"default": plan.name})
    remedy = parse_yaml(str(caught.value).partition("write ")[2].rstrip("."), "remedy")
    preset = next(iter(family.presets.values()))
    if refused(lambda: preset.layers_of(plan)):
        assert refused(lambda: space_of(family, precision=remedy))
    else:
        space = space_of(family, precision=remedy)
        assert space.candidate(space.decode(0)).layers == preset.layers_of(plan)


@of_every_family
def test_sensitivity_to_being_binary_is_refused_where_no_layer_can_be(family: Family) -> None:
    space = space_of(family)
    if BINARY in family.config.precisions:
        assert {layers[0] for layers, _ in parts_of(space)} == set(space.base.addresses)
        return
    with pytest.raises(InvalidInput, match=f"those of a {family.config.title} can only be fp.*nothing to measure"):
        parts_of(space)
