"""Expected improvement against averages over random draws, and hypervolumes against Optuna's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from searcher.improvement import expected_gain, expected_improvement


@pytest.mark.parametrize("level", [-2.0, 0.3, 1.0, 4.0])
def test_gain_equals_the_closed_form(level: float) -> None:
    z = (0.5 - level) / 0.7
    expected = 0.7 * (z * 0.5 * math.erfc(-z / math.sqrt(2)) + math.exp(-z * z / 2) / math.sqrt(2 * math.pi))
    assert expected_gain(np.array([0.5]), np.array([0.7]), level) == pytest.approx([expected], rel=1e-3, abs=1e-9)


def test_gain_falls_but_never_to_zero_far_below_the_level() -> None:
    gains = expected_gain(np.array([-30.0, -9, -8.001, -7.999, 0, 20]), np.ones(6), 0.0)
    assert (np.diff(gains) > 0).all()
    assert gains[0] > 0
    assert gains[-1] == 20


@pytest.mark.parametrize("quantities", [0, 1, 2])
def test_improvement_equals_the_mean_growth_of_the_hypervolume(quantities: int) -> None:
    draw = np.random.default_rng(quantities)
    tried, tried_costs = draw.normal(size=8), draw.random((8, quantities))
    mean, deviation, costs = draw.normal(size=5), draw.uniform(0.2, 1, 5), draw.random((5, quantities))
    floor = -1.0
    found = expected_improvement(mean, deviation, costs, tried, tried_costs, floor)

    def volume(accuracies: np.ndarray, used: np.ndarray) -> float:
        points = np.column_stack((-accuracies, used))
        inside = points[(points[:, 0] < -floor) & (points[:, 1:] < 1).all(axis=1)]
        return float(compute_hypervolume(inside, np.array([-floor, *[1.0] * quantities]))) if len(inside) else 0.0

    before = volume(tried, tried_costs)
    quantiles = np.array([math.sqrt(2) * _inverse_erf(2 * (k + 0.5) / 400 - 1) for k in range(400)])
    for i in range(5):
        grown = [
            volume(np.append(tried, mean[i] + deviation[i] * q), np.vstack((tried_costs, costs[i]))) for q in quantiles
        ]
        assert found[i] == pytest.approx(np.mean(grown) - before, abs=2e-3)


def _inverse_erf(value: float) -> float:
    low, high = -6.0, 6.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < value else (low, middle)
    return low


def test_without_anything_tried_only_the_floor_is_to_be_beaten() -> None:
    mean, deviation = np.array([0.0, 1.0]), np.array([0.1, 0.1])
    nothing = np.empty((2, 0))
    assert expected_improvement(mean, deviation, nothing, np.empty(0), np.empty((0, 0)), -2.0) == pytest.approx([2, 3])
