"""What a study's trials teach: the front, what the best share, what accuracy depends on, how trials ended."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bhvit.wording import counted, plural
from searcher.commonalities import Commonalities, commonalities
from searcher.importances import Importances, importances
from searcher.numbers import duration_text, share_text
from searcher.ranking import training_seconds
from searcher.snapshot import StudySnapshot
from searcher.trial_ends import End, trial_ends
from searcher.views import marks

INDENT = 2
BAR = 16  # columns of a full bar
REASONS = 3  # of an outcome, at most
NAMED = 4  # trials of a reason that are listed


def common_view(found: Commonalities | None) -> Iterator[RenderableType]:
    """What most of the best have and few others; nothing where there are few trials."""
    if found is None:
        return
    yield Text(f"What the best {found.best} have in common", style="bold")
    those = f"{found.trials:,} trained trials within the budget"
    if not found.found:
        yield _indented(Text(f"Nothing beyond what chance explains among {those}.", style="dim"))
        return
    grid = _grid("left", "right", "left")
    for common in found.found:
        of = f" of {', '.join(common.models)}" if common.models else ""
        grid.add_row(
            f"{common.variable} {common.relation} {common.choice}",
            f"{100 * common.best_share:.0f} % of them{of}",
            Text(f"{100 * common.share:.0f} % of all {those}{of}", style="dim"),
        )
    yield _indented(grid)


def importances_view(found: Importances | None) -> Iterator[RenderableType]:
    """Variables by their share of the variance of accuracy, what they do, and how far to believe it."""
    if found is None:
        return
    yield Text("What accuracy depends on", style="bold")
    if found.learned and found.telling:
        grid = _grid("left", "left", "right", "left")
        for variable in found.telling:
            grid.add_row(variable.variable, _bar(variable.share), share_text(variable.share), variable.words)
        yield _indented(grid)
    yield _indented(Text(found.words, style="dim"))


def ends_view(snapshot: StudySnapshot) -> Iterator[RenderableType]:
    """Outcomes with their counts and reasons, then what was trained."""
    records = snapshot.records
    if not records:
        return
    yield Text(f"Where {counted(len(records), 'trial')} went", style="bold")
    grid = _grid("left", "right", "left")
    for end in trial_ends(records, snapshot.budget):
        mark = marks.OUTCOMES[end.outcome]
        reasons = list(_reasons(end))
        grid.add_row(mark.text(end.outcome), f"{end.count:,}", reasons[0] if reasons else "")
        for reason in reasons[1:]:
            grid.add_row("", "", reason)
    yield _indented(grid)
    yield from _trainings(snapshot)


def insights_json(snapshot: StudySnapshot) -> dict[str, Any]:
    """All of it as plain data."""
    common, important = commonalities(snapshot.space, snapshot.ranked), importances(snapshot.space, snapshot.records)
    return {
        "commonalities": None if common is None else dataclasses.asdict(common),
        "importances": None if important is None else dataclasses.asdict(important),
        "ends": [dataclasses.asdict(end) for end in trial_ends(snapshot.records, snapshot.budget)],
    }


def _grid(*justify: Any) -> Table:
    grid = Table.grid(padding=(0, 2))
    for side in justify[:-1]:
        grid.add_column(justify=side, no_wrap=True)
    grid.add_column(justify=justify[-1], overflow="fold")
    return grid


def _indented(part: RenderableType) -> RenderableType:
    return Padding(part, (0, 0, 0, INDENT), expand=False)


def _bar(share: float) -> Text:
    """A bar on a terminal; nothing in a pipe, where the figure beside it is enough."""
    return Text(marks.BAR * max(1, round(BAR * share)) if sys.stdout.isatty() else "", style="cyan")


def _reasons(end: End) -> Iterator[str]:
    for reason in end.reasons[:REASONS]:
        first = ", ".join(map(str, reason.trials[:NAMED])) + (", ..." if len(reason.trials) > NAMED else "")
        times = f"{len(reason.trials):,}x: " if len(reason.trials) > 1 else ""
        yield f"{reason.text} ({times}{plural('trial', len(reason.trials))} {first})"
    rest = end.reasons[REASONS:]
    if rest:
        yield f"and {len(rest)} other reasons ({sum(len(r.trials) for r in rest):,} trials)"


def _trainings(snapshot: StudySnapshot) -> Iterator[str]:
    records = snapshot.records
    trained, saved = snapshot.parents_saved
    if trained or saved:
        spent = duration_text(training_seconds(records))
        yield f"  FP trainings: {trained:,} run, {saved:,} saved by sharing parents; {spent} of training."
    restarted = [r.number for r in records if r.metrics is not None and r.metrics.restarts]
    if restarted:
        listed = ", ".join(map(str, restarted[:NAMED])) + (", ..." if len(restarted) > NAMED else "")
        one = len(restarted) == 1
        yield (
            f"  trial{'' if one else 's'} {listed}: {'its' if one else 'their'} loss became NaN or infinite; "
            f"{'it' if one else 'they'} went on from {'its' if one else 'the'} last good epoch."
        )
