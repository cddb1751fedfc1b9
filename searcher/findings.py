"""What `searcher doctor` finds, as values: a check's verdict, and the way to mend it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from bhvit.errors import InvalidInput
from bhvit.wording import plural


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"  # worth knowing, nothing to mend
    WRONG = "wrong"
    MENDED = "mended"


@dataclass(frozen=True)
class Finding:
    """What a check found; `remedy` is what the user can do, or what `mend` does, which then says what it did."""

    check: str
    verdict: Verdict
    message: str
    remedy: str = ""
    mend: Callable[[], str] | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data of the finding."""
        names = ("check", "message", "remedy")
        return {
            **{name: getattr(self, name) for name in names},
            "verdict": self.verdict.value,
            "mendable": self.mend is not None,
        }


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.OK, message)


def note(check: str, message: str, remedy: str = "") -> Finding:
    """Nothing to mend."""
    return Finding(check, Verdict.NOTE, message, remedy)


def wrong(check: str, message: str, remedy: str, mend: Callable[[], str] | None = None) -> Finding:
    """Something to mend."""
    return Finding(check, Verdict.WRONG, message, remedy, mend)


def mended(finding: Finding) -> Finding:
    """Do what the finding's remedy says; the finding with what became of it."""
    if finding.mend is None:
        return finding
    try:
        done = finding.mend()
    except (InvalidInput, OSError) as error:
        return replace(finding, remedy=f"could not be mended: {error}", mend=None)
    return replace(finding, verdict=Verdict.MENDED, remedy=done, mend=None)


def aside_suffix() -> str:
    """What to append to the name of what is kept but not used any more; another one every millisecond."""
    now = datetime.datetime.now()
    return f".aside-{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}"


def set_aside(*paths: Path) -> str:
    """Rename files so that they are kept and not used; what was done, as text."""
    suffix = aside_suffix()
    for path in paths:
        path.rename(path.with_name(path.name + suffix))
    return f"moved aside as {', '.join(path.name + suffix for path in paths)}"


def numbered(what: str, numbers: list[int], shown: int = 5) -> str:
    """`trial 3`, `trials 3, 5`, `trials 0, 1, 2, 3, 4 and 7 more`."""
    listed = ", ".join(map(str, numbers[:shown]))
    more = f" and {len(numbers) - shown} more" if len(numbers) > shown else ""
    return f"{plural(what, len(numbers))} {listed}{more}"
