"""The console all views print to: rich in a terminal, plain aligned text in a pipe or file."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

JSON_SCHEMA = 1  # of all views (docs/json.md): keys may be added, none is removed or given another meaning
PLAIN_WIDTH = 100_000  # a pipe has no width: nothing is cut or wrapped
CHART_WIDTH = 100  # columns of a chart in a pipe


class _Console(Console):
    """A console that draws alike whatever its stream can encode, since `fallback` replaces what that lacks."""

    @property
    def encoding(self) -> str:
        """That of all our characters."""
        return "utf-8"


class _PlainConsole(_Console):
    """A console for pipes: no line ends with spaces."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print without trailing spaces."""
        with self.capture() as captured:
            super().print(*objects, **options)
        self.file.write(re.sub(" +$", "", captured.get(), flags=re.MULTILINE))


def chart_width(options: ConsoleOptions) -> int:
    """Columns of a chart: all that there are in a terminal, `CHART_WIDTH` in a pipe."""
    return options.max_width if options.is_terminal else min(options.max_width, CHART_WIDTH)


def console(error: bool = False) -> Console:
    """A console for standard output: terminal width and colour there, wide and without escape codes elsewhere.

    With `error` it is for standard error: progress beside a result that a program reads.
    """
    if (sys.stderr if error else sys.stdout).isatty():
        return _Console(stderr=error, highlight=False, markup=False, emoji=False)
    return _PlainConsole(
        stderr=error,
        width=PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
        no_color=True,
        force_terminal=False,
        soft_wrap=True,
    )


def plain_text(renderable: RenderableType, width: int = 100) -> str:
    """What a view prints on `width` columns, for a file: no colour, no escape codes, no trailing spaces."""
    out = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False, no_color=True)
    with out.capture() as captured:
        out.print(renderable)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def table(*columns: str | tuple[str, str], title: str | None = None) -> Table:
    """An empty table; a column is a heading, or a heading and its justification (`right`).

    In a pipe it has no rules, so that grep and awk see one row a line.
    """
    terminal = sys.stdout.isatty()
    result = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD if terminal else None,
        pad_edge=False,
        collapse_padding=terminal,
        show_edge=False,
        header_style="bold",
    )
    for column in columns:
        heading, justify = (column, "left") if isinstance(column, str) else column
        figures = justify == "right"
        result.add_column(heading, justify="right" if figures else "left", no_wrap=figures, overflow="fold")
    return result


def plain_rows(head: Sequence[str], rows: Sequence[Sequence[str]], figures: Collection[int] = ()) -> Text:
    """A table for a pipe, one row a line however long it is; the columns in `figures` are justified to the right.

    An empty cell is `-`, so that every row has the same columns.
    """
    lines = [list(head), *([cell or "-" for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]

    def padded(column: int, cell: str) -> str:
        space = " " * (widths[column] - cell_len(cell))
        return space + cell if column in figures else cell + space

    return Text("\n".join("  ".join(padded(i, cell) for i, cell in enumerate(line)).rstrip() for line in lines))


def one_word(text: str) -> str:
    """An amount without the space before its unit, for a pipe, so that awk sees one column."""
    return text.replace(" ", "")


def print_json(view: str, data: Mapping[str, Any]) -> None:
    """Write what the command `view` shows to standard output as JSON."""
    print(json_text(view, data), end="")


def json_text(view: str, data: Mapping[str, Any]) -> str:
    """What the command `view` shows as JSON, with the version of its form.

    A line a key, and in lists of mappings, such as trials, a line an item: grep finds one, and thousands are fast.
    """
    whole = {"view": view, "schema": JSON_SCHEMA, **data}
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {_json(value)}" for key, value in whole.items()) + "\n}\n"


def _json(value: Any) -> str:
    if not (isinstance(value, list | tuple) and value and isinstance(value[0], Mapping)):
        return json.dumps(value, allow_nan=False)
    return "[\n" + ",\n".join(f"  {json.dumps(item, allow_nan=False)}" for item in value) + "\n ]"
