"""The sampler among models of every family: all that is within the budget once, and nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhvit.families import FAMILIES
from searcher.evidence import Digits, TrialResult
from searcher.feasible import feasible_set
from searcher.proposer import Proposer
from searcher.records import Outcome
from searcher.space import Space
from tests.searcher.spaces import mixed_models, mixed_space

NAMES = [model["name"] for model in mixed_models()]
OBJECTIVES = (["accuracy"], ["accuracy", "memory"])


def _proposed(space: Space, seed: int) -> list[Digits]:
    """What is proposed until nothing is left, whatever comes of it; about a third of the trials fail."""
    feasible, draw = feasible_set(space), random.Random(seed)
    proposer, results = Proposer(space, feasible, seed), list[TrialResult]()
    while (digits := proposer.propose(len(results), results, [])) is not None:
        assert len(results) < len(feasible)
        row = feasible.row_of(digits)
        assert row is not None
        costs = float(feasible.memory_bytes[row]), float(feasible.ops[row])
        outcome, accuracy = draw.choice([Outcome.COMPLETE, Outcome.STOPPED, Outcome.DIVERGED]), draw.random()
        result = (accuracy, (accuracy,)) if outcome.trained else (None, ())
        results.append(TrialResult(len(results), digits, outcome, *result, *costs))
    return [result.digits for result in results]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True), st.data())
def test_every_configuration_within_the_budget_is_proposed_once_and_no_other(names: list[str], data) -> None:
    free = mixed_space(*names)
    costs = [free.candidate(free.decode(i)).cost().ops for i in range(free.size)]
    limit = data.draw(st.sampled_from(sorted(costs)))
    space = mixed_space(*names, budget={"ops": limit}, search={"objectives": data.draw(st.sampled_from(OBJECTIVES))})
    proposed = _proposed(space, data.draw(st.integers(0, 9)))
    expected = [i for i, cost in enumerate(costs) if cost <= limit]
    assert sorted(space.encode(space.choices_of(digits)) for digits in proposed) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_every_family_is_searched_beside_another(family: str) -> None:
    space = mixed_space(family, "float")
    proposed = [space.choices_of(digits) for digits in _proposed(space, 0)]
    assert sorted(choices["model"] for choices in proposed) == sorted([*[family] * (space.size - 1), "float"])
    assert len({space.candidate(choices).id for choices in proposed}) == space.size > 2
