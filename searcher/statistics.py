"""Means, deviations and paired differences over seeds, with Student's t, and rank correlation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bhvit.errors import InvalidInput

# Two-sided 95 % quantiles of Student's t, degrees of freedom 1 to 30 (NIST/SEMATECH e-Handbook of Statistical
# Methods, section 1.3.6.7.2, column 0.975).
STUDENT_T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
MOST_SAMPLES = len(STUDENT_T_95) + 1


@dataclass(frozen=True)
class Mean:
    """The mean of `n` values, their sample standard deviation (divisor n - 1; None for one value)."""

    mean: float
    deviation: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        """Half of the 95 % confidence interval of the mean, t(n - 1) * deviation / sqrt(n); None for one value."""
        if self.deviation is None:
            return None
        return student_t_95(self.n - 1) * self.deviation / math.sqrt(self.n)


def student_t_95(degrees_of_freedom: int) -> float:
    """The t beyond which lie 2.5 % on either side; raises `InvalidInput` outside 1 to 30 degrees of freedom."""
    if not 1 <= degrees_of_freedom <= len(STUDENT_T_95):
        raise InvalidInput(
            f"degrees of freedom must be 1 to {len(STUDENT_T_95)}, but they are {degrees_of_freedom}; use 2 to "
            f"{MOST_SAMPLES} samples."
        )
    return STUDENT_T_95[degrees_of_freedom - 1]


def mean_of(values: Sequence[float]) -> Mean | None:
    """Mean and sample standard deviation; None where there is no value."""
    if not values:
        return None
    return Mean(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Mean | None:
    """Mean of `ours` - `theirs` over the seeds that both have; None where they share none.

    Pairing by seed removes what a seed does to both (order of the images, augmentation) from the deviation.
    """
    return mean_of([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's; equal values share their mean rank."""
    ranks = [(x[:, None] > x).sum(axis=1) + (x[:, None] == x).sum(axis=1) / 2 for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])
