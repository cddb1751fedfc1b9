"""Lists and counts as messages and views put them into a sentence."""

from __future__ import annotations

from collections.abc import Iterable


def listed(names: Iterable[object], joint: str = "and") -> str:
    """Names in a sentence: `a`, `a and b`, `a, b and c`; none give an empty text."""
    *most, last = [str(name) for name in names] or [""]
    return f"{', '.join(most)} {joint} {last}" if most else last


def counted(number: int, noun: str) -> str:
    """A number of things whose plural ends in s: `1 trial`, `12,000 trials`."""
    return f"{number:,} {plural(noun, number)}"


def plural(noun: str, number: float) -> str:
    """`noun`, in its plural in s unless there is one of it."""
    return noun if number == 1 else f"{noun}s"
