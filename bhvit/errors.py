"""The one exception that means "the input is wrong", wherever it was noticed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InvalidInput(ValueError):
    """A value a user gave breaks a rule.

    The message is one line: the rule, the offending values and the remedy. `searcher.cli.main` prints it and exits
    with code 2; library callers catch it as a `ValueError`.
    """


def unknown_name(kind: str, name: object, known: Iterable[str]) -> InvalidInput:
    """Error for a name that is not in a table: lists the legal names and the nearest match, corrects nothing."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return InvalidInput(f"unknown {kind} {name!r}{hint}; use one of: {', '.join(names)}.")
