"""The feasible set against brute force over candidates."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from searcher import feasible, grid
from searcher.feasible import feasible_set, profile
from searcher.grid import Grid
from searcher.views.space import verdict
from tests.searcher.spaces import FAMILY_NAMES, plain_space, small_space


def _every_regime(family: str, accounting: str) -> Any:
    addresses = small_space(family).base.addresses
    half = len(addresses) // 2
    groups = [
        {"layers": address, "choices": choices}
        for address, choices in zip(
            dict.fromkeys((addresses[0], addresses[half], *(a for a in addresses if a.startswith("downsample")))),
            (["fp32", "binary"], ["int8", "fp32", "fp16"], ["fp32", "binary"], ["fp16", "fp32"], ["fp32", "int4"]),
            strict=False,
        )
    ]
    precision = {"default": "fp32", "groups": groups}
    return small_space(family, precision=precision, budget={"accounting": accounting})


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("accounting", ["reported", "complete"])
@pytest.mark.parametrize("block", [2**18, 13, 1])
def test_vectorised_cost_equals_every_candidate_exactly(
    family: str, accounting: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "BLOCK", block)
    space = _every_regime(family, accounting)
    blocks = list(Grid(space).blocks())
    codes = np.concatenate([b.codes for b in blocks])
    priced = [(m, o) for b in blocks for m, o in zip(b.memory_bytes, b.ops, strict=True)]
    assert [space.encode(space.choices_of(row)) for row in codes] == list(range(space.size))
    totals = [space.candidate(space.decode(i)).cost(accounting).total for i in range(space.size)]
    assert priced == [(t.memory_bytes, t.ops) for t in totals]


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("accounting", ["reported", "complete"])
def test_configurations_given_by_hand_cost_the_same(family: str, accounting: str) -> None:
    space = _every_regime(family, accounting)
    indices = [0, 5, space.size - 1, 5]
    codes = np.array([space.digits_of(space.decode(i)) for i in indices], np.uint8)
    (block,) = Grid(space).at(codes)
    totals = [space.candidate(space.decode(i)).cost(accounting).total for i in indices]
    assert list(zip(block.memory_bytes, block.ops, strict=True)) == [(t.memory_bytes, t.ops) for t in totals]


def test_per_stage_widths_are_costed_like_candidates() -> None:
    widths = {"hidden": {"choices": [1, 0.5], "per_stage": True}, "intermediate": {"choices": [1, 3]}}
    space = small_space(widths=widths, precision={})
    (block,) = Grid(space).blocks()
    totals = [space.candidate(space.decode(i)).cost().total for i in range(space.size)]
    assert list(zip(block.memory_bytes, block.ops, strict=True)) == [(t.memory_bytes, t.ops) for t in totals]


def test_grids_know_that_layer_norms_take_in_no_weight_scales() -> None:
    complete = {"precision": {}, "budget": {"accounting": "complete"}}
    model = plain_space()["model"]
    batch, layer = (small_space(model={**model, "norm": norm}, **complete) for norm in ("batch", "layer"))
    (block,), (less,) = Grid(layer).blocks(), Grid(batch).blocks()
    totals = [layer.candidate(layer.decode(i)).cost("complete").total for i in range(layer.size)]
    assert list(block.memory_bytes) == [t.memory_bytes for t in totals]
    assert all(block.memory_bytes > less.memory_bytes)


def _half_budget(family: str) -> dict[str, Any]:
    totals = [small_space(family).candidate(small_space(family).decode(i)).cost().total for i in range(36)]
    memory, operations = sorted(t.memory_bytes for t in totals), sorted(t.ops for t in totals)
    return {"memory": memory[20], "ops": operations[14]}


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_feasible_set_is_what_brute_force_finds(family: str) -> None:
    space = small_space(family, budget=_half_budget(family))
    found = feasible_set(space)
    costs = [space.candidate(space.decode(i)).cost().total for i in range(space.size)]
    expected = [i for i, cost in enumerate(costs) if not space.budget.violations(cost)]
    assert 0 < len(expected) < space.size
    assert [space.encode(space.choices_of(row)) for row in found.codes] == expected
    assert list(found.ops) == [costs[i].ops for i in expected]
    assert not found.sampled


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_row_of_finds_feasible_configurations_only(family: str) -> None:
    space = small_space(family, budget=_half_budget(family))
    found = feasible_set(space)
    for index in range(space.size):
        digits = space.digits_of(space.decode(index))
        within = not space.budget.violations(space.candidate(space.decode(index)).cost().total)
        row = found.row_of(digits)
        assert (row is not None) == within
        assert row is None or tuple(found.codes[row]) == digits


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_profile_counts_and_ranges_are_those_of_all_candidates(family: str) -> None:
    budget = _half_budget(family)
    space = small_space(family, budget=budget)
    totals = [space.candidate(space.decode(i)).cost().total for i in range(36)]
    seen = profile(space)
    memory = np.array([t.memory_bytes for t in totals])
    operations = np.array([t.ops for t in totals])
    assert (seen.size, seen.examined, seen.feasible) == (36, 36, len(feasible_set(space)))
    assert (seen.memory_bytes.minimum, seen.memory_bytes.median) == (memory.min(), np.median(memory))
    assert (seen.ops.median, seen.ops.maximum) == (np.median(operations), operations.max())
    alone = {"memory": (memory <= budget["memory"]).mean(), "ops": (operations <= budget["ops"]).mean()}
    assert seen.shares == pytest.approx(alone)
    assert seen.binds == min(alone, key=alone.__getitem__)


def test_unsatisfiable_and_unlimited_spaces_say_so() -> None:
    assert not profile(small_space(budget={"memory": "1 B"})).satisfiable
    assert profile(small_space()).binds is None
    assert profile(small_space()).share == 1


def test_large_space_is_sampled_without_repeats_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feasible, "SAMPLE", 2000)
    groups = [{"layers": "*", "tie": "each", "choices": ["binary", "int4", "int8"]}]
    space = small_space(precision={"groups": groups})
    assert space.size == 4 * 3 ** len(space.base.addresses)
    found = feasible_set(space)
    assert found.sampled
    assert profile(space).sampled
    extra = 2 * (len(space.variables) * 2 + 2)  # at most: around the cheapest in memory and in OPs
    assert 1990 <= found.examined == len({tuple(row) for row in found.codes}) <= 2000 + extra
    row = found.codes[700]
    total = space.candidate(space.choices_of(row)).cost().total
    assert (found.memory_bytes[700], found.ops[700]) == (total.memory_bytes, total.ops)
    assert found.row_of(tuple(row.tolist())) == 700
    shares = [(found.codes[:, i] == 0).mean() for i in range(2, found.codes.shape[1])]
    assert np.allclose(shares, 1 / 3, atol=0.06)  # 0.06 is more than five standard deviations


def _sampled_space(**sections: Any) -> Any:
    groups = [{"layers": "*", "tie": "each", "choices": ["int8", "fp16", "binary"]}]
    return small_space(precision={"groups": groups}, **sections)


NARROW = {"hidden": 1, "intermediate": 0.5}


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feasible, "SAMPLE", 500)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("accounting", ["reported", "complete"])
def test_minimum_of_a_sampled_space_is_that_of_all_configurations(
    family: str, accounting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces = [_every_regime(family, accounting), small_space(family, budget={"accounting": accounting})]
    everything = [profile(space) for space in spaces]
    monkeypatch.setattr(feasible, "ENUMERABLE", 1)
    monkeypatch.setattr(feasible, "SAMPLE", 1)
    for space, whole in zip(spaces, everything, strict=True):
        seen = profile(space)
        assert seen.sampled
        assert (seen.memory_bytes.minimum, seen.ops.minimum) == (whole.memory_bytes.minimum, whole.ops.minimum)


@pytest.mark.usefixtures("small_sample")
def test_budget_that_only_the_cheapest_and_some_neighbours_meet_is_met_in_a_sample() -> None:
    free = _sampled_space()
    cheapest = free.candidate(free.complete({**NARROW, "*": "binary"})).cost().total
    one_int8 = free.candidate(free.complete({**NARROW, free.base.addresses[1]: "int8"})).cost().total
    space = _sampled_space(budget={"memory": one_int8.memory_bytes, "ops": one_int8.ops})
    found = feasible_set(space)
    digits = space.digits_of(space.complete({**NARROW, free.base.addresses[1]: "int8"}))
    assert found.row_of(digits) is not None
    assert found.row_of(space.digits_of(space.complete(NARROW))) is not None
    assert len(found) < 2 * len(space.variables)  # the uniform draw holds none
    assert (profile(space).memory_bytes.minimum, profile(space).ops.minimum) == (cheapest.memory_bytes, cheapest.ops)


@pytest.mark.usefixtures("small_sample")
def test_enqueued_point_is_examined_in_a_sampled_space() -> None:
    point = {"hidden": 2, "stage1.*": "int8", "stage3.*": "fp16"}
    space = _sampled_space(enqueue=[point])
    assert feasible_set(space).row_of(space.digits_of(space.enqueued[0])) is not None
    assert feasible_set(_sampled_space()).row_of(space.digits_of(space.enqueued[0])) is None


@pytest.mark.usefixtures("small_sample")
def test_sampled_space_cannot_meet_its_budget_only_where_the_cheapest_exceeds_it() -> None:
    cheapest = profile(_sampled_space()).memory_bytes.minimum
    over = _sampled_space(budget={"memory": cheapest - 1})
    lines = list(verdict(over, profile(over)))
    assert "cannot be met" in lines[0]
    assert "even the smallest candidate" in lines[1]
    # As if the cheapest in memory and the cheapest in OPs kept one limit each and nothing examined kept both.
    missed = dataclasses.replace(profile(_sampled_space()), feasible=0)
    (line,) = verdict(_sampled_space(budget={"memory": cheapest}), missed)
    assert f"None of {missed.examined:,} sampled configurations is within the budget" in line
    assert "cannot be met" not in line


def test_single_candidate_is_a_set_of_one() -> None:
    space = small_space(widths={}, precision={})
    assert (len(feasible_set(space)), feasible_set(space).row_of(())) == (1, 0)
