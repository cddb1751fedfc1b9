import pytest

from bhvit import InvalidInput
from searcher.budget import Budget
from searcher.derived import ABLATION_STEPS, ablation, single
from searcher.pruning import NoPruning
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
def test_the_ablation_widens_the_mlp_first_and_then_everything(family: str) -> None:
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
