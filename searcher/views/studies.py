"""The list of studies: a line a study, or two where names are long or the terminal is narrow."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from searcher.inventory import StudyEntry
from searcher.numbers import age_text
from searcher.quantities import QUANTITIES
from searcher.records import FAILURES, Outcome
from searcher.views.console import one_word, plain_rows
from searcher.views.grid import GAP, Column, cell_width, grid
from searcher.views.marks import OUTCOMES, STATES, UNREADABLE, Mark

NARROW = 100  # columns below which a study's name has a line of its own
NARROW_LATENCY = 112  # likewise, where a study has a latency, which then stands beside its name
WIDE = 150  # columns from which a study of Optuna's is one line
FAILURE = Mark(OUTCOMES[Outcome.CRASHED].character, OUTCOMES[Outcome.DIVERGED].style)
COUNTED = (
    ("complete", OUTCOMES[Outcome.COMPLETE], (Outcome.COMPLETE,)),
    ("stopped", OUTCOMES[Outcome.STOPPED], (Outcome.STOPPED,)),
    ("over budget", OUTCOMES[Outcome.OVER_BUDGET], (Outcome.OVER_BUDGET,)),
    ("failed", FAILURE, FAILURES),
)

LATENCY = (Column("latency", right=True), Column("limit", right=True, rank=2))
COLUMNS = (  # the outcomes and the limits give way
    Column("study"),
    Column("state"),
    Column("trials", right=True),
    Column("outcomes", rank=1),
    Column("Top-1 %", right=True),
    Column("memory", right=True),
    Column("limit", right=True, rank=2),
    Column("OPs", right=True),
    Column("limit", right=True, rank=2),
    Column("last sign", right=True),
    Column("left", right=True),
)


def studies_view(entries: Sequence[StudyEntry], width: int) -> RenderableType:
    """The studies in the given order; `width` is the terminal's."""
    if not sys.stdout.isatty():
        return _plain(entries)
    parts: list[RenderableType] = [*_table(entries, width), ""]
    marks = Text("  ").join(mark.text(name) for name, mark, _ in COUNTED)
    costs = "memory, OPs and latency" if _predicted(entries) else "memory and OPs"
    note = f"Top-1, {costs}: of the best within the budget; limit: the budget's."
    parts += [Text.assemble(marks), Text(note, style="dim")]
    if any(e.estimated for e in entries):
        parts.append(Text("~ before a time left: an estimate from the last trainings.", style="dim"))
    for entry in entries:
        if entry.problem:
            parts.append(UNREADABLE.text(f"{entry.name}: {entry.problem}"))
    return Group(*parts)


def counts_text(counts: Sequence[tuple[Mark, int]]) -> Text:
    """Numbers of trials with their marks, without zeros: `10● 1~`."""
    return Text(" ").join(Text(f"{number}{mark.character}", style=mark.style) for mark, number in counts if number)


def ago_text(active: float | None) -> str:
    """How long ago, in the largest unit."""
    return "" if active is None else f"{age_since(active)} ago"


def age_since(active: float | None) -> str:
    """The same for a column whose heading says that."""
    return "" if active is None else age_text(time.time() - active)


def _table(entries: Sequence[StudyEntry], width: int) -> list[Text]:
    """A line a study, below its name where that is long or the terminal is narrow: names are never cut."""
    predicted = _predicted(entries)
    narrow = width < (NARROW_LATENCY if predicted else NARROW)
    beside = predicted and not narrow
    columns = (*COLUMNS[:-2], *(LATENCY if beside else ()), *COLUMNS[-2:])
    rows = [_row(entry, beside) for entry in entries]
    necessary = [i for i, column in enumerate(columns[1:]) if not column.rank]
    figures = sum(GAP + max(len(columns[i + 1].heading), *(cell_width(row[i]) for row in rows)) for i in necessary)
    room = 0 if narrow else width - figures
    names = [entry.name if cell_width(entry.name) <= room else "" for entry in entries]
    cells = [[Text(name, style="bold"), *row] for name, row in zip(names, rows, strict=True)]
    head, *seconds = grid(columns, cells, width)
    lines = []
    for entry, name, second in zip(entries, names, seconds, strict=True):
        if not name:
            parts = [Text(entry.name, style="bold")]
            parts.append(_outcomes(entry) if COLUMNS[3].heading not in head.plain else Text())
            if entry.best is not None and entry.best.device and not beside:
                latency = " of ".join(filter(None, list(_costs(entry))[-2:]))
                parts.append(Text(f"latency {latency} on {entry.best.device.rpartition('-')[0]}"))
            lines.append(Text("  ").join(filter(None, parts)))
        lines.append(second)
    return [head, Text("─" * head.cell_len), *lines]


def _predicted(entries: Sequence[StudyEntry]) -> bool:
    """Whether a latency is known of any best trial."""
    return any(entry.best is not None and entry.best.latency_seconds is not None for entry in entries)


def _row(entry: StudyEntry, latency: bool) -> list[Text | str]:
    """The cells of `COLUMNS` after the name, and of `LATENCY` if asked for."""
    memory, memory_limit, ops, ops_limit, predicted, limit = _costs(entry)
    return [
        _state(entry),
        _progress(entry),
        _outcomes(entry),
        _accuracy(entry),
        memory,
        Text(memory_limit, style="dim"),
        ops,
        Text(ops_limit, style="dim"),
        *((predicted, Text(limit, style="dim")) if latency else ()),
        age_since(entry.active),
        _left(entry),
    ]


def _plain(entries: Sequence[StudyEntry]) -> RenderableType:
    counts = tuple(name.replace(" ", "_") for name, _, _ in COUNTED)
    costs = [q.label for q in QUANTITIES.values() if q.name != "latency" or _predicted(entries)]
    limited = [name for label in costs for name in (label, f"{label}_limit")]
    figures = ("done", "planned", *counts, "Top-1%", *limited, "last_sign", "left")
    rows = [
        (
            entry.name,
            _state_word(entry),
            str(entry.done),
            str(entry.planned),
            *(str(entry.count(*outcomes)) for _, _, outcomes in COUNTED),
            _accuracy(entry),
            *map(one_word, list(_costs(entry))[: len(limited)]),
            one_word(age_since(entry.active)),
            one_word(_left(entry)),
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
    return "" if entry.state is None else f"{entry.done:,}/{entry.planned:,}"


def _outcomes(entry: StudyEntry) -> Text:
    return counts_text([(mark, entry.count(*outcomes)) for _, mark, outcomes in COUNTED])


def _accuracy(entry: StudyEntry) -> str:
    return "" if entry.accuracy is None else f"{100 * entry.accuracy:.1f}"


def _costs(entry: StudyEntry) -> Iterator[str]:
    """Each cost of the best, followed by its limit; empty where there is none."""
    limits = {} if entry.budget is None else entry.budget.limits
    for name, quantity in QUANTITIES.items():
        value = None if entry.best is None else quantity.of(entry.best)
        yield "" if value is None else quantity.text(value)
        yield quantity.text(limits[name]) if name in limits else ""


def _left(entry: StudyEntry) -> str:
    if entry.remaining is None:
        return ""
    return f"{'~' if entry.estimated else ''}{age_text(entry.remaining)}"
