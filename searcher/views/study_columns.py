"""Facts about several studies, a column a study, in as many tables below each other as the width asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from searcher.views.console import table

GAP = 2


@dataclass(frozen=True)
class StudyColumns:
    """Rows of a name and a value for each of the studies `names`; on a terminal no name of a row is ever cut.

    `figures` are justified to the right.
    """

    heading: str
    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Text | str]]]
    figures: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """One table, or several of the studies that fit beside each other."""
        label = max((len(text) for text in (self.heading, *(name for name, _ in self.rows))), default=0)
        room = options.max_width - label if console.is_terminal else 10**6
        for group in self._groups(room):
            if group[0]:
                yield ""
            result = table(self.heading, *((self.names[i], "right" if self.figures else "left") for i in group))
            result.columns[0].no_wrap = True
            for name, values in self.rows:
                result.add_row(name, *(values[i] for i in group))
            yield result

    def _groups(self, room: int) -> Iterator[list[int]]:
        group: list[int] = []
        used = 0
        for i, name in enumerate(self.names):
            width = GAP + max(len(name), *(len(values[i]) for _, values in self.rows), 0)
            if group and used + width > room:
                yield group
                group, used = [], 0
            group, used = [*group, i], used + width
        yield group
