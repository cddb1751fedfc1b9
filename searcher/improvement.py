"""How much a training is expected to improve on what is known: the acquisition, for one objective and for several.

Expected improvement: Jones et al., J. Global Optimization 13 (1998). With costs as objectives it becomes the expected
growth of the dominated volume, which is simple here because costs are known: only the accuracy is uncertain.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

MOST_EDGES = 17  # of the cells of each cost
Floats: TypeAlias = NDArray[np.float64]


def expected_improvement(means: Floats, deviations: Floats, best: Floats | float) -> Floats:
    """Expected excess of normal variables over `best`, element by element."""
    z = (means - best) / deviations
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    result: Floats = deviations * (z * _normal_cdf(z) + density)
    return result


def expected_volume_growth(
    means: Floats, deviations: Floats, costs: Floats, known: Floats, known_costs: Floats, worst: float
) -> Floats:
    """Expected growth of the volume of (accuracy above `worst`) x costs that some trial dominates.

    `costs` (configurations x quantities) are to be small and lie in 0..1; a trial dominates all that costs no less and
    is less accurate, up to cost 1. The costs of the `known` trials divide the cost space into cells, in each of which
    the best accuracy so far is constant.
    """
    edges = [_edges(column) for column in known_costs.T]
    growth = np.zeros(len(means))
    for cell in np.ndindex(*(len(e) - 1 for e in edges)):
        low = np.array([e[i] for e, i in zip(edges, cell, strict=True)])
        high = np.array([e[i + 1] for e, i in zip(edges, cell, strict=True)])
        cheaper = known[(known_costs <= low).all(axis=1)]
        best = max(worst, float(cheaper.max())) if len(cheaper) else worst
        volume = np.clip(high - np.maximum(low, costs), 0, None).prod(axis=1)
        rows = volume > 0
        growth[rows] += volume[rows] * expected_improvement(means[rows], deviations[rows], best)
    return growth


def _edges(costs: Floats) -> Floats:
    """The known costs as borders of cells; a selection of them where they are many, which coarsens the volume."""
    edges = np.unique(np.append(costs, (0.0, 1.0)))
    return edges if len(edges) <= MOST_EDGES else edges[np.linspace(0, len(edges) - 1, MOST_EDGES).astype(int)]


def _normal_cdf(z: Floats) -> Floats:
    """Of the standard normal distribution, by Abramowitz and Stegun's 7.1.26; error below 1e-7."""
    x = np.abs(z) / math.sqrt(2)
    t = 1 / (1 + 0.3275911 * x)
    polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * polynomial * np.exp(-x * x)
    result: Floats = np.where(z > 0, 1 - tail, tail)
    return result
