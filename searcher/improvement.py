"""How much better than what has been trained a configuration may be expected to be.

With accuracy alone this is the expected improvement over the best (Jones et al., 1998). With costs as further
objectives it is the expected growth of the hypervolume that the front dominates (Emmerich et al., 2006), simpler than
in general, because costs are known before training: at every level of accuracy the front leaves some costs undominated,
and the growth is the volume of those that the configuration covers, times the chance that it reaches the level.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from searcher.grid import Floats


def expected_gain(mean: Floats, deviation: Floats, level: float) -> Floats:
    """E[max(0, Y - level)] for normal Y, elementwise; positive down to 37 standard deviations below the level."""
    at, gains = _standard_gain()
    z = (mean - level) / deviation
    gain: Floats = deviation * np.where(z > at[-1], z, np.interp(z, at, gains))
    return gain


@cache
def _standard_gain() -> tuple[Floats, Floats]:
    """Places z, and E[max(0, Y + z)] of a standard normal Y there."""
    at = np.linspace(-37.0, 8.0, 45_001)
    density = np.exp(-0.5 * at**2) / math.sqrt(2 * math.pi)
    return at, at * np.array([0.5 * math.erfc(-z / math.sqrt(2)) for z in at]) + density


def expected_improvement(
    mean: Floats, deviation: Floats, costs: Floats, tried: Floats, tried_costs: Floats, floor: float
) -> Floats:
    """Expected growth of the dominated volume for each of n configurations.

    `mean` and `deviation` describe their accuracies, `costs` is `n x k` (k <= 2, 0..1, small is good), `tried` and
    `tried_costs` are those of what has been trained. Accuracies below `floor` and costs above 1 dominate nothing.
    """
    front = _front(tried, tried_costs)
    levels, points = tried[front], tried_costs[front]  # accuracy ascends
    score, above = np.zeros(len(mean)), np.zeros(len(mean))
    for i in range(len(levels), -1, -1):
        level = max(floor, levels[i - 1]) if i else floor
        gain = expected_gain(mean, deviation, level)
        score += (gain - above) * (_volume(costs) - _covered(costs, points[i:]))
        above = gain
        if level == floor:
            break
    return score


def _front(accuracies: Floats, costs: Floats) -> NDArray[np.intp]:
    """Those that no other dominates, by ascending accuracy."""
    order = np.lexsort((*costs.T, -accuracies))  # nothing later in this order can dominate an earlier one
    kept: list[int] = []
    for i in order:
        if not any((costs[j] <= costs[i]).all() for j in kept):
            kept.append(int(i))
    return np.array(kept[::-1], np.intp)


def _volume(costs: Floats) -> Floats:
    """Volume of the costs that each row of `costs` is no dearer than, up to 1."""
    volume: Floats = np.maximum(0, 1 - costs).prod(axis=1)
    return volume


def _covered(costs: Floats, points: Floats) -> Floats:
    """How much of that volume `points` (`m x k`) cover together."""
    if not len(points):
        return np.zeros(len(costs))
    if costs.shape[1] < 2:
        return _volume(np.maximum(costs, points.min(axis=0)))
    covered = np.zeros(len(costs))
    points = points[np.argsort(points[:, 0], kind="stable")]
    ends = np.append(points[1:, 0], 1.0)
    for start, end, height in zip(points[:, 0], ends, np.minimum.accumulate(points[:, 1]), strict=True):
        width = np.maximum(costs[:, 0], end) - np.maximum(costs[:, 0], start)
        covered += width * np.maximum(0, 1 - np.maximum(costs[:, 1], height))
    return covered
