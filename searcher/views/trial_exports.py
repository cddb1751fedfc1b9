"""Trials as rows for other programs and for papers: CSV, JSON, Markdown, LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from searcher.measures import Value
from searcher.quantities import QUANTITIES
from searcher.views.console import json_text
from searcher.views.latex import PACKAGES, escaped, tabular
from searcher.views.leaderboard import SPECIAL, Column, Leaderboard


@dataclass(frozen=True)
class TrialRows:
    """The trials of a leaderboard with the columns `names`."""

    board: Leaderboard
    names: Sequence[str]

    def in_format(self, name: str) -> str:
        """The rows in one of `FORMATS`, ending with a newline."""
        return FORMATS[name](self)

    def to_plain(self) -> list[dict[str, Value]]:
        """A row a trial of plain values, costs by the keys of their quantities; accuracies and shares in 0..1."""
        columns = [self._values(name) for name in self.names]
        keys = [self._key(name) for name in self.names]
        return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]

    def as_csv(self) -> str:
        """One line a trial below a header; empty where there is no value."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [self._key(name) for name in self.names], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.to_plain())
        return text.getvalue()

    def as_json(self) -> str:
        """The same rows."""
        return json_text("export", {"trials": self.to_plain()})

    def as_markdown(self) -> str:
        """A table with figures to the right, and the notes."""
        columns = self._columns()
        head, rule = [c.heading for c in columns], ["---:" if c.figures else "---" for c in columns]
        rows = [[cell.replace("|", "\\|") for cell in row] for row in (head, *_texts(columns))]
        lines = [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])]
        return "\n".join([*lines, *(f"\n{note}" for note in self.board.notes(self.names))]) + "\n"

    def as_latex(self) -> str:
        """A tabular with booktabs rules, and the notes."""
        columns = self._columns()
        notes = "".join(f"\\par\\footnotesize {escaped(note)}\n" for note in self.board.notes(self.names))
        alignment = "".join("r" if column.figures else "l" for column in columns)
        return PACKAGES + tabular([c.heading for c in columns], _texts(columns), alignment) + notes

    def _columns(self) -> list[Column]:
        return [self.board.column(name, plain=name == "bits") for name in self.names]

    def _values(self, name: str) -> list[Value]:
        if name in SPECIAL:
            return [cell.plain for cell in self.board.column(name, plain=True).cells]
        return [self.board.fields.named(name, "column").value(record) for record in self.board.records]

    def _key(self, name: str) -> str:
        return QUANTITIES[name].field if name in QUANTITIES else name


FORMATS = {
    "csv": TrialRows.as_csv,
    "json": TrialRows.as_json,
    "md": TrialRows.as_markdown,
    "latex": TrialRows.as_latex,
}


def _texts(columns: Sequence[Column]) -> list[list[str]]:
    return [[cell.plain for cell in row] for row in zip(*(column.cells for column in columns), strict=True)]
