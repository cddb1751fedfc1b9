"""Importances, and what the best have in common, against truths that we made up and against Optuna's own evaluator."""

import random
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import optuna
import pytest
from rich.console import Group

from searcher.commonalities import commonalities
from searcher.importances import PENALTIES, importances
from searcher.ranking import metrics_of
from searcher.records import Outcome, TrialRecord
from searcher.space import Space
from searcher.variables import Kind
from searcher.views.console import plain_text
from searcher.views.insights import common_view, importances_view
from tests.searcher.records import record_of
from tests.searcher.studies import study_space

SPACE = study_space()
EFFECTS = {"hidden": {1: 0.0, 1.5: 0.02, 2: 0.05, 3: 0.08}, "downsample2": {"binary": 0.0, "fp16": -0.03}}


def additive(choices: dict) -> float:
    return 0.5 + sum(effects.get(choices[name], 0.0) for name, effects in EFFECTS.items())


def trials(count: int, truth: Callable[[dict], float], noise: float = 0.0, space: Space = SPACE) -> list[TrialRecord]:
    draw, records = random.Random(3), []
    for number in range(count):
        record = record_of(space, draw.randrange(space.size), Outcome.COMPLETE)
        accuracy = truth(record.choices) + draw.gauss(0, noise)
        records.append(replace(record, number=number, metrics=replace(metrics_of(record), accuracy=accuracy)))
    return records


def test_an_additive_truth_is_found_with_its_effects() -> None:
    records = trials(400, additive)
    found = importances(SPACE, records)
    assert found is not None
    assert found.explained > 0.99
    first, second, *others = found.variables
    assert (first.variable, first.best, first.worst, first.direction) == ("hidden", 3, 1, 1)
    assert first.effect == pytest.approx(0.08, abs=0.002)
    assert (second.variable, second.worst) == ("downsample2", "fp16")
    assert second.effect == pytest.approx(0.03, abs=0.002)
    levels = [EFFECTS["hidden"][r.choices["hidden"]] for r in records]
    everything = [metrics_of(r).accuracy for r in records]
    assert first.share == pytest.approx(variance(levels) / variance(everything), abs=0.01)
    assert all(v.share < 0.001 for v in others)


def variance(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / len(values)


def test_a_fit_that_foretells_little_says_that_nothing_was_learned() -> None:
    found = importances(SPACE, trials(60, lambda choices: 0.5, noise=0.05))
    assert found is not None
    text = plain_text(Group(*importances_view(found)))
    assert "Nothing was learned: an additive model of 60 complete trials foretells" in text
    assert "hidden" not in text
    assert "have less than" in importances(SPACE, trials(400, additive)).words  # type: ignore[union-attr]


def test_best_trials_that_have_nothing_in_common_are_said_to() -> None:
    found = commonalities(SPACE, trials(60, lambda choices: 0.5))
    assert found is not None
    if not found.found:
        assert "Nothing beyond what chance explains among 60" in plain_text(Group(*common_view(found)))


def test_nothing_is_learned_from_noise() -> None:
    found = importances(SPACE, trials(60, lambda choices: 0.5, noise=0.05))
    assert found is not None
    assert found.explained < 0.05


def test_cross_validated_share_is_that_of_refits_without_each_trial() -> None:
    records = trials(40, additive, noise=0.01)
    found = importances(SPACE, records)
    assert found is not None
    columns = [[float(r.choices[v.name] == c) for v in SPACE.variables for c in v.choices] for r in records]
    accuracy = np.array([metrics_of(r).accuracy for r in records])
    assert found.explained == pytest.approx(max(_left_out(np.array(columns), accuracy, p) for p in PENALTIES))


def _left_out(columns: np.ndarray, target: np.ndarray, penalty: float) -> float:
    """R² of predicting each row by a ridge regression, with an intercept, on all others."""
    errors, spread = 0.0, 0.0
    for row in range(len(target)):
        others = np.arange(len(target)) != row
        x, y = columns[others], target[others]
        centred = x - x.mean(axis=0)
        weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ (y - y.mean()))
        errors += (target[row] - y.mean() - (columns[row] - x.mean(axis=0)) @ weights) ** 2
        spread += (target[row] - y.mean()) ** 2
    return 1 - errors / spread


def test_too_few_or_equal_or_unfinished_trials_say_nothing() -> None:
    assert importances(SPACE, trials(9, additive)) is None
    assert importances(SPACE, trials(30, lambda choices: 0.5)) is None
    stopped = [replace(r, outcome=Outcome.STOPPED) for r in trials(30, additive)]
    assert importances(SPACE, stopped) is None
    assert commonalities(SPACE, []) is None


def test_optunas_evaluator_orders_the_variables_alike() -> None:
    weights = {"hidden": 0.07, f"stage*.{SPACE.base.block_parts(0)[-1]}": 0.045, "downsample1": 0.03}

    def truth(choices: dict) -> float:
        places = {v.name: v.positions[v.digit_of(choices[v.name])] for v in SPACE.variables}
        return 0.5 + sum(weight * places[name] for name, weight in weights.items())

    records = trials(1000, truth, noise=0.003)
    study = optuna.create_study(direction="maximize")
    distributions = {v.name: optuna.distributions.CategoricalDistribution(v.choices) for v in SPACE.variables}
    study.add_trials(
        optuna.trial.create_trial(params=r.choices, distributions=distributions, value=metrics_of(r).accuracy)
        for r in records
    )
    theirs = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.3).evaluate(study)
    ours = importances(SPACE, records)
    assert ours is not None
    assert [v.variable for v in ours.variables[:3]] == list(theirs)[:3] == list(weights)


def test_importances_of_ten_thousand_trials_take_a_tenth_of_a_second() -> None:
    records = trials(500, additive, noise=0.01) * 20
    start = time.process_time()
    importances(SPACE, records)
    assert time.process_time() - start < 0.3  # 0.04 s here; room for busy machines


def test_the_best_have_in_common_what_makes_them_the_best() -> None:
    records = sorted(trials(200, additive, noise=0.005), key=lambda r: -metrics_of(r).accuracy)
    found = commonalities(SPACE, records)
    assert found is not None
    assert (found.best, found.trials) == (20, 200)
    first = found.found[0]
    assert (first.variable, first.relation, first.choice) == ("hidden", "=", 3)
    best = [r.choices["hidden"] == 3 for r in records[:20]]
    assert first.best_share == sum(best) / 20
    assert first.share == sum(r.choices["hidden"] == 3 for r in records) / 200


def test_chance_has_nothing_in_common() -> None:
    said = 0
    for seed in range(40):
        records = trials(100, lambda choices: 0.5)
        random.Random(seed).shuffle(records)
        found = commonalities(SPACE, records)
        said += bool(found and found.found)
    assert said <= 4  # one in twenty


def test_a_lower_bound_is_said_as_one() -> None:
    draw = random.Random(0)
    wide = {"hidden": {1: 0.0, 1.5: 0.0, 2: 0.1, 3: 0.1}}
    records = trials(200, lambda choices: 0.5 + wide["hidden"][choices["hidden"]])
    draw.shuffle(records)
    found = commonalities(SPACE, sorted(records, key=lambda r: -metrics_of(r).accuracy))
    assert found is not None
    assert [(c.variable, c.relation, c.choice, c.best_share) for c in found.found] == [("hidden", "≥", 2, 1.0)]
    assert {v.kind for v in SPACE.variables} == {Kind.HIDDEN, Kind.INTERMEDIATE, Kind.PRECISION}
