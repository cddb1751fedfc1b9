"""The acquisitions against their definitions, by drawing many normal numbers."""

import numpy as np
import pytest

from searcher.improvement import expected_gain, expected_improvement

DRAWS = np.random.default_rng(0).normal(size=200_000)


@pytest.mark.parametrize(("mean", "deviation"), [(0.5, 0.1), (0.3, 0.2), (0.9, 0.05), (0.2, 0.01)])
def test_expected_gain_is_the_mean_excess(mean: float, deviation: float) -> None:
    drawn = np.maximum(mean + deviation * DRAWS - 0.5, 0).mean()
    found = expected_gain(np.array([mean]), np.array([deviation]), 0.5)[0]
    assert abs(found - drawn) < 4 * deviation / len(DRAWS) ** 0.5


def test_expected_gain_orders_what_is_far_below_and_far_above() -> None:
    means = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 20.0])
    gains = expected_gain(means, np.full(6, 0.1), 0.5)
    assert (gains > 0).all()
    assert (np.diff(gains) > 0).all()
    assert gains[-1] == pytest.approx(19.5)


def test_with_accuracy_alone_improvement_is_on_the_best() -> None:
    nothing = np.empty((2, 0))
    found = expected_improvement(
        np.array([0.6, 0.4]), np.array([0.1, 0.2]), nothing, np.array([0.3, 0.55]), nothing, -2.0
    )
    assert np.allclose(found, expected_gain(np.array([0.6, 0.4]), np.array([0.1, 0.2]), 0.55))


def dominated_volume(points: np.ndarray, costs: np.ndarray, floor: float, grid: int) -> float:
    """Volume below the points, counted on a fine grid of cost cells."""
    middles = (np.arange(grid) + 0.5) / grid
    cells = np.stack(np.meshgrid(*[middles] * costs.shape[1], indexing="ij"), axis=-1).reshape(-1, costs.shape[1])
    heights = np.zeros(len(cells))
    for accuracy, cost in zip(points, costs, strict=True):
        heights = np.maximum(heights, np.where((cells >= cost).all(axis=1), max(0.0, accuracy - floor), 0.0))
    return float(heights.mean())


@pytest.mark.parametrize("quantities", [1, 2])
def test_with_costs_improvement_is_the_mean_growth_of_the_dominated_volume(quantities: int) -> None:
    draw = np.random.default_rng(quantities)
    grid = 20  # costs lie on the grid's lines, so that counting is exact
    known, known_costs = draw.uniform(0.4, 0.7, 5), draw.integers(0, grid, (5, quantities)) / grid
    costs = draw.integers(0, grid, (6, quantities)) / grid
    means, deviations = draw.uniform(0.4, 0.7, 6), draw.uniform(0.02, 0.1, 6)
    found = expected_improvement(means, deviations, costs, known, known_costs, 0.4)
    before = dominated_volume(known, known_costs, 0.4, grid)
    for i in range(6):
        growths = [
            dominated_volume(np.append(known, accuracy), np.vstack((known_costs, costs[i])), 0.4, grid) - before
            for accuracy in means[i] + deviations[i] * DRAWS[:2000]
        ]
        assert abs(found[i] - np.mean(growths)) < 4 * np.std(growths) / 2000**0.5 + 1e-6
