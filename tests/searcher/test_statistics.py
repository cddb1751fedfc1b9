import math
from statistics import NormalDist

import pytest

from bhvit import InvalidInput
from searcher.statistics import STUDENT_T_95, Mean, mean_of, paired_difference, student_t_95


def beyond(t: float, df: int) -> float:
    """P(T > t) of Student's t by Simpson's rule over its density."""
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)
    steps = 2000
    h = t / steps
    weights = [1, *([4, 2] * (steps // 2 - 1)), 4, 1]
    inside = sum(w * (1 + (i * h) ** 2 / df) ** (-(df + 1) / 2) for i, w in enumerate(weights)) * scale * h / 3
    return 0.5 - inside


@pytest.mark.parametrize("df", range(1, 31))
def test_quantiles_of_student_t_leave_a_fortieth_beyond_them(df: int) -> None:
    assert beyond(student_t_95(df), df) == pytest.approx(0.025, abs=3e-5)  # t has three decimals


def test_quantiles_fall_towards_the_normal_one() -> None:
    assert sorted(STUDENT_T_95, reverse=True) == list(STUDENT_T_95)
    assert STUDENT_T_95[-1] > NormalDist().inv_cdf(0.975)


@pytest.mark.parametrize("df", [0, 31])
def test_quantiles_beyond_the_table_are_refused(df: int) -> None:
    with pytest.raises(InvalidInput, match="degrees of freedom must be 1 to 30"):
        student_t_95(df)


def test_three_seeds_by_hand() -> None:
    found = mean_of([86.0, 87.0, 88.0])
    assert found == Mean(87.0, 1.0, 3)
    assert found.half_width == pytest.approx(4.303 / math.sqrt(3))


def test_one_value_has_no_deviation_and_no_value_no_mean() -> None:
    assert mean_of([0.5]) == Mean(0.5, None, 1)
    assert Mean(0.5, None, 1).half_width is None
    assert mean_of([]) is None


def test_differences_are_paired_by_seed_and_leave_out_seeds_that_one_side_lacks() -> None:
    assert paired_difference({0: 5.0, 1: 7.0, 2: 9.0}, {1: 6.0, 2: 7.0, 3: 1.0}) == Mean(1.5, math.sqrt(0.5), 2)
    assert paired_difference({0: 5.0}, {1: 6.0}) is None
