import random

import pytest
import yaml

from bhvit import InvalidInput, PrecisionPlan
from bhvit.precision import PRECISIONS
from searcher.budget import Budget
from searcher.derived import ABLATION_STEPS, ablation, alone, single
from searcher.precision_groups import grouped
from searcher.pruning import NoPruning
from searcher.space import parse_space
from tests.searcher.architectures import first_preset
from tests.searcher.spaces import FAMILY_NAMES, small_space


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_single_candidate_is_trained_whatever_it_costs(family: str) -> None:
    space = small_space(family, budget={"memory": 1})
    choices = space.complete({"hidden": 2})
    one = single(space, choices)
    assert (one.search.trials, one.search.pruner, one.budget) == (1, NoPruning(), Budget())
    assert one.enqueued == (choices,)
    assert one.candidate(one.enqueued[0]).id in one.name


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_ablation_widens_the_intermediate_widths_first_and_then_everything(family: str) -> None:
    space = small_space(family)
    steps = ablation(space, hidden=3, intermediate=2)
    candidates = [steps.candidate(point).architecture for point in steps.enqueued]
    assert len(candidates) == len(ABLATION_STEPS)
    assert candidates == [space.base, space.base.scaled(1, 2), space.base.scaled(3, 2)]
    layers = {p.name for point in steps.enqueued for p in steps.candidate(point).layers.values()}
    assert layers == {"binary"}


def test_an_ablation_without_a_step_is_refused() -> None:
    with pytest.raises(InvalidInput, match="the ablation needs a factor other than 1, but hidden is 1"):
        ablation(small_space(), hidden=1, intermediate=3)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("seed", range(8))
def test_space_of_one_candidate_has_exactly_that_and_trains_it_alike(family: str, seed: int) -> None:
    draw = random.Random(seed)
    space = small_space(
        family,
        precision={"default": "int8", "groups": [{"layers": "*", "tie": "each", "choices": sorted(PRECISIONS)}]},
        recipe="demo",
        data={"name": "trashnet_mini"},
        search={"seed": 5},
    )
    usual = draw.choice(sorted(PRECISIONS))  # layers differ from it here and there, so that groups of all sizes arise
    choices = {
        v.name: usual if usual in v.choices and draw.random() < seed / 8 else draw.choice(v.choices)
        for v in space.variables
    }
    candidate = space.candidate(choices)
    kept = parse_space(yaml.safe_load(alone(space, candidate).to_yaml()), "kept")
    assert kept.size == 1
    assert kept.candidate(kept.decode(0)).id == candidate.id
    assert (kept.search.seed, kept.training, kept.budget) == (5, space.training, Budget())


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_groups_of_layers_mean_the_plan_that_they_came_from(family: str) -> None:
    addresses = first_preset(family).addresses
    draw = random.Random(0)
    for _ in range(200):
        few = draw.sample(sorted(PRECISIONS), 2)
        layers = {a: PRECISIONS[draw.choices(few, (9, 1))[0]] for a in addresses}
        default, groups = grouped(layers)
        plan = PrecisionPlan(default, tuple((group.glob, group.precision) for group in groups))
        assert plan.resolve(addresses) == layers
