"""Trials as rows for other programs and for papers: CSV, JSON, Markdown, LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from searcher.measures import Value
from searcher.records import TrialRecord
from searcher.trial_fields import Field
from searcher.views.latex import PACKAGES, escaped, tabular

FORMATS = ("csv", "json", "md", "latex")


@dataclass(frozen=True)
class TrialRows:
    """Trials in the order of the rows, the fields that are the columns, and the notes that belong below a table."""

    records: Sequence[TrialRecord]
    fields: Sequence[Field]
    notes: Sequence[str] = ()

    def in_format(self, name: str) -> str:
        """The rows in one of `FORMATS`, ending with a newline."""
        return {"csv": self._csv, "json": self._json, "md": self._markdown, "latex": self._latex}[name]()

    def to_plain(self) -> list[dict[str, Value]]:
        """A row a trial, its keys as in the CSV's header: plain values in the units that the keys end with."""
        keys = list(map(plain_key, self.fields))
        return [{key: f.value(r) for key, f in zip(keys, self.fields, strict=True)} for r in self.records]

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(map(plain_key, self.fields)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.to_plain())
        return text.getvalue()

    def _json(self) -> str:
        data: dict[str, Any] = {"view": "export", "schema": 1, "trials": self.to_plain()}
        return json.dumps(data, indent=1, allow_nan=False) + "\n"

    def _markdown(self) -> str:
        head = [f.heading for f in self.fields]
        rule = ["---" if not f.measure.figures else "---:" for f in self.fields]
        lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in (head, rule, *self._texts())]
        notes = [f"\n{note}" for note in self.notes]
        return "\n".join([*lines, *notes]) + "\n"

    def _latex(self) -> str:
        notes = "\n".join(rf"\par\footnotesize {escaped(note)}" for note in self.notes)
        return PACKAGES + tabular([f.heading for f in self.fields], self._texts()) + (f"\n{notes}\n" if notes else "")

    def _texts(self) -> list[list[str]]:
        return [[f.text(record) for f in self.fields] for record in self.records]


def plain_key(field: Field) -> str:
    """The field's name with the unit of its plain value where that is not one: `memory_bytes`; shares are of 1."""
    return f"{field.name}_bytes" if field.unit == "bytes" else field.name
