"""The acquisition against arithmetic written out in plain Python."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from searcher import parzen
from searcher.parzen import ParzenSettings, acquisition, good_count
from searcher.variables import Kind, Variable

WIDTH = Variable("hidden", Kind.HIDDEN, "hidden", (1, 2, 4), 1)
BITS = Variable("*", Kind.PRECISION, "*", ("fp16", "binary"), "binary")
SETTINGS = ParzenSettings(good_share=0.25, bandwidth=0.5, least_spacing=0.1, prior=2.0)


def _density(point: tuple[int, int], trials: list[tuple[int, int]]) -> float:
    """Mixture of product kernels and a uniform prior of weight 2, term by term."""
    sigma = 0.5 * max(1, len(trials)) ** (-1 / (2 + 4))
    places = ((0, 0.5, 1), (1, 0))  # ranks of 1, 2, 4 and of fp16, binary
    total = 2 * (1 / 3) * (1 / 2)
    for trial in trials:
        product = 1.0
        for at, x, y in zip(places, point, trial, strict=True):
            bells = [math.exp(-(((place - at[y]) / sigma) ** 2) / 2) + 1e-6 for place in at]
            product *= bells[x] / sum(bells)
        total += product
    return total / (len(trials) + 2)


def test_scores_equal_the_written_out_ratio_of_densities() -> None:
    points = list(itertools.product(range(3), range(2)))
    good, bad = [(2, 1)], [(0, 0), (1, 0), (0, 1)]
    codes = np.array(points, np.uint8)
    scores = acquisition([WIDTH, BITS], codes, np.array(good, np.uint8), np.array(bad, np.uint8), SETTINGS)
    expected = [math.log(_density(p, good) / _density(p, bad)) for p in points]
    assert scores == pytest.approx(expected, abs=1e-5)
    assert points[int(scores.argmax())] == (2, 1)


def test_scores_do_not_depend_on_the_chunking(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.array(list(itertools.product(range(3), range(2))), np.uint8)
    whole = acquisition([WIDTH, BITS], codes, codes[:1], codes[2:])
    monkeypatch.setattr(parzen, "CHUNK", 4)
    assert acquisition([WIDTH, BITS], codes, codes[:1], codes[2:]) == pytest.approx(whole, abs=1e-6)


def test_without_trials_every_configuration_scores_the_same() -> None:
    none = np.empty((0, 2), np.uint8)
    codes = np.array([[0, 0], [2, 1]], np.uint8)
    assert acquisition([WIDTH, BITS], codes, none, none) == pytest.approx([0, 0])


@pytest.mark.parametrize(("trials", "good"), [(1, 1), (4, 1), (5, 2), (40, 10), (1000, 25)])
def test_share_of_good_trials_rounds_up_and_is_capped(trials: int, good: int) -> None:
    assert good_count(trials, SETTINGS) == good


def test_positions_follow_width_and_bits_whatever_the_order_in_the_file() -> None:
    assert Variable("h", Kind.HIDDEN, "h", (3, 1, 2), 1).positions == (1, 0, 0.5)
    assert Variable("p", Kind.PRECISION, "p", ("int8", "fp32", "binary"), "binary").positions == (0.5, 1, 0)
