"""Budgets: amounts as people write them, limits, and exactness at equality."""

from __future__ import annotations

import pytest

from bhvit.errors import InvalidInput
from searcher.budget import Budget, Violation
from searcher.quantities import format_bytes, format_ops, parse_bytes, parse_ops
from tests.searcher.spaces import FAMILY_NAMES, small_space


@pytest.mark.parametrize(
    ("text", "amount"),
    [("13.7 MiB", 13.7 * 1048576), ("1KiB", 1024), ("2 GiB", 2147483648), ("5 MB", 5e6), ("512 B", 512), (99, 99)],
)
def test_bytes_are_read_by_unit(text: str | float, amount: float) -> None:
    assert parse_bytes(text, "memory") == amount


@pytest.mark.parametrize(
    ("text", "amount"), [("400 MOPs", 4e8), ("400M", 4e8), ("2.5 GOPs", 2.5e9), ("7 KOPs", 7e3), ("12", 12)]
)
def test_ops_are_read_by_unit(text: str, amount: float) -> None:
    assert parse_ops(text, "ops") == amount


@pytest.mark.parametrize("text", ["13.7 mib", "13,7 MiB", "MiB", "13.7 MOPs", "-1 MiB", "0 MiB", "1e999 B", "nan", ""])
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="memory must be"):
        parse_bytes(text, "memory")


def test_amounts_are_shown_as_in_the_literature() -> None:
    assert format_bytes(14340000) == "13.68 MiB"
    assert format_ops(382314432.0) == "382.3 MOPs"


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("accounting", ["reported", "complete"])
def test_reference_itself_is_exactly_within_its_own_budget(family: str, accounting: str) -> None:
    section = {"relative_to": {"widths": 1.5, "precision": "int8"}, "memory": 1.0, "ops": "100%"}
    space = small_space(family, budget={**section, "accounting": accounting})
    cost = space.reference.cost(accounting).total
    assert space.budget == Budget(cost.memory_bytes, cost.ops, accounting)
    assert space.budget.violations(cost) == ()


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_one_byte_less_is_a_violation_with_both_figures(family: str) -> None:
    cost = small_space(family).candidate({"hidden": 1, "intermediate": 1, "stage0*": "binary", "stage1*": "binary"})
    total = cost.cost().total
    tight = Budget(memory=total.memory_bytes - 1, ops=total.ops)
    assert tight.violations(total) == (Violation("memory", total.memory_bytes, total.memory_bytes - 1),)


def test_share_scales_the_reference() -> None:
    whole = small_space(budget={"relative_to": {}, "memory": 1, "ops": 1}).budget
    part = small_space(budget={"relative_to": {"widths": {"hidden": 1}}, "memory": "60%", "ops": 0.25}).budget
    assert part.memory == pytest.approx(0.6 * whole.memory, rel=1e-15)
    assert part.ops == 0.25 * whole.ops


def test_amount_with_a_unit_stays_absolute_beside_shares() -> None:
    budget = small_space(budget={"relative_to": {}, "memory": 0.5, "ops": "400M"}).budget
    assert budget.ops == 4e8


def test_number_without_reference_is_bytes_and_below_one_refused() -> None:
    assert small_space(budget={"memory": 1, "ops": 4e8}).budget == Budget(1, 4e8)
    for value in (0.25, "0.25"):
        with pytest.raises(InvalidInput, match=r"memory must be at least 1 without relative_to, .* add relative_to"):
            small_space(budget={"memory": value})


def test_violation_and_budget_read_as_one_line() -> None:
    assert str(Violation("memory", 3 * 2**20, 2 * 2**20)) == "memory 3.00 MiB exceeds 2.00 MiB (+50.00%)"
    assert str(Budget(memory=2**20, ops=5e6)) == "memory <= 1.00 MiB, ops <= 5.0 MOPs (reported accounting)"
    assert str(Budget()) == "no limit (reported accounting)"
