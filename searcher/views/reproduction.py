"""A reproduced table beside the published one, and the paired differences it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from searcher.quantities import MIB
from searcher.reproduction_report import Report, RowResult
from searcher.statistics import Mean
from searcher.views.console import table

NONE_YET = "-"


def report_view(report: Report) -> RenderableType:
    """Heading, table, paired differences, failures and footnotes."""
    pairs: list[RenderableType] = [_pairs(report), ""] if report.comparisons else []
    return Group(*heading(report), "", _rows(report), "", *pairs, *_failures(report), *_notes(report))


def heading(report: Report) -> Iterator[RenderableType]:
    """What is compared, and on what."""
    s, base = report.setting, report.setting.base
    yield Text.assemble((report.reproduction.name, "bold"), f": {report.reproduction.title} (van Loon 2026)")
    yield (
        f"{s.model_name} at {base.image_size} px, {base.num_classes} classes; {s.data.name}; recipe {s.recipe_name}, "
        f"{s.recipe.fp.epochs}+{s.recipe.qat.epochs} epochs; seeds {', '.join(map(str, s.seeds))}"
    )


def mean_text(value: Mean | None) -> str:
    """`86.7 ± 0.4`; without the deviation where there is one seed."""
    if value is None:
        return NONE_YET
    return f"{value.mean:.1f}" if value.deviation is None else f"{value.mean:.1f} ± {value.deviation:.1f}"


def interval_text(value: Mean | None) -> str:
    """The 95 % confidence interval, `-0.5 to +3.1`."""
    if value is None or value.half_width is None:
        return NONE_YET
    return f"{value.mean - value.half_width:+.1f} to {value.mean + value.half_width:+.1f}"


def signed(value: float | None, missing: str = "") -> str:
    """A difference in points with its sign."""
    return missing if value is None else f"{value:+.1f}"


def figure_text(value: float, decimals: int) -> str:
    """A cost with the paper's decimals, or three significant digits where that leaves too few."""
    return f"{value:.{decimals}f}" if value >= 1 else f"{value:.3g}"


def columns(report: Report) -> list[str]:
    """Headings of the figures; the paper's stand where they can be compared."""
    cost = ["paper"] if report.shows_cost else []
    top1 = ["paper", "diff"] if report.shows_top1 else []
    head = f"{'test' if report.split == 'test' else 'val'} Top-1"
    return ["MiB", *cost, "MOPs", *cost, head, "n", "gain", *top1]


def cells(report: Report, result: RowResult) -> list[str]:
    """The figures of one row, one for each of `columns`."""
    row, top1 = result.row, report.top1(result.row.key)
    printed, printed_top1 = report.printed(row)
    paper = ("", "") if printed is None else (f"{printed.mib:.2f}", f"{printed.mops:.1f}")
    mib, mops = ([figure] if report.shows_cost else [] for figure in paper)
    gain = report.gain(row.key, row.over) if row.over else None
    compared = [
        "" if printed_top1 is None else f"{printed_top1:.1f}",
        signed(None if top1 is None or printed_top1 is None else top1.mean - printed_top1),
    ]
    return [
        figure_text(result.cost.memory_bytes / MIB, 2),
        *mib,
        figure_text(result.cost.ops / 1e6, 1),
        *mops,
        mean_text(top1),
        str(0 if top1 is None else top1.n),
        signed(None if gain is None else gain.mean),
        *(compared if report.shows_top1 else []),
    ]


def _rows(report: Report) -> Table:
    result = table("model", *((name, "right") for name in columns(report)))
    for row in report.results:
        result.add_row(row.row.label, *cells(report, row))
    return result


def pair_columns(report: Report) -> list[str]:
    """Headings of the figures of the paired differences."""
    return ["mean", "95 % interval", "n", *(["paper"] if report.shows_top1 else [])]


def pair_cells(report: Report, key: str, over: str) -> list[str]:
    """The figures of one paired difference, one for each of `pair_columns`."""
    gain = report.gain(key, over)
    mean, n = (None, 0) if gain is None else (gain.mean, gain.n)
    figures = [signed(mean, NONE_YET), interval_text(gain), str(n)]
    return [*figures, *([signed(report.published_gain(key, over))] if report.shows_top1 else [])]


def pair_label(report: Report, key: str, over: str) -> str:
    """Both models by what they are, without the table's plus signs and marks."""
    labels = (report.by_key[k].row.label.removeprefix("+ ") for k in (key, over))
    ours, theirs = (re.sub(r" \([a-z]\)$", "", label) for label in labels)
    return f"{'both' if key == 'both' else ours} over {theirs}"


def _pairs(report: Report) -> Table:
    result = table("difference, points", *((name, "right") for name in pair_columns(report)))
    for pair in report.comparisons:
        result.add_row(pair_label(report, *pair), *pair_cells(report, *pair))
    return result


def _failures(report: Report) -> Iterator[RenderableType]:
    for line in report.failures:
        yield Text(line, style="bold")


def _notes(report: Report) -> Iterator[RenderableType]:
    for note in report.notes:
        yield Text(note, style="dim")
