"""What a trial that was stopped early would have come to, judged by those that went on; no torch, no optuna."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from searcher.evidence import TrialResult

RIDGE = 0.01  # squared accuracies: pulls the slope of a gain to 0, with the weight of 4 trials that differ by 0.05


def expected_accuracies(results: Sequence[TrialResult]) -> NDArray[np.float64]:
    """The accuracy (0..1) of every trial at the end of phase 2: its own, or the expected one where it was stopped.

    NaN where a trial failed. From one epoch at which trials were stopped to the next, the gain of the best accuracy so
    far is regressed on that accuracy, over the trials that went on. Stopped trials would otherwise look far worse than
    they are, by 20 points on the tabular benchmark.
    """
    lengths = np.array([len(r.curve) if r.outcome.trained else 0 for r in results], np.intp)
    epochs = np.unique(lengths[lengths > 0])
    best = np.full((len(results), len(epochs)), np.nan)  # so far, after each of `epochs`
    for reached, length in enumerate(epochs):
        curves = [r.curve for r, own in zip(results, lengths, strict=True) if own == length]
        best[lengths == length, : reached + 1] = np.maximum.accumulate(curves, axis=1)[:, epochs[: reached + 1] - 1]
    for step in range(1, len(epochs)):
        went_on = lengths >= epochs[step]
        before, gains = best[went_on, step - 1], best[went_on, step] - best[went_on, step - 1]
        level, gain = before.mean(), gains.mean()
        slope = (before - level) @ (gains - gain) / ((before - level) @ (before - level) + RIDGE)
        stopped = ~went_on
        best[stopped, step] = best[stopped, step - 1] + gain + slope * (best[stopped, step - 1] - level)
    return best[:, -1] if len(epochs) else np.full(len(results), np.nan)
