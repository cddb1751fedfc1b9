"""The sampler and what it learns from, in spaces that choose among several models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from searcher.commonalities import commonalities
from searcher.evidence import Digits, TrialResult
from searcher.feasible import FeasibleSet, feasible_set
from searcher.gaussian_process import ADDITIVE, INTERACTION, LEVEL, MODELS, GaussianProcess, Points
from searcher.importances import importances
from searcher.proposer import Proposer
from searcher.ranking import metrics_of, ranked
from searcher.records import Outcome, TrialRecord
from searcher.space import Space
from searcher.variables import Kind, Variable
from tests.searcher.records import record_of
from tests.searcher.spaces import FAMILY_NAMES, mixed_space

MODEL = Variable("model", Kind.MODEL, "model", ("a", "b", "c"), "a")
WIDTH = Variable("hidden", Kind.HIDDEN, "hidden", (1, 2, 4), 1, models=("a", "b"))
OTHER = FAMILY_NAMES[-1]


def _space(**sections: object) -> Space:
    return mixed_space("one_layer", OTHER, "stages", "float", **sections)


def _matern(distance: float) -> float:
    r = math.sqrt(5) * distance
    return (1 + r + r * r / 3) * math.exp(-r)


def test_models_are_equally_far_apart_and_being_inactive_is_in_the_middle() -> None:
    """The prior covariance of all configurations, read off from what one observation says about the others."""
    codes = np.array([(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 3)], np.uint8)
    place = [0.0, 0.5, 1.0, 0.0, 1.0, 0.5]
    points = Points(codes, np.zeros((6, 2)))
    for seen in range(6):
        process = GaussianProcess([MODEL, WIDTH], points[np.array([seen])], np.array([1.0]), points[:0])
        mean, _ = process.predict(points)
        expected = []
        for other in range(6):
            of_model = 1.0 if codes[seen, 0] == codes[other, 0] else _matern(1)
            of_width = _matern(abs(place[seen] - place[other]))
            level = LEVEL + MODELS * (codes[seen, 0] == codes[other, 0])
            expected.append(ADDITIVE * (of_model + of_width) / 2 + INTERACTION * of_model * of_width + level)
        assert mean / mean[seen] == pytest.approx(np.array(expected) / expected[seen], abs=1e-5)


def _result(feasible: FeasibleSet, number: int, digits: Digits, accuracy: float, outcome: Outcome) -> TrialResult:
    row = feasible.row_of(digits)
    assert row is not None
    costs = float(feasible.memory_bytes[row]), float(feasible.ops[row])
    return TrialResult(number, digits, outcome, accuracy if outcome.trained else None, (accuracy,), *costs)


def _search(
    space: Space, accuracy: Callable[[Digits], float], seed: int, trials: int = 1000
) -> tuple[list[Digits], FeasibleSet]:
    feasible, results = feasible_set(space), list[TrialResult]()
    proposer = Proposer(space, feasible, seed)
    while len(results) < trials and (digits := proposer.propose(len(results), results, [])) is not None:
        results.append(_result(feasible, len(results), digits, accuracy(digits), Outcome.COMPLETE))
    return [result.digits for result in results], feasible


@pytest.mark.parametrize("objectives", [["accuracy"], ["accuracy", "memory"]])
def test_every_feasible_configuration_of_every_model_is_proposed_once(objectives: list[str]) -> None:
    free = _space()
    costs = sorted(free.candidate(free.decode(i)).cost().memory_bytes for i in range(free.size))
    space = _space(budget={"memory": costs[-5]}, search={"objectives": objectives})
    found, feasible = _search(space, lambda digits: 0.5 + sum(digits) / 100, 0)
    assert sorted(found) == [tuple(row) for row in feasible.codes.tolist()]
    assert len(found) == space.size - 4


def test_the_best_of_the_best_model_is_found_sooner_than_by_chance() -> None:
    """Models differ by an offset and each has an optimum of its own; a random order would need half of them."""
    space = _space()
    offsets = (0.02, 0.06, 0.03, 0.0)
    effects = np.random.default_rng(5).normal(0, 0.02, (len(space.variables), 8))

    def accuracy(digits: Digits) -> float:
        return 0.6 + offsets[digits[0]] + sum(effects[i, d] for i, d in enumerate(digits[1:], 1))

    best = max((space.digits_of(space.decode(i)) for i in range(space.size)), key=accuracy)
    needed = [_search(space, accuracy, seed)[0].index(best) + 1 for seed in range(8)]
    assert np.mean(needed) < space.size / 4


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.2])
def test_a_model_that_is_much_worse_does_not_disturb_the_search_of_another(gap: float) -> None:
    """The one of no choices is as dear as it is bad: nothing to conclude about what is dear in the other."""
    space = mixed_space("stages", "float")
    feasible = feasible_set(space)
    gains = np.random.default_rng(3).uniform(0.002, 0.012, len(space.variables))

    def accuracy(digits: Digits) -> float:
        if digits[0] == 1:
            return 0.6 - gap
        places = (v.places[d] for v, d in zip(space.variables[1:], digits[1:], strict=True))
        return 0.6 + float(np.dot(gains[1:], list(places)))

    start = [space.digits_of(space.complete({"model": model.label})) for model in space.models]
    best, lost = max(accuracy(tuple(row)) for row in feasible.codes.tolist()), []
    for seed in range(6):
        draw, proposer, results = np.random.default_rng(seed), Proposer(space, feasible, seed), list[TrialResult]()
        for number in range(12):
            digits = start[number] if number < 2 else proposer.propose(number, results, [])
            assert digits is not None
            measured = accuracy(digits) + draw.normal(scale=0.003)
            results.append(_result(feasible, number, digits, measured, Outcome.COMPLETE))
        lost.append(best - max(accuracy(r.digits) for r in results))
    assert np.mean(lost) < 0.003


def test_where_a_draw_is_scored_a_model_of_few_configurations_is_scored_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    space = mixed_space("stages", OTHER, "one_layer")
    feasible, scored = feasible_set(space), list[np.ndarray]()

    def scores(_: Proposer, rows: np.ndarray, *__: object) -> np.ndarray:
        scored.append(rows)
        return np.zeros(len(rows))

    monkeypatch.setattr("searcher.proposer.WORK", 15)  # with one trial learnt from: 15 of 42 configurations
    monkeypatch.setattr(Proposer, "_scores", scores)
    first = _result(feasible, 0, tuple(feasible.codes[0].tolist()), 0.0, Outcome.CRASHED)
    for number in range(1, 9):
        assert Proposer(space, feasible, 0).propose(number, [first], []) is not None
        of_model = [np.flatnonzero(feasible.codes[:, 0] == place).tolist() for place in range(3)]
        drawn = [[row for row in scored[-1].tolist() if row in rows] for rows in of_model]
        assert [len(rows) for rows in of_model] == [32, 4, 6]
        assert sorted(drawn[1]) == of_model[1]
        assert (len(drawn[0]), len(drawn[2])) == (6, 5)
        assert set(drawn[0]) < set(of_model[0][1:])


def test_widths_that_ran_out_of_memory_say_nothing_of_another_model() -> None:
    space = mixed_space(OTHER, "stages", "one_layer")
    feasible = feasible_set(space)
    narrow = space.digits_of(space.complete({"model": OTHER, "hidden": 1}))
    proposer = Proposer(space, feasible, 0)
    failed = _result(feasible, 0, narrow, 0.0, Outcome.OUT_OF_MEMORY)
    proposed = []
    for number in range(1, space.size):
        results = [failed, *(_result(feasible, n, d, 0.5, Outcome.COMPLETE) for n, d in enumerate(proposed, 1))]
        digits = proposer.propose(number, results, [])
        assert digits is not None
        proposed.append(digits)
    last = space.models[0].size - 1  # all others of this model are at least as wide
    assert {space.choices_of(digits)["model"] for digits in proposed[:-last]} == {"stages", "one_layer"}
    assert {space.choices_of(digits)["model"] for digits in proposed[-last:]} == {OTHER}


def _trained(space: Space, accuracy: Callable[[Mapping[str, object]], float], copies: int = 1) -> list[TrialRecord]:
    """Complete trials of every configuration, best first."""
    records = []
    for number in range(copies * space.size):
        record = record_of(space, number, Outcome.COMPLETE)
        metrics = replace(metrics_of(record), accuracy=accuracy(record.choices))
        records.append(replace(record, metrics=metrics))
    return ranked(records, space.budget)


def test_importance_of_a_variable_is_counted_within_the_models_that_have_it() -> None:
    space = mixed_space("one_layer", OTHER, "stages")
    layer = space.models[0].base.addresses[0]
    gains = {"one_layer": 0.1, "binary": -0.02, "fp16": 0.02}
    records = _trained(space, lambda c: 0.5 + sum(gains.get(str(c.get(name)), 0.0) for name in ("model", layer)), 5)
    found = importances(space, records)
    assert found is not None
    assert found.explained > 0.98
    model, of_layer, *others = found.variables
    assert (model.variable, model.best, model.direction) == ("model", "one_layer", 0)
    assert model.effect == pytest.approx(0.1, abs=0.01)
    assert (of_layer.variable, of_layer.best, of_layer.worst, of_layer.direction) == (layer, "fp16", "binary", 1)
    assert of_layer.effect == pytest.approx(0.04, abs=0.005)
    assert all(v.share < 0.005 for v in others)


def test_what_the_best_have_in_common_is_said_of_the_trials_that_have_the_variable() -> None:
    space = mixed_space("one_layer", OTHER, "stages")
    layer = space.models[0].base.addresses[0]
    found = commonalities(
        space,
        _trained(space, lambda c: 0.5 * (c["model"] == "one_layer") + 0.1 * (c.get(layer) in ("int4", "fp16")), 4),
    )
    assert found is not None
    assert found.best == 17
    assert [(c.variable, c.relation, c.choice, c.models) for c in found.found] == [
        ("model", "=", "one_layer", ()),
        (layer, "≥", "int4", ("one_layer",)),
    ]
    assert [(c.best_share, c.share) for c in found.found] == [(1.0, 6 / space.size), (16 / 17, 2 / 3)]


def test_a_prior_adds_nothing_for_inactive_variables() -> None:
    space = _space()
    prior = [np.zeros(len(v.choices)) for v in space.variables]
    prior[0][3] = 0.3  # the model without choices
    digits = Proposer(space, feasible_set(space), 0, startup=0, prior=prior).propose(0, [], [])
    assert digits is not None
    assert space.choices_of(digits) == {"model": "float"}
