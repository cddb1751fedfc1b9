"""A table with a column a study, in blocks of studies below each other where they do not fit side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from searcher.views.console import one_word, plain_rows, table
from searcher.views.grid import GAP, cell_width
from searcher.views.marks import BEST, STATES

MARKS = {BEST.character, *(mark.character for mark in STATES.values())}
WORDS = 30  # columns from which a value of words may go on in the next line


@dataclass(frozen=True)
class StudyColumns:
    """Rows of a label and a value a study. Every block has the labels and whole names; in a pipe there is one block.

    `figures` are justified to the right and never broken.
    """

    heading: str
    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Text | str]]]
    figures: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not console.is_terminal:
            yield self._plain()
            return
        for start, end in self._blocks(options.max_width):
            if start:
                yield ""
            yield from self._block(start, end)

    def _plain(self) -> Text:
        rows = [(label, *map(_words, values)) for label, values in self.rows if label]
        columns = range(1, 1 + len(self.names)) if self.figures else ()
        if self.figures:
            rows = [(label, *map(one_word, values)) for label, *values in rows]
        return plain_rows((self.heading or "result", *self.names), rows, columns)

    def _widths(self) -> tuple[int, list[int]]:
        """Columns that the labels need, and that each study needs."""
        labels = max(len(self.heading), *(len(label) for label, _ in self.rows))
        longest = [max(cell_width(values[i]) for _, values in self.rows) for i in range(len(self.names))]
        if not self.figures:
            longest = [min(WORDS, width) for width in longest]
        return labels, [max(len(name), width) for name, width in zip(self.names, longest, strict=True)]

    def _blocks(self, width: int) -> list[tuple[int, int]]:
        """First and last study (exclusive) of each block: as few as fit, equally large; one study is always a block."""
        labels, studies = self._widths()
        count = len(studies)
        for size in sorted({math.ceil(count / blocks) for blocks in range(1, count + 1)}, reverse=True):
            blocks = [(start, min(start + size, count)) for start in range(0, count, size)]
            if all(labels + sum(GAP + w for w in studies[start:end]) <= width for start, end in blocks):
                break
        return blocks

    def _block(self, start: int, end: int) -> RenderResult:
        result = table(self.heading, *((name, "right" if self.figures else "left") for name in self.names[start:end]))
        result.columns[0].no_wrap = True
        labels, studies = self._widths()
        for column, width in zip(result.columns, [labels, *studies[start:end]], strict=True):
            column.min_width = width
        for label, values in self.rows:
            result.add_row(label, *values[start:end])
        yield result


def _words(value: Text | str) -> str:
    """The value as a program reads it, to whom a mark would be part of the figure."""
    text = value if isinstance(value, str) else value.plain
    mark, space, words = text.partition(" ")
    return words if space and mark in MARKS else text
