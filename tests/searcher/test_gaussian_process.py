"""The Gaussian process against the textbook's formulas, term by term."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from searcher import gaussian_process
from searcher.gaussian_process import ADDITIVE, INTERACTION, LEVEL, NOISES, SLOPES, GaussianProcess, Points
from searcher.variables import Kind, Variable

WIDTH = Variable("hidden", Kind.HIDDEN, "hidden", (1, 2, 4), 1)
BITS = Variable("*", Kind.PRECISION, "*", ("fp16", "binary"), "binary")
PLACES = ((0, 0.5, 1), (1, 0))  # ranks of 1, 2, 4 and of fp16, binary
CODES = np.array(list(itertools.product(range(3), range(2))), np.uint8)
POINTS = Points(CODES, np.random.default_rng(0).normal(size=(6, 2)))


def _covariance(i: int, j: int) -> float:
    correlations = []
    for variable in range(2):
        r = math.sqrt(5) * abs(PLACES[variable][CODES[i, variable]] - PLACES[variable][CODES[j, variable]])
        correlations.append((1 + r + r * r / 3) * math.exp(-r))
    slopes = sum(POINTS.log_costs[i] * POINTS.log_costs[j]) / 2
    return ADDITIVE * sum(correlations) / 2 + INTERACTION * math.prod(correlations) + SLOPES * slopes + LEVEL


def _posterior(seen: list[int], values: np.ndarray, pending: list[int]) -> tuple[list[float], list[float]]:
    """Mean and deviation at all points, by Rasmussen and Williams (2.25), (2.26), under the likeliest noise."""

    def matrix(rows: list[int], columns: list[int]) -> np.ndarray:
        return np.array([[_covariance(i, j) for j in columns] for i in rows])

    best = (-math.inf, 0.0, 0.0)
    for noise in NOISES:
        inverse = np.linalg.inv(matrix(seen, seen) + noise * np.eye(len(seen)))
        count = len(seen) + 2
        scale = (values @ inverse @ values + 2) / count
        evidence = 0.5 * (
            math.log(np.linalg.det(inverse)) - count * math.log(scale) - (math.log(noise / 0.1) / 1.5) ** 2
        )
        best = max(best, (evidence, noise, scale))
    _, noise, scale = best
    every, known = list(range(6)), [*seen, *pending]
    mean = matrix(every, seen) @ np.linalg.inv(matrix(seen, seen) + noise * np.eye(len(seen))) @ values
    cross = matrix(every, known)
    left = matrix(every, every) - cross @ np.linalg.inv(matrix(known, known) + noise * np.eye(len(known))) @ cross.T
    return mean.tolist(), np.sqrt(scale * np.diag(left)).tolist()


@pytest.mark.parametrize("pending", [[], [5, 1]])
def test_posterior_equals_the_written_out_formulas(pending: list[int]) -> None:
    seen, values = [0, 3, 4], np.array([-1.2, 0.9, 0.3])
    process = GaussianProcess([WIDTH, BITS], POINTS[np.array(seen)], values, POINTS[np.array(pending, np.intp)])
    mean, deviation = process.predict(POINTS)
    expected = _posterior(seen, values, pending)
    assert mean == pytest.approx(expected[0], abs=1e-4)
    assert deviation == pytest.approx(expected[1], abs=1e-3)


def test_predictions_do_not_depend_on_chunks_and_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values, none = np.array([-1.2, 0.9, 0.3]), POINTS[np.empty(0, np.intp)]
    whole = GaussianProcess([WIDTH, BITS], POINTS[:3], values, none).predict(POINTS)
    monkeypatch.setattr(gaussian_process, "CHUNK", 4)
    monkeypatch.setattr(gaussian_process, "PART", 2)
    parted = GaussianProcess([WIDTH, BITS], POINTS[:3], values, none).predict(POINTS)
    assert np.array(parted) == pytest.approx(np.array(whole), abs=1e-5)


def test_without_values_everything_is_uncertain_and_pending_makes_it_less_so() -> None:
    none = POINTS[np.empty(0, np.intp)]
    mean, before = GaussianProcess([WIDTH, BITS], none, np.empty(0), none).predict(POINTS)
    _, after = GaussianProcess([WIDTH, BITS], none, np.empty(0), POINTS[:1]).predict(POINTS)
    assert mean.tolist() == [0] * 6
    assert (after < before).all()
    assert after.argmin() == 0


def test_positions_follow_width_and_bits_whatever_the_order_in_the_file() -> None:
    assert Variable("h", Kind.HIDDEN, "h", (3, 1, 2), 1).positions == (1, 0, 0.5)
    assert Variable("p", Kind.PRECISION, "p", ("int8", "fp32", "binary"), "binary").positions == (0.5, 1, 0)
    two_bits = Variable("p", Kind.PRECISION, "p", ("int2", "int4", "ternary"), "int2")
    assert two_bits.positions == (0.5, 1, 0)  # of equal weights the one with more bits of activations comes after
