"""The rules that stop trials early, against Optuna's pruners and by hand."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState

from bhvit.errors import InvalidInput
from searcher.evidence import TrialResult
from searcher.pruning import (
    PRUNERS,
    Hyperband,
    Median,
    NoPruning,
    Pruning,
    Rank,
    SuccessiveHalving,
    comparable,
    pruning_from,
    pruning_to_plain,
)
from searcher.records import Outcome

EPOCHS = 9


def result(
    number: int, curve: tuple[float, ...], epochs: int = EPOCHS, memory: float = 1, ops: float = 1
) -> TrialResult:
    outcome = Outcome.COMPLETE if len(curve) == epochs else Outcome.STOPPED
    return TrialResult(number, (number,), outcome, max(curve), curve, memory, ops)


def failed(number: int, outcome: Outcome) -> TrialResult:
    return TrialResult(number, (number,), outcome, None, (), 1, 1)


def random_curves(trials: int, seed: int) -> np.ndarray:
    """Noisy rising accuracies on a coarse grid, so that there are ties."""
    draw = np.random.default_rng(seed)
    rise = draw.uniform(0.2, 0.6, (trials, 1)) * (
        1 - np.exp(-np.arange(1, EPOCHS + 1) / draw.uniform(1, 5, (trials, 1)))
    )
    return (rise + draw.normal(scale=0.05, size=rise.shape)).round(2).clip(0, 1)


# Optuna spares steps below n_warmup_steps; our epochs count from 1.
@pytest.mark.parametrize(
    ("rule", "pruner"),
    [
        (Median(), MedianPruner(4, 2)),
        (Median(startup_trials=1, warmup_epochs=0), MedianPruner(1, 1)),
        (SuccessiveHalving(), SuccessiveHalvingPruner(1, 3)),
        (SuccessiveHalving(2, 2), SuccessiveHalvingPruner(2, 2)),
        (Hyperband(EPOCHS), HyperbandPruner(1, EPOCHS, 3)),
        (Hyperband(8, 2, 2), HyperbandPruner(2, 8, 2)),
    ],
    ids=lambda each: str(each) if isinstance(each, Pruning) else type(each).__name__,
)
@pytest.mark.parametrize("seed", range(4))
def test_rule_decides_as_the_pruner_of_optuna_does(rule: Pruning, pruner: BasePruner, seed: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", pruner=pruner, study_name="search")
    others: list[TrialResult] = []
    for number, curve in enumerate(random_curves(60, seed)):
        trial, seen = study.ask(), []
        for accuracy in curve:
            seen.append(float(accuracy))
            trial.report(seen[-1], len(seen))
            if len(seen) == EPOCHS:
                break
            expected = trial.should_prune()
            assert rule.stops(number, seen, EPOCHS, others) is bool(expected), (number, seen)
            if expected:
                break
        others.append(result(number, tuple(seen)))
        if len(seen) == EPOCHS:
            study.tell(trial, max(seen))
        else:
            study.tell(trial, state=TrialState.PRUNED)
    stopped = sum(other.outcome is Outcome.STOPPED for other in others)
    assert 0 < stopped < len(others)


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_rule_is_read_back_as_written(name: str) -> None:
    options = {"max_epochs": 5} if name == "hyperband" else {}
    rule = pruning_from({"name": name, **options}, "search.pruner")
    assert pruning_from(pruning_to_plain(rule), "search.pruner") == rule
    assert pruning_to_plain(rule)["name"] == name


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_failed_trials_teach_no_rule_anything(name: str) -> None:
    rule = pruning_from({"name": name, **({"max_epochs": 5} if name == "hyperband" else {})}, "search.pruner")
    failures = [failed(i, outcome) for i, outcome in enumerate((Outcome.DIVERGED, Outcome.CRASHED) * 20)]
    for epoch in range(1, EPOCHS):
        assert not rule.stops(99, [0.0] * epoch, EPOCHS, failures)


def test_no_pruning_stops_nothing() -> None:
    others = [result(number, (0.9,) * EPOCHS) for number in range(50)]
    assert not NoPruning().stops(50, [0.0] * 8, EPOCHS, others)


def test_trial_is_compared_with_cheaper_ones_alone_where_costs_are_objectives() -> None:
    cheap, dear = result(0, (0.5,), memory=1, ops=9), result(1, (0.6,), memory=9, ops=1)
    assert comparable([cheap, dear], result(2, (0.5,), memory=5, ops=5), ("accuracy",)) == [cheap, dear]
    assert comparable([cheap, dear], result(2, (0.5,), memory=5, ops=5), ("accuracy", "memory")) == [cheap]
    assert comparable([cheap, dear], result(2, (0.5,), memory=5, ops=5), ("accuracy", "ops")) == [dear]
    assert comparable([cheap, dear], result(2, (0.5,), memory=5, ops=5), ("accuracy", "memory", "ops")) == []
    assert comparable([cheap, dear], result(2, (0.5,), memory=1, ops=9), ("accuracy", "memory", "ops")) == [
        cheap
    ]  # equal costs are comparable


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"name": "median", "startup_trials": 0}, "startup_trials must be at least 1, but it is 0."),
        ({"name": "hyperband", "max_epochs": 2, "min_epochs": 3}, "max_epochs must be at least 3, but it is 2."),
        ({"name": "rank", "concordance": 1.5}, "concordance must lie between 0 and 1, but it is 1.5."),
        ({"name": "successive_halving", "reduction_factor": 1}, "reduction_factor must be at least 2, but it is 1."),
    ],
)
def test_wrong_options_are_named(plain: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        pruning_from(plain, "search.pruner")


def levels(trials: int, epochs: int, least: float = 0.0) -> list[TrialResult]:
    """Complete trials of constant accuracies `least`, `least` + 0.01, ...: every epoch tells who ends well."""
    return [result(number, (least + 0.01 * number,) * epochs, epochs) for number in range(trials)]


def test_rank_keeps_the_better_half_after_an_eighth_a_quarter_and_a_half_of_the_phase() -> None:
    others = levels(5, 8)  # 0, 0.01, 0.02, 0.03, 0.04
    for epoch in range(1, 8):  # of six trials the best three go on
        assert Rank().stops(5, [0.015] * epoch, 8, others) is (epoch in (1, 2, 4))
        assert not Rank().stops(5, [0.025] * epoch, 8, others)


@pytest.mark.parametrize(
    ("rule", "epochs", "rungs"),
    [
        (Rank(), 1000, [125, 250, 500]),
        (Rank(), 10, [2, 3, 5]),
        (Rank(), 2, [1]),
        (Rank(), 1, []),
        (Rank(reduction_factor=3, rungs=2), 1000, [112, 334]),
        (Rank(reduction_factor=3, rungs=2), 8, [1, 3]),
    ],
)
def test_rank_looks_at_shares_of_the_phase(rule: Rank, epochs: int, rungs: list[int]) -> None:
    others = levels(9, epochs, 0.9)
    assert [epoch for epoch in range(1, epochs) if rule.stops(9, [0.5] * epoch, epochs, others)] == rungs


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 9, 17])
@pytest.mark.parametrize(
    "rule",
    [
        NoPruning(),
        Median(),
        Median(1, 0),
        Median(4, 3),
        Rank(),
        Rank(reduction_factor=3, rungs=2),
        SuccessiveHalving(),
        SuccessiveHalving(4),
        Hyperband(9),
        Hyperband(9, 2),
    ],
    ids=str,
)
def test_the_earliest_end_is_that_of_the_worst_trial(rule: Pruning, epochs: int) -> None:
    """Rules are asked after every epoch but the last; among 60 trials there are some of every bracket."""
    others = levels(60, epochs, 0.3)
    ends = [e for e in range(1, epochs) for number in (60, 61, 62, 63) if rule.stops(number, [0.1] * e, epochs, others)]
    assert rule.earliest(epochs) == min(ends, default=None)


def test_rank_counts_the_best_accuracy_so_far() -> None:
    others = [result(number, (0.1, 0.4 + 0.01 * number, *[0.5 + 0.01 * number] * 6), 8) for number in range(9)]
    assert not Rank().stops(9, [0.5, 0.1], 8, others)
    assert Rank().stops(9, [0.3, 0.3], 8, others)


def test_rank_compares_with_trials_that_came_as_far_stopped_ones_included() -> None:
    stopped = [result(number, (0.2, 0.2), 8) for number in range(10, 16)]
    ahead = levels(4, 8, 0.6)
    assert not Rank().stops(20, [0.5] * 2, 8, [*stopped, *ahead])  # fifth of eleven
    assert Rank().stops(20, [0.5] * 2, 8, [*stopped[:3], *ahead])  # fifth of eight


def test_rank_stops_nothing_before_enough_trials_are_complete() -> None:
    assert Rank().stops(4, [0.1] * 2, 8, levels(4, 8, 0.5))
    assert not Rank().stops(4, [0.1] * 2, 8, [*levels(3, 8, 0.5), result(3, (0.5, 0.5, 0.5), 8)])
    assert not Rank(startup_trials=5).stops(4, [0.1] * 2, 8, levels(4, 8, 0.5))


def test_rank_stops_nothing_where_the_curves_have_told_nothing() -> None:
    told = levels(6, 8, 0.5)
    reversed_at_the_end = [result(r.number, (*r.curve[:7], 0.9 - 0.01 * r.number), 8) for r in told]
    assert Rank().stops(6, [0.1] * 2, 8, told)
    assert not Rank().stops(6, [0.1] * 2, 8, reversed_at_the_end)
    assert Rank(concordance=0).stops(6, [0.1] * 2, 8, reversed_at_the_end)


def test_concordance_is_the_share_of_pairs_in_the_same_order() -> None:
    early, final = (0.1, 0.2, 0.3, 0.3), (0.5, 0.7, 0.6, 0.8)  # 4 pairs the same, 1 reversed, 1 tied: 4.5 of 6
    others = [result(number, (*[a] * 4, *[b] * 4), 8) for number, (a, b) in enumerate(zip(early, final, strict=True))]
    assert Rank(concordance=0.75).stops(4, [0.05] * 4, 8, others)
    assert not Rank(concordance=0.76).stops(4, [0.05] * 4, 8, others)


@pytest.mark.parametrize("seed", range(3))
def test_trial_as_good_as_the_best_at_every_epoch_is_never_stopped_by_rank(seed: int) -> None:
    curves = random_curves(30, seed)
    others = [result(number, tuple(curve)) for number, curve in enumerate(curves)]
    best = list(np.maximum.accumulate(curves, axis=1).max(axis=0))
    assert not any(Rank(concordance=0).stops(30, best[:epoch], EPOCHS, others) for epoch in range(1, EPOCHS))
