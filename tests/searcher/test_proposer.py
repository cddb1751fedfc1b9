"""What is proposed: only what is within the budget, nothing twice, the same for the same results."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from searcher.evidence import Digits, TrialResult
from searcher.feasible import feasible_set
from searcher.proposer import Proposer, accuracies_of
from searcher.records import Outcome
from searcher.space import Space
from tests.searcher.spaces import FAMILY_NAMES, small_space


def half_feasible(family: str = "bhvit", **search: object) -> Space:
    free = small_space(family)
    memory = sorted(free.candidate(free.decode(i)).cost().memory_bytes for i in range(free.size))
    return small_space(family, budget={"memory": memory[17]}, search=search)


def result(space: Space, number: int, digits: Digits, accuracy: float | None = 0.5, **other: object) -> TrialResult:
    cost = space.candidate(space.choices_of(digits)).cost().total
    outcome = Outcome.COMPLETE if accuracy is not None else Outcome.CRASHED
    values = {"outcome": outcome, "curve": () if accuracy is None else (accuracy,), **other}
    return TrialResult(number, digits, accuracy=accuracy, memory_bytes=cost.memory_bytes, ops=cost.ops, **values)


def searched(space: Space, accuracy, trials: int = 100, lookahead: int = 1, seed: int = 0) -> list[TrialResult]:
    """Results of a whole search by `accuracy(digits)`."""
    proposer = Proposer(space, feasible_set(space), seed)
    results: list[TrialResult] = []
    while len(results) < trials:
        horizon = max(0, len(results) - lookahead + 1)
        pending = [r.digits for r in results[horizon:]]
        digits = proposer.propose(len(results), results[:horizon], pending)
        if digits is None:
            return results
        results.append(result(space, len(results), digits, accuracy(digits)))
    return results


def by_sum(digits: Digits) -> float:
    return 0.3 + 0.05 * sum(digits)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("lookahead", [1, 5])
def test_every_feasible_configuration_is_proposed_once_and_nothing_else(family: str, lookahead: int) -> None:
    space = half_feasible(family)
    found = [r.digits for r in searched(space, by_sum, lookahead=lookahead)]
    within = [
        digits
        for digits in itertools.product(*(range(len(v.choices)) for v in space.variables))
        if not space.budget.violations(space.candidate(space.choices_of(digits)).cost().total)
    ]
    assert sorted(found) == sorted(within)
    assert len(found) == 18


def test_the_best_is_found_sooner_than_by_chance() -> None:
    space = half_feasible()
    draw = random.Random(1)
    ranks = []
    for seed in range(10):
        values = {r.digits: r.accuracy for r in searched(space, by_sum)}
        best = max(values, key=lambda d: (values[d], d))
        order = [r.digits for r in searched(space, lambda d: by_sum(d) + draw.gauss(0, 0.01), seed=seed)]
        ranks.append(min(order.index(d) for d in values if values[d] == values[best]))
    assert np.mean(ranks) < 7  # the mean by chance is about 9 where one is best


def test_proposals_depend_on_their_arguments_alone() -> None:
    space = half_feasible()
    results = searched(space, by_sum, 9)
    fresh = Proposer(space, feasible_set(space), 0)
    used = Proposer(space, feasible_set(space), 0)
    for horizon in (9, 3, 7):  # back and forth
        used.propose(horizon, results[:horizon], [])
    pending = [r.digits for r in results[6:]]
    assert fresh.propose(9, results[:6], pending) == used.propose(9, results[:6], pending)
    assert Proposer(space, feasible_set(space), 1).propose(0, [], []) != fresh.propose(0, [], [])


def test_pending_trials_are_not_proposed_again_and_keep_others_away() -> None:
    space = small_space()
    results = searched(space, by_sum, 8)
    proposer = Proposer(space, feasible_set(space), 0)
    first = proposer.propose(8, results, [])
    second = proposer.propose(9, results, [first])
    third = proposer.propose(10, results, [first, second])
    assert len({first, second, third}) == 3


def test_refused_trials_neither_count_as_tried_nor_as_evidence() -> None:
    space = half_feasible()
    refused = [
        result(space, n, digits, None, outcome=Outcome.OVER_BUDGET)
        for n, digits in enumerate(itertools.product(*(range(len(v.choices)) for v in space.variables)))
    ]
    proposer = Proposer(space, feasible_set(space), 0)
    assert proposer.propose(36, refused, []) == proposer.propose(36, [], [])


def test_only_failures_are_no_reason_to_stop() -> None:
    space = small_space()
    proposer = Proposer(space, feasible_set(space), 0)
    failed = [result(space, n, (0, 0, n // 3, n % 3), None) for n in range(5)]
    digits = proposer.propose(5, failed, [])
    assert digits is not None
    assert digits not in [r.digits for r in failed]


def test_failed_trials_count_as_the_worst_and_stopped_ones_as_what_they_would_have_come_to() -> None:
    space = small_space()
    complete = [result(space, n, (0, 0, n, 0), 0.6, curve=(0.4, 0.5, 0.6)) for n in range(3)]
    stopped = result(space, 3, (1, 1, 2, 2), 0.4, curve=(0.4,), outcome=Outcome.STOPPED)
    worse = result(space, 4, (1, 1, 2, 1), 0.3, curve=(0.2, 0.3), outcome=Outcome.STOPPED)
    failed = result(space, 5, (1, 1, 1, 1), None)
    found = accuracies_of([*complete, stopped, failed, worse])[3:]
    assert 0.55 < found[0] <= 0.6
    assert found[1] == found.min() == found[2] > 0.3


def test_out_of_memory_keeps_configurations_of_no_smaller_width_for_last() -> None:
    space = small_space()  # intermediate choices are 1 and 0.5, in this order

    def accuracy(digits: Digits) -> float | None:
        return None if digits[0] == 1 else by_sum(digits)

    proposer, results = Proposer(space, feasible_set(space), 0), []
    lost = (1, 1, 0, 0)  # hidden 2, intermediate 0.5
    results.append(result(space, 0, lost, None, outcome=Outcome.OUT_OF_MEMORY, peak_bytes=1e9))
    while (digits := proposer.propose(len(results), results, [])) is not None:
        results.append(result(space, len(results), digits, accuracy(digits)))
    wide = [r.digits[0] == 1 for r in results[1:]]
    assert wide == [False] * 18 + [True] * 17


def test_widths_that_were_trained_since_are_not_avoided() -> None:
    space = small_space()
    results = [
        result(space, 0, (1, 0, 2, 2), None, outcome=Outcome.OUT_OF_MEMORY),
        result(space, 1, (1, 0, 0, 0), 0.9),
        *(result(space, 2 + n, (0, 0, n, 0), 0.2) for n in range(3)),
    ]
    digits = Proposer(space, feasible_set(space), 0).propose(5, results, [])
    assert digits is not None
    assert digits[0] == 1


@pytest.mark.parametrize("objectives", [["accuracy", "memory"], ["accuracy", "memory", "ops"]])
def test_with_costs_as_objectives_the_whole_range_of_costs_is_searched(objectives: list[str]) -> None:
    space = small_space(search={"objectives": objectives})
    results = searched(space, by_sum, 18)
    memory = sorted(space.candidate(space.decode(i)).cost().memory_bytes for i in range(space.size))
    proposed = [r.memory_bytes for r in results[6:]]
    assert min(proposed) <= memory[4]
    assert max(proposed) >= memory[-8]


def test_results_beyond_the_budget_are_evidence() -> None:
    space = half_feasible()
    feasible = feasible_set(space)
    beyond = [
        digits
        for digits in itertools.product(*(range(len(v.choices)) for v in space.variables))
        if feasible.row_of(digits) is None
    ]
    results = [result(space, n, digits, 0.9 if digits[3] == 0 else 0.1) for n, digits in enumerate(beyond)]
    digits = Proposer(space, feasible, 0).propose(len(results), results, [])
    assert digits is not None
    assert digits[3] == 0
