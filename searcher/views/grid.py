"""Rows in columns that fit a width exactly: cheap enough to be drawn every second, a line a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

GAP = 2  # columns between two cells
Cell = str | Text


@dataclass(frozen=True)
class Column:
    """A column at least `least` wide (so that it keeps its place as figures change).

    Where the width is too small, one with `cut` is cut to so many columns, then those of the highest `rank` are left
    out, then the gaps become narrower, from the left, then it is cut further.
    """

    heading: str
    right: bool = False
    least: int = 0
    rank: int = 0
    cut: int = 0


def grid(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[Text]:
    """A bold line of headings and a line a row, each at most `width` wide."""
    widths = [max(c.least, len(c.heading), *(cell_width(r[i]) for r in rows), 0) for i, c in enumerate(columns)]
    needed = [min(w, max(c.cut, len(c.heading))) if c.cut else w for c, w in zip(columns, widths, strict=True)]
    shown = list(range(len(columns)))
    while sum(needed[i] + GAP for i in shown) - GAP > width and any(columns[i].rank for i in shown):
        shown.remove(max(shown, key=lambda i: (columns[i].rank, i)))
    missing = sum(needed[i] + GAP for i in shown) - GAP - width
    gaps = [GAP - (place < missing) for place in range(len(shown))]
    free = width - sum(needed[i] + gap for i, gap in zip(shown, gaps, strict=True)) + gaps[-1]
    for i in shown:
        if columns[i].cut:
            widths[i] = max(len(columns[i].heading), min(widths[i], needed[i] + free))
            free -= widths[i] - needed[i]
    head = [Text(c.heading, style="bold") for c in columns]
    return [_line(row, columns, shown, widths, gaps) for row in (head, *rows)]


def cell_width(cell: Cell) -> int:
    """Columns that a cell takes."""
    return cell.cell_len if isinstance(cell, Text) else Text(cell).cell_len


def _line(
    row: Sequence[Cell], columns: Sequence[Column], shown: Sequence[int], widths: Sequence[int], gaps: Sequence[int]
) -> Text:
    line = Text(no_wrap=True)
    for place, i in enumerate(shown):
        cell = row[i].copy() if isinstance(row[i], Text) else Text(row[i])  # type: ignore[union-attr,arg-type]
        cell.truncate(widths[i], overflow="ellipsis")
        space = " " * (widths[i] - cell.cell_len)
        line.append(space if columns[i].right else "")
        line.append_text(cell)
        if place < len(shown) - 1:
            line.append((space if not columns[i].right else "") + " " * gaps[place])
    return line
