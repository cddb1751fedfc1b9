"""What stopped trials would have come to."""

from __future__ import annotations

import numpy as np
import pytest

from searcher.evidence import TrialResult
from searcher.learning_curves import RIDGE, expected_accuracies
from searcher.records import Outcome


def result(number: int, *curve: float, epochs: int) -> TrialResult:
    outcome = Outcome.COMPLETE if len(curve) == epochs else Outcome.STOPPED
    return TrialResult(number, (number,), outcome, max(curve), curve, 1, 1)


def test_complete_trials_keep_their_accuracy_and_failed_ones_have_none() -> None:
    failed = TrialResult(1, (1,), Outcome.DIVERGED, None, (), 1, 1)
    np.testing.assert_array_equal(expected_accuracies([result(0, 0.3, 0.6, 0.5, epochs=3), failed]), [0.6, np.nan])
    np.testing.assert_array_equal(expected_accuracies([failed]), [np.nan])
    assert expected_accuracies([]).shape == (0,)


def test_stopped_trial_gains_what_those_of_its_level_gained() -> None:
    results = [result(0, 0.3, 0.5, epochs=2), result(1, 0.3, 0.7, epochs=2), result(2, 0.3, epochs=2)]
    assert expected_accuracies(results)[2] == pytest.approx(0.3 + (0.2 + 0.4) / 2)


def test_trial_stopped_first_gains_step_by_step() -> None:
    results = [
        result(0, 0.3, 0.4, 0.6, epochs=3),
        result(1, 0.3, 0.4, epochs=3),
        result(2, 0.3, epochs=3),
    ]
    assert expected_accuracies(results)[1:] == pytest.approx([0.6, 0.6])


def test_gain_depends_on_the_level_as_ridge_regression_has_it() -> None:
    levels, gains = np.array([0.2, 0.4, 0.5]), np.array([0.4, 0.3, 0.2])
    results = [result(i, a, a + g, epochs=2) for i, (a, g) in enumerate(zip(levels, gains, strict=True))]
    results.append(result(3, 0.1, epochs=2))
    design = np.stack((np.ones(3), levels - levels.mean()), axis=1)
    solution = np.linalg.solve(design.T @ design + np.diag([0, RIDGE]), design.T @ gains)
    assert expected_accuracies(results)[3] == pytest.approx(0.1 + solution @ (1, 0.1 - levels.mean()))


def test_best_epoch_so_far_counts_not_the_last() -> None:
    results = [result(0, 0.4, 0.2, 0.5, epochs=3), result(1, 0.4, 0.2, epochs=3)]
    assert expected_accuracies(results)[1] == pytest.approx(0.5)
