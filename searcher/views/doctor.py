"""What `searcher doctor` found, a line a check."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from searcher.findings import Finding, Verdict
from searcher.views.console import table

STYLES = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.WRONG: "bold red", Verdict.MENDED: "green"}


def doctor_view(study: Path, findings: Sequence[Finding]) -> RenderableType:
    """A table of the findings, and what to do about them."""
    head = Text.assemble((str(study), "bold"), f": {_summary(findings)}")
    if not sys.stdout.isatty():  # one line each, as long as it is
        return Group(head, *(Text(f"{f.check:<11} {f.verdict:<6} {_text(f)}") for f in findings))
    result = table("check", "verdict", "finding")
    for finding in findings:
        result.add_row(finding.check, Text(finding.verdict, style=STYLES[finding.verdict]), _text(finding))
    return Group(head, "", result)


def _text(finding: Finding) -> Text:
    """Message and remedy; the latter on a line of its own in a terminal."""
    if not finding.remedy:
        return Text(finding.message)
    by_us = "--fix: " if finding.mend is not None else ""
    space = "\n" if sys.stdout.isatty() else " "
    return Text.assemble(finding.message, space, (f"-> {by_us}{finding.remedy}", "dim"))


def _summary(findings: Sequence[Finding]) -> str:
    wrong = [f for f in findings if f.verdict is Verdict.WRONG]
    mendable = sum(f.mend is not None for f in wrong)
    mended = sum(f.verdict is Verdict.MENDED for f in findings)
    if not wrong:
        return f"healthy{f', {mended} mended' if mended else ''}"
    parts = [f"{len(wrong)} wrong"]
    if mended:
        parts.append(f"{mended} mended")
    if mendable:
        parts.append(f"--fix mends {mendable}")
    return ", ".join(parts)
