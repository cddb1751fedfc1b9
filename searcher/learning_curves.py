"""What a trial that was stopped early would have come to, judged by those that went on; no torch, no optuna."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from searcher.evidence import TrialResult

RIDGE = 0.01  # squared accuracies: pulls the slope of a gain to 0, with the weight of 4 trials that differ by 0.05


def expected_accuracies(results: Sequence[TrialResult]) -> list[float | None]:
    """The accuracy (0..1) at the end of phase 2 of every trial: its own, or the expected one where it was stopped.

    None where a trial failed. From one epoch at which trials were stopped to the next, the gain of the best accuracy
    so far is regressed on that accuracy, over the trials that went on. Stopped trials would otherwise look far worse
    than they are, by 20 points on the tabular benchmark.
    """
    best = {r.number: np.maximum.accumulate(r.curve) for r in results if r.outcome.trained and r.curve}
    expected = {number: float(curve[-1]) for number, curve in best.items()}
    lengths = sorted({len(curve) for curve in best.values()})
    for here, there in itertools.pairwise(lengths):
        on = np.array([(curve[here - 1], curve[there - 1]) for curve in best.values() if len(curve) >= there])
        level, gain = on[:, 0].mean(), (on[:, 1] - on[:, 0]).mean()
        apart = on[:, 0] - level
        slope = apart @ (on[:, 1] - on[:, 0] - gain) / (apart @ apart + RIDGE)
        for number, curve in best.items():
            if len(curve) <= here:
                expected[number] += gain + slope * (expected[number] - level)
    return [expected.get(r.number) for r in results]
