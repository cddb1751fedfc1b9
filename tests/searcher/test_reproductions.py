"""The published rows against the cost model, the row of equal OPs against brute force, footnotes against recounts."""

from dataclasses import replace

import pytest

from bhvit import FAMILIES, Family, InvalidInput, PrecisionPlan, cost_of
from searcher.reproductions import (
    PUBLISHED_BASE,
    PUBLISHED_FACTOR,
    PUBLISHED_FAMILY,
    REPRODUCTIONS,
    Reproduction,
    Row,
    printed_cost,
    reproduction_named,
    require_fitting,
)
from tests.searcher.architectures import first_preset, small_architecture, thin_architecture

SMALL_BASE = thin_architecture([16, 32, 64, 128], [64, 128, 256, 512], num_classes=6)


def published(name: str, factor: float = PUBLISHED_FACTOR) -> Reproduction:
    """The table of the thesis' own model."""
    return reproduction_named(name, PUBLISHED_FAMILY, PUBLISHED_BASE, factor)


ROWS = [(name, row) for name in REPRODUCTIONS for row in published(name).rows]
PRINTED = {  # van Loon 2026, tables 3 and 4
    "table3": [
        ("48.26", "2548.8", 88.9),
        ("1.55", "49.3", 81.8),
        ("6.11", "176.8", 84.8),
        ("13.68", "382.3", 86.7),
        ("24.75", "1065.1", 87.8),
    ],
    "table4": [("1.55", "49.3", 81.8), ("4.39", "101.2", 83.6), ("13.68", "382.3", 86.7)],
}


@pytest.mark.parametrize("name", PRINTED)
def test_published_figures_are_those_of_the_thesis(name: str) -> None:
    rows = [row for row in published(name).rows if row.published]
    assert [(f"{r.published.mib:.2f}", f"{r.published.mops:.1f}", r.published.top1) for r in rows] == PRINTED[name]


@pytest.mark.parametrize(("name", "row"), [r for r in ROWS if r[1].published], ids=lambda v: getattr(v, "key", v))
def test_every_published_cost_is_met_to_the_printed_digit(name: str, row: Row) -> None:
    assert printed_cost(row, PUBLISHED_BASE) == (f"{row.published.mib:.2f}", f"{row.published.mops:.1f}")


def test_the_recounted_row_is_what_the_footnote_says() -> None:
    table = published("table4")
    row = table.row("intermediate")
    assert printed_cost(replace(row, published=None), PUBLISHED_BASE) == ("3.45", "100.7")
    assert "3.45 MiB and 100.7 MOPs" in table.notes[0].text


def test_the_footnotes_of_table_3_are_recounted() -> None:
    table = published("table3")
    text = " ".join(note.text for note in table.notes)
    half = cost_of(PUBLISHED_BASE, PrecisionPlan.uniform("fp16")).memory_bytes / 2**20
    assert f"{half:.2f} MiB" in text
    w3, fp = (table.row(key).candidate(PUBLISHED_FAMILY, PUBLISHED_BASE).cost().total for key in ("w3", "fp"))
    with_elementwise = [(c.ops + c.elementwise_ops) / 1e6 for c in (w3, fp)]
    assert f"{with_elementwise[0]:.0f} M against {with_elementwise[1]:.0f} M" in text
    assert f"{with_elementwise[1] / with_elementwise[0]:.1f}x fewer, not {fp.ops / w3.ops:.1f}x" in text


@pytest.mark.parametrize(
    ("base", "factor"), [(PUBLISHED_BASE, 3), (PUBLISHED_BASE, 2), (SMALL_BASE, 2), (SMALL_BASE, 3)]
)
def test_no_hidden_factor_is_closer_to_the_ops_of_the_intermediate_row(base, factor: float) -> None:
    binary = PrecisionPlan.uniform("binary")
    target = cost_of(base.scaled(intermediate=factor), binary).ops
    # Widths are multiples of at least 4 of at most 512 channels: steps of 1/256 meet every combination of them.
    scanned = {base.scaled(hidden=1 + k / 1024).embed_dims: 1 + k / 1024 for k in range(2 * 1024)}
    closest = min(abs(cost_of(base.scaled(hidden=f), binary).ops - target) for f in scanned.values())
    found = reproduction_named("table4", PUBLISHED_FAMILY, base, factor).row("equal-ops")
    assert found.intermediate == 1
    assert abs(found.candidate(PUBLISHED_FAMILY, base).cost().ops - target) == closest


def test_the_equal_ops_factor_of_the_thesis_model_is_written_with_few_decimals() -> None:
    assert published("table4").row("equal-ops").hidden == 1.718


def test_table_4_has_both_orders_of_adding() -> None:
    table = published("table4", 2)
    widths = {row.key: (row.hidden, row.intermediate) for row in table.rows if row.key != "equal-ops"}
    assert widths == {"base": (1, 1), "intermediate": (1, 2), "both": (2, 2), "hidden": (2, 1)}
    steps = {("intermediate", "base"), ("both", "intermediate"), ("hidden", "base"), ("both", "hidden")}
    assert steps | {("hidden", "intermediate"), ("equal-ops", "intermediate")} == set(table.comparisons)
    assert [row.published for row in table.rows if row.key != "base"] == [None] * 4


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_rows_have_keys_of_their_own_and_refer_to_rows_that_exist(name: str) -> None:
    table = published(name)
    keys = [row.key for row in table.rows]
    assert len(set(keys)) == len(keys)
    assert {row.over for row in table.rows} - {""} <= set(keys)
    assert {key for pair in table.comparisons for key in pair} <= set(keys)


@pytest.mark.parametrize(
    ("name", "factor", "message"),
    [
        ("tabel3", 3, r"unknown reproduction 'tabel3' \(did you mean 'table3'\?\)"),
        ("table3", 2, "--factor belongs to table4, but the widths of table3 are fixed"),
        ("table4", 1, "the factor of table4 must be above 1, but it is 1"),
    ],
)
def test_a_wrong_table_or_factor_is_refused(name: str, factor: float, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        published(name, factor)


def families_with(*precisions: str) -> list[str]:
    """Names of the families whose layers may have these."""
    return [family.name for family in FAMILIES.values() if set(precisions) <= set(family.config.precisions)]


@pytest.mark.parametrize("name", REPRODUCTIONS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_table_is_made_of_a_family_or_names_those_that_it_can_be_made_of(name: str, family: Family) -> None:
    able = families_with("binary", "fp16", "fp32")
    base = small_architecture(family.name, 96)
    if family.name in able:
        table = reproduction_named(name, family.name, base)
        require_fitting(name, table.rows, base)
        assert all(row.candidate(family.name, base).cost().ops > 0 for row in table.rows)
        return
    key, rest = ("base", ".") if name == "table4" else ("w1", ", or --rows fp.")
    with pytest.raises(InvalidInput) as caught:
        require_fitting(name, reproduction_named(name, family.name, base).rows, base)
    text = str(caught.value)
    assert text.startswith(f"{name} has rows whose precisions a {family.config.title} cannot have: {key} (binary)")
    assert text.endswith(f"; use a --model of {', '.join(able[:-1])} or {able[-1]}{rest}")


def test_rows_that_a_family_can_have_are_no_mistake() -> None:
    rows = published("table3").rows
    for family in FAMILIES:
        base = first_preset(family)
        fitting = [row.key for row in rows if row.fits(base)]
        assert fitting == ([row.key for row in rows] if family in families_with("binary") else ["fp"])
        require_fitting("table3", [row for row in rows if row.key in fitting], base)
