"""The proposer: never over budget, never twice, a function of its arguments, and quicker than chance."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bhvit.families import DEFAULT_FAMILY
from searcher.evidence import Digits, TrialResult
from searcher.feasible import FeasibleSet, feasible_set
from searcher.gaussian_process import CHUNK
from searcher.proposer import MOST_EVIDENCE, Proposer, accuracies_of
from searcher.records import Outcome
from searcher.space import Space
from tests.searcher.spaces import FAMILY_NAMES, small_space

BAD = (Outcome.DIVERGED, Outcome.CRASHED, Outcome.OUT_OF_MEMORY)
WIDTHS_ONLY = {"widths": {"hidden": {"choices": [1, 1.5, 2, 2.5, 3, 3.5, 4]}}, "precision": {}}


def _budgeted(family: str = DEFAULT_FAMILY, **sections: Any) -> Space:
    free = small_space(family)
    memory = sorted(free.candidate(free.decode(i)).cost().memory_bytes for i in range(free.size))
    return small_space(family, budget={"memory": memory[17]}, **sections)


def _result(
    feasible: FeasibleSet, number: int, digits: Digits, accuracy: float = 0.5, outcome: Outcome = Outcome.COMPLETE
) -> TrialResult:
    row = feasible.row_of(digits)
    costs = (1e6, 1e6) if row is None else (float(feasible.memory_bytes[row]), float(feasible.ops[row]))
    return TrialResult(number, digits, outcome, accuracy if outcome.trained else None, (accuracy,), *costs)


def _search(proposer: Proposer, accuracy: Any, trials: int = 1000) -> list[TrialResult]:
    """Trials until none is left or `trials` are done."""
    results: list[TrialResult] = []
    while len(results) < trials and (digits := proposer.propose(len(results), results, [])) is not None:
        results.append(_result(proposer.feasible, len(results), digits, accuracy(digits)))
    return results


def _weighted(digits: Sequence[int]) -> float:
    return float(sum(d * w for d, w in zip(digits, (1, 2, 3, 4), strict=True))) / 100


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("objectives", [["accuracy"], ["accuracy", "memory", "ops"]])
def test_every_feasible_configuration_is_proposed_once_and_no_other(family: str, objectives: list[str]) -> None:
    space = _budgeted(family, search={"objectives": objectives})
    proposed = [r.digits for r in _search(Proposer(space, feasible_set(space), 0), _weighted)]
    expected = [i for i in range(space.size) if not space.budget.violations(space.candidate(space.decode(i)).cost())]
    assert sorted(space.encode(space.choices_of(d)) for d in proposed) == expected


@pytest.mark.parametrize("end", ["pending", *BAD, Outcome.STOPPED])
def test_trials_without_a_full_result_count_as_tried(end: Outcome | str) -> None:
    space = _budgeted()
    feasible = feasible_set(space)
    digits: list[Digits] = [tuple(row) for row in feasible.codes.tolist()]
    if end == "pending":
        finished, pending = [], digits[:-1]
    else:
        finished = [_result(feasible, n, d, outcome=Outcome(end)) for n, d in enumerate(digits[:-1])]
        pending = []
    assert Proposer(space, feasible, 0).propose(len(digits), finished, pending) == digits[-1]


def test_refused_trial_is_neither_tried_nor_evidence() -> None:
    space = _budgeted()
    feasible = feasible_set(space)
    refused = [
        _result(feasible, n, tuple(d), outcome=Outcome.OVER_BUDGET) for n, d in enumerate(feasible.codes.tolist())
    ]
    assert Proposer(space, feasible, 0).propose(7, refused, []) == Proposer(space, feasible, 0).propose(7, [], [])


def test_proposal_depends_on_its_arguments_and_not_on_earlier_calls() -> None:
    space = _budgeted()
    feasible = feasible_set(space)
    used = Proposer(space, feasible, 3)
    results = _search(used, _weighted, 12)
    for number in (5, 2, 11):
        for proposer in (used, Proposer(space, feasible, 3)):
            assert proposer.propose(number, results[:number], []) == results[number].digits
    assert [r.digits for r in _search(Proposer(space, feasible, 4), _weighted, 12)] != [r.digits for r in results]


def test_learns_faster_than_random() -> None:
    space = small_space(
        widths={"hidden": {"choices": [1, 1.5, 2, 2.5, 3]}, "intermediate": {"choices": [1, 2, 3, 4, 5]}},
        precision={"groups": [{"layers": "downsample*", "tie": "each", "choices": ["binary", "int8", "fp16"]}]},
    )
    target, feasible = np.array([3, 1, 0, 2, 1]), feasible_set(space)

    def best_distance(startup: int, seed: int) -> float:
        proposer = Proposer(space, feasible, seed, startup)
        found = _search(proposer, lambda d: 0.9 - float(np.abs(np.array(d) - target).sum()) / 100, 25)
        return 90 - 100 * max(r.accuracy or 0 for r in found)

    assert np.mean([best_distance(1, s) for s in range(6)]) < 0.3 * np.mean([best_distance(10**6, s) for s in range(6)])


@pytest.mark.parametrize("outcome", [Outcome.DIVERGED, Outcome.CRASHED])
def test_failed_trials_repel(outcome: Outcome) -> None:
    space = small_space(**WIDTHS_ONLY)
    feasible = feasible_set(space)
    finished = [
        _result(feasible, 0, (5,), 0.5),
        _result(feasible, 1, (0,), 0.4),
        _result(feasible, 2, (2,), outcome=outcome),
    ]
    assert Proposer(space, feasible, 0).propose(4, finished, []) in [(4,), (6,)]


def test_pending_configurations_spread_the_proposals() -> None:
    space = small_space(**WIDTHS_ONLY)
    feasible = feasible_set(space)
    proposer, pending = Proposer(space, feasible, 0, startup=0), list[Digits]()
    for number in range(3):
        digits = proposer.propose(number, [], pending)
        assert digits is not None
        pending.append(digits)
    places = sorted(d[0] for d in pending)
    assert min(b - a for a, b in itertools.pairwise(places)) >= 2


def test_widths_that_ran_out_of_memory_come_last_until_as_wide_a_trial_was_trained() -> None:
    space = small_space(precision={"groups": [{"layers": "stage0*", "choices": ["binary", "fp32"]}]})
    feasible = feasible_set(space)  # hidden 1 or 2, intermediate 1 or 0.5 (in this order), precision
    failed = _result(feasible, 0, (1, 1, 0), outcome=Outcome.OUT_OF_MEMORY)  # hidden 2, intermediate 0.5
    results = [failed]
    while len(results) < 8:
        digits = Proposer(space, feasible, 0).propose(len(results), results, [])
        assert digits is not None
        outcome = Outcome.OUT_OF_MEMORY if digits[0] == 1 else Outcome.COMPLETE
        results.append(_result(feasible, len(results), digits, outcome=outcome))
    assert [r.digits[0] for r in results] == [1, 0, 0, 0, 0, 1, 1, 1]

    refuted = [failed, _result(feasible, 1, (1, 0, 0), 0.9), _result(feasible, 2, (0, 0, 0), 0.1)]
    assert Proposer(space, feasible, 0).propose(3, refuted, []) == (1, 0, 1)


def test_trials_outside_the_feasible_set_are_evidence_but_no_bar_to_beat() -> None:
    space = _budgeted()
    feasible = feasible_set(space)
    outside = [d for i in range(space.size) if feasible.row_of(d := space.digits_of(space.decode(i))) is None]
    results = [_result(feasible, n, d, 0.9 if d[2] == 1 else 0.5) for n, d in enumerate(outside)]
    assert {d[2] for d in outside} == {0, 1, 2}
    proposed = Proposer(space, feasible, 0).propose(len(results), results, [])
    assert proposed is not None
    assert proposed[2] == 1


def test_prior_orders_the_first_trials() -> None:
    space = small_space(**WIDTHS_ONLY)
    prior = [np.array([0, 0, 0.3, 0, 0, 0, 0])]
    assert Proposer(space, feasible_set(space), 0, startup=0, prior=prior).propose(0, [], []) == (2,)


def test_with_costs_among_the_objectives_the_whole_front_is_searched() -> None:
    space = small_space(search={"objectives": ["accuracy", "memory"]})
    feasible = feasible_set(space)
    found = _search(Proposer(space, feasible, 0), lambda d: feasible.memory_bytes[feasible.row_of(d)] / 1e7, 12)
    memory = np.log([r.memory_bytes for r in found])
    low, high = np.log(feasible.memory_bytes.min()), np.log(feasible.memory_bytes.max())
    assert np.diff(np.sort([low, *memory, high])).max() < 0.25 * (high - low)


def test_failed_trials_count_as_the_worst_and_stopped_ones_as_what_they_would_have_come_to() -> None:
    def trial(number: int, curve: tuple[float, ...], outcome: Outcome = Outcome.COMPLETE) -> TrialResult:
        return TrialResult(number, (0, 0, 0, 0), outcome, max(curve, default=None), curve, 1.0, 1.0)

    complete = [trial(n, (0.4, 0.5, 0.6)) for n in range(3)]
    stopped = [trial(3, (0.4,), Outcome.STOPPED), trial(4, (0.2, 0.3), Outcome.STOPPED)]
    found = accuracies_of([*complete, *stopped, trial(5, (), Outcome.CRASHED)])[3:]
    assert 0.55 < found[0] <= 0.6
    assert found[2] == found[1] == found.min() > 0.3


def _many(count: int) -> tuple[Space, FeasibleSet]:
    space = small_space(
        precision={"groups": [{"layers": "*", "tie": "each", "choices": ["binary", "int8"]}]},
        widths={"hidden": {"choices": [1, 2, 3]}},
    )
    draw = np.random.default_rng(0)
    codes = np.unique(draw.integers(0, 2, (count, len(space.variables)), np.uint8), axis=0)
    return space, FeasibleSet(codes, *draw.uniform(1, 9, (2, len(codes))), space.size, len(codes))


def _unavoidable(rows: int, columns: int) -> float:
    """Processor time of the core of a proposal on this machine: a covariance looked up in a table, and its product."""
    draw = np.random.default_rng(0)
    table, root = draw.random((1000, columns), np.float32), draw.random((columns, columns), np.float32)
    places, start = draw.integers(1000, size=rows), time.process_time()
    for first in range(0, rows, CHUNK):
        (table[places[first : first + CHUNK]] * 2 + 1) @ root
    return time.process_time() - start


@pytest.mark.parametrize(("trials", "limit"), [(40, 30), (10_000, 1.2)])
def test_asking_among_a_hundred_thousand_is_quick(trials: int, limit: float) -> None:
    """In processor time, since the machine may be busy, and in units of what this one needs for the core of it."""
    space, feasible = _many(100_000)
    results = [
        _result(feasible, n, tuple(row), 0.5 + sum(row) / 1000)
        for n, row in enumerate(feasible.codes[:trials].tolist())
    ]
    assert (trials > MOST_EVIDENCE) == (trials == 10_000)
    proposer, times = Proposer(space, feasible, 0), []
    for number in range(trials, trials + 2):
        start = time.process_time()
        proposer.propose(number, results, [])
        times.append(time.process_time() - start)
    core = min(_unavoidable(len(feasible), min(trials, MOST_EVIDENCE)) for _ in range(3))
    assert min(times) < limit * core
