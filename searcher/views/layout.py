"""What views are put together from: headed sections, facts with their names, two columns, commands to paste."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

UNLIMITED = 10**4  # columns
WIDE = 170  # columns of a terminal from which on two parts stand side by side


@dataclass(frozen=True)
class Beside:
    """Parts side by side on a wide terminal, else the second ones below the first."""

    left: Sequence[RenderableType]
    right: Sequence[RenderableType]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """One or two columns."""
        if not console.is_terminal or options.max_width < WIDE:
            yield Group(*self.left, *self.right)
            return
        grid = Table.grid(expand=True, padding=(0, 4, 0, 0))
        grid.add_column(ratio=1)
        grid.add_column(ratio=1)
        grid.add_row(Group(*self.left), Group(*self.right))
        yield grid


@dataclass(frozen=True)
class ColumnsThatFit:
    """The table of the columns `names`; where that is too wide for the terminal, several below each other.

    Each has as many of the columns as fit, in their order, and at least one; in a pipe they are never parted.
    """

    table: Callable[[Sequence[str]], Table]
    names: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """One or more tables."""
        rest = list(self.names)
        while rest:
            fitting = len(rest)
            while fitting > 1 and console.is_terminal and not self._fits(console, options, rest[:fitting]):
                fitting -= 1
            yield self.table(rest[:fitting])
            rest = rest[fitting:]
            if rest:
                yield ""

    def _fits(self, console: Console, options: ConsoleOptions, names: Sequence[str]) -> bool:
        unlimited = options.update(width=UNLIMITED)
        return Measurement.get(console, unlimited, self.table(names)).maximum <= options.max_width


@dataclass(frozen=True)
class WidestThatFits:
    """The first of these tables, which become narrower, that the terminal has room for; in a pipe the first.

    Several that stand one below the other are one of them.
    """

    tables: Sequence[Callable[[], Table | Group]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """What fits."""
        for make in self.tables:
            table = make()
            width = Measurement.get(console, options.update(width=UNLIMITED), table).maximum
            if width <= options.max_width or not console.is_terminal:
                break
        yield table


@dataclass(frozen=True)
class Command:
    """A command of these (quoted) words, to be pasted: in a narrow terminal on several lines that the shell joins."""

    words: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """As many words a line as fit; all of them in a pipe."""
        line = "  "
        for word, following in zip(self.words, [*self.words[1:], ""], strict=True):
            # An option stays on the line of its value.
            needed = f"{word} {following}" if word.startswith("--") else word
            if console.is_terminal and line.strip() and len(f"{line} {needed} \\") > options.max_width:
                yield Text(f"{line} \\", no_wrap=True, overflow="ignore")
                line = "     "
            line += f" {word}" if line.strip() else word
        yield Text(line, no_wrap=True, overflow="ignore")


def suggestions(program: str, rows: Iterable[tuple[str, Sequence[str]]]) -> Iterator[RenderableType]:
    """Commands of `program` with what they are good for, ready to be pasted."""
    for purpose, arguments in rows:
        yield Text(f"{purpose}:", style="dim")
        yield Command([program, *map(shlex.quote, arguments)])


def section(heading: str, *parts: RenderableType) -> tuple[RenderableType, ...]:
    """A blank line, a bold heading, and what stands under it."""
    return ("", Text(heading, style="bold"), *parts)


def facts(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Names and what is to be said of them, one below the other."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    return grid
