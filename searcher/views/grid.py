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

    Where the width is too small, the `cut` one is cut to that, then columns of the highest `rank` are left out, then it
    is cut further.
    """

    heading: str
    right: bool = False
    least: int = 0
    rank: int = 0
    cut: bool = False


def grid(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[Text]:
    """A bold line of headings and a line a row, each at most `width` wide."""
    widths = [max(c.least, len(c.heading), *(cell_width(r[i]) for r in rows), 0) for i, c in enumerate(columns)]
    needed = [max(c.least, len(c.heading)) if c.cut else w for c, w in zip(columns, widths, strict=True)]
    shown = list(range(len(columns)))
    while sum(needed[i] + GAP for i in shown) - GAP > width and any(columns[i].rank for i in shown):
        shown.remove(max(shown, key=lambda i: (columns[i].rank, i)))
    free = width - sum(needed[i] + GAP for i in shown) + GAP
    for i in shown:
        if columns[i].cut:
            widths[i] = max(len(columns[i].heading), min(widths[i], needed[i] + free))
            free -= widths[i] - needed[i]
    lines = [_line([Text(c.heading, style="bold") for c in columns], columns, shown, widths)]
    return lines + [_line(row, columns, shown, widths) for row in rows]


def cell_width(cell: Cell) -> int:
    """Columns that a cell takes."""
    return cell.cell_len if isinstance(cell, Text) else Text(cell).cell_len


def _line(row: Sequence[Cell], columns: Sequence[Column], shown: Sequence[int], widths: Sequence[int]) -> Text:
    line = Text(no_wrap=True)
    for place, i in enumerate(shown):
        cell = row[i].copy() if isinstance(row[i], Text) else Text(row[i])  # type: ignore[union-attr,arg-type]
        cell.truncate(widths[i], overflow="ellipsis")
        space = " " * (widths[i] - cell.cell_len)
        line.append(space if columns[i].right else "")
        line.append_text(cell)
        if place < len(shown) - 1:
            line.append((space if not columns[i].right else "") + " " * GAP)
    return line
