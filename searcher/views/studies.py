"""The list of studies: two lines a study in a narrow terminal, one in a wide one and in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from searcher.inventory import StudyEntry
from searcher.numbers import age_text, count_text, size_text
from searcher.records import FAILURES, Outcome
from searcher.views.console import one_word, plain_rows, table
from searcher.views.marks import OUTCOMES, STATES, UNREADABLE, Mark

WIDE = 150  # columns from which a study is one line
FAILURE = Mark(OUTCOMES[Outcome.CRASHED].character, OUTCOMES[Outcome.DIVERGED].style)
COUNTED = (
    ("complete", OUTCOMES[Outcome.COMPLETE], (Outcome.COMPLETE,)),
    ("stopped", OUTCOMES[Outcome.STOPPED], (Outcome.STOPPED,)),
    ("over budget", OUTCOMES[Outcome.OVER_BUDGET], (Outcome.OVER_BUDGET,)),
    ("failed", FAILURE, FAILURES),
)


def studies_view(entries: Sequence[StudyEntry], width: int) -> RenderableType:
    """The studies in the given order; `width` is the terminal's."""
    if not sys.stdout.isatty():
        return _plain(entries)
    parts: list[RenderableType] = [_wide(entries) if width >= WIDE else _narrow(entries), ""]
    marks = Text("  ").join(mark.text(name) for name, mark, _ in COUNTED)
    note = "Top-1 (%), memory and OPs are those of the best within the budget; ≤ its limits."
    parts += [Text.assemble(marks), Text(note, style="dim")]
    if any(e.estimated for e in entries):
        parts.append(Text("~ before a time: estimated from the last trainings.", style="dim"))
    for entry in entries:
        if entry.problem:
            parts.append(UNREADABLE.text(f"{entry.name}: {entry.problem}"))
    return Group(*parts)


def counts_text(counts: Sequence[tuple[Mark, int]]) -> Text:
    """Numbers of trials with their marks, without zeros: `10● 1~`."""
    return Text(" ").join(Text(f"{number}{mark.character}", style=mark.style) for mark, number in counts if number)


def ago_text(active: float | None) -> str:
    """How long ago, in the largest unit."""
    return "" if active is None else f"{age_text(time.time() - active)} ago"


def _narrow(entries: Sequence[StudyEntry]) -> RenderableType:
    result = table("study", "trials", *((name, "right") for name in ("Top-1", "memory", "OPs", "last sign")))
    for entry in entries:
        memory, memory_limit, ops, ops_limit = _costs(entry)
        result.add_row(
            _lines(Text(entry.name, style="bold"), _state(entry)),
            _lines(_progress(entry), _outcomes(entry)),
            _accuracy(entry),
            _lines(memory, _limit(memory_limit)),
            _lines(ops, _limit(ops_limit)),
            _lines(ago_text(entry.active), _left(entry)),
        )
    return result


def _wide(entries: Sequence[StudyEntry]) -> RenderableType:
    right = ("Top-1", "memory", "", "OPs", "", "last sign", "left")
    result = table("study", "state", ("trials", "right"), "outcomes", *((name, "right") for name in right))
    for entry in entries:
        memory, memory_limit, ops, ops_limit = _costs(entry)
        result.add_row(
            Text(entry.name, style="bold"),
            _state(entry),
            _progress(entry),
            _outcomes(entry),
            _accuracy(entry),
            memory,
            _limit(memory_limit),
            ops,
            _limit(ops_limit),
            ago_text(entry.active),
            _left(entry).removesuffix(" left"),
        )
    return result


def _plain(entries: Sequence[StudyEntry]) -> RenderableType:
    counts = tuple(name.replace(" ", "_") for name, _, _ in COUNTED)
    figures = ("done", "planned", *counts, "Top-1%", "memory", "memory_limit", "OPs", "OPs_limit", "last_sign", "left")
    rows = [
        (
            entry.name,
            _state_word(entry),
            str(entry.done),
            str(entry.planned),
            *(str(entry.count(*outcomes)) for _, _, outcomes in COUNTED),
            _accuracy(entry),
            *map(one_word, _costs(entry)),
            one_word(ago_text(entry.active).removesuffix(" ago")),
            one_word(_left(entry).removesuffix(" left")),
            entry.problem,
        )
        for entry in entries
    ]
    return plain_rows(("study", "state", *figures, "problem"), rows, range(2, 2 + len(figures)))


def _state_word(entry: StudyEntry) -> str:
    return "unreadable" if entry.state is None else entry.state.value


def _state(entry: StudyEntry) -> Text:
    return (UNREADABLE if entry.state is None else STATES[entry.state]).text(_state_word(entry))


def _progress(entry: StudyEntry) -> str:
    return "" if entry.state is None else f"{entry.done:,} of {entry.planned:,}"


def _outcomes(entry: StudyEntry) -> Text:
    return counts_text([(mark, entry.count(*outcomes)) for _, mark, outcomes in COUNTED])


def _accuracy(entry: StudyEntry) -> str:
    return "" if entry.accuracy is None else f"{100 * entry.accuracy:.1f}"


def _costs(entry: StudyEntry) -> tuple[str, str, str, str]:
    """Memory and OPs of the best, each with its limit; empty where there is none."""
    best, budget = entry.best, entry.budget
    memory, ops = (None, None) if budget is None else (budget.memory, budget.ops)
    return (
        "" if best is None else size_text(best.memory_bytes),
        "" if memory is None else size_text(memory),
        "" if best is None else count_text(best.ops),
        "" if ops is None else count_text(ops),
    )


def _limit(text: str) -> Text:
    return Text(f"≤ {text}" if text else "", style="dim")


def _left(entry: StudyEntry) -> str:
    if entry.remaining is None:
        return ""
    return f"{'~' if entry.estimated else ''}{age_text(entry.remaining)} left"


def _lines(first: str | Text, second: str | Text) -> Text:
    return Text.assemble(first, "\n", second)
