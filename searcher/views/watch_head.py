"""The upper part of `searcher watch`: which study, how far it is, and what its watcher should know."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Sequence

from rich.text import Text

from searcher.alerts import Alert, alerts
from searcher.numbers import age_text, duration_text, percent_text, share_text
from searcher.quantities import costs_text
from searcher.records import Outcome
from searcher.snapshot import State
from searcher.views.marks import ALERT, BAR, BEST, FRONT, LOST, OUTCOMES, STATES, UNFILLED
from searcher.watching import WatchedStudy

UNLIMITED = 10**6
SEPARATE = "   "  # between things of one line
NOT_ENDED = (Outcome.WAITING, Outcome.RUNNING)


def title(study: WatchedStudy, now: float, paused: bool, width: int | None) -> Text:
    """Which study (the end of its path where that is long), what it does, and what time it is or was when paused."""
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    state = STATES[study.state].text(study.state.value)
    note = Text(f" PAUSED at {clock}, the search goes on (p) ", style="reverse") if paused else Text(clock, style="dim")
    name, room = str(study.folder.path), (width or UNLIMITED) - state.cell_len - note.cell_len - 4
    line = Text.assemble(
        (name if len(name) <= room else f"…{name[max(0, len(name) - room + 1) :]}", "bold"), "  ", state
    )
    space = 2 if paused or width is None else max(2, width - line.cell_len - note.cell_len)
    return line.append(" " * space).append_text(note)


def head_lines(study: WatchedStudy, now: float, width: int | None) -> Iterator[Text]:
    """Progress (with a bar where there is a `width`), best, times, outcomes, question: a line or two each."""
    standing, room = study.standing, width or UNLIMITED
    drawn = Text() if width is None else _bar(study, width // 2)
    yield drawn.append(f"{standing.done:,} of {study.planned:,} trials")
    yield from _flowing(best_parts(study), room)
    yield Text(", ".join(times(study, now)))
    counted = [outcome for outcome in Outcome if standing.outcomes[outcome] and outcome not in NOT_ENDED]
    yield from _flowing([OUTCOMES[o].text(f"{standing.outcomes[o]:,} {o}") for o in counted], room)
    yield from question_lines(study, room)


def question_lines(study: WatchedStudy, width: int) -> Iterator[Text]:
    """How many configurations there are within which budget; its accounting only where there is room."""
    budget = str(study.space.budget)
    text = f"{study.space.size:,} configurations, {_within(study)}{budget}"
    text = text if len(text) <= width else text.removesuffix(f" ({study.space.budget.accounting} accounting)")
    yield from (Text(line, style="dim") for line in textwrap.wrap(text, max(2, width)))


def _within(study: WatchedStudy) -> str:
    """How many are within the budget; of sampled models together only the share can be said."""
    started = study.started
    if started is None:
        return ""
    if study.space.mixed and started.sampled and started.share is not None:
        return f"{share_text(started.share)} within "
    return f"{started.feasible:,}{' sampled' if started.sampled else ''} within "


def alert_lines(study: WatchedStudy, now: float, most: int, width: int) -> list[Text]:
    """A blank line and at most `most` lines of alerts, two for a long one; none where there is nothing to know."""
    lines: list[Text] = []
    for alert in alerts(study, now, most)[:most]:
        wrapped = _alert_lines(alert, now, width)
        lines += wrapped if len(lines) + len(wrapped) <= most else _alert_lines(alert, now, UNLIMITED)
    lines = lines[:most]
    return [Text(), *lines] if lines else []


def best_parts(study: WatchedStudy) -> list[Text]:
    """The best trial so far, and how many are on the Pareto front."""
    best, front = study.standing.best, study.standing.front
    if best is None or best.metrics is None:
        return [Text("no trained trial is within the budget yet", style="dim")]
    cost = f"trial {best.number}, {costs_text(best)}"
    line = Text.assemble(BEST.text(percent_text(best.metrics.accuracy)), f" best Top-1: {cost}")
    return [line, FRONT.text(f"{len(front)} on the Pareto front")]


def times(study: WatchedStudy, now: float) -> Iterator[str]:
    """Elapsed and left while the search runs, else when it ended, and how."""
    if study.state is State.RUNNING:
        since = study.since if study.since is not None else now
        yield f"{duration_text(max(0.0, now - since))} elapsed"
        remaining = None if study.status is None else study.status.remaining
        yield "time left not known yet" if remaining is None else f"about {duration_text(remaining)} left"
    elif study.ended is not None:
        at, end = study.ended
        yield f"ended {age_text(max(0.0, now - at))} ago ({end.reason})"
        if study.since is not None:
            yield f"the last run took {duration_text(max(0.0, at - study.since))}"
    else:
        yield "nobody is at work on it"


def _bar(study: WatchedStudy, width: int) -> Text:
    goal = study.planned if study.started is None else study.started.goal
    filled = int(width * min(1.0, study.standing.done / max(1, goal)))
    return Text.assemble((BAR * filled, "green"), (UNFILLED * (width - filled), "dim"), "  ")


def _alert_lines(alert: Alert, now: float, width: int) -> list[Text]:
    """The alert, on at most two lines."""
    mark = LOST if alert.lost else ALERT if alert.outcome is None else OUTCOMES[alert.outcome]
    text = f"{age_text(max(0.0, now - alert.time))} ago: {alert.text}" if alert.time else alert.text
    if len(text) + 2 <= width:
        return [mark.text(text)]
    first, *rest = textwrap.wrap(text, max(2, width - 2)) or [""]
    return [mark.text(first), *(Text(f"  {line}", style=mark.style) for line in [" ".join(rest)] if line)]


def _flowing(parts: Sequence[Text], width: int) -> Iterator[Text]:
    """The parts beside each other, on as many lines as they need."""
    line = Text()
    for part in parts:
        if line and line.cell_len + len(SEPARATE) + part.cell_len > width:
            yield line
            line = Text()
        line.append(SEPARATE if line else "").append_text(part)
    if line:
        yield line
