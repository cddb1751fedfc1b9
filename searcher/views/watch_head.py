"""The upper part of `searcher watch`: which study, how far it is, and what its watcher should know."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator

from rich.text import Text

from searcher.alerts import Alert, alerts
from searcher.numbers import age_text, count_text, duration_text, percent_text, size_text
from searcher.records import Outcome
from searcher.snapshot import State
from searcher.views.marks import ALERT, BAR, BEST, FRONT, LOST, OUTCOMES, STATES, UNFILLED
from searcher.watching import WatchedStudy

LONGEST_BAR = 100
UNLIMITED = 10**6
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


def head_lines(study: WatchedStudy, now: float, width: int, bar: bool = True) -> Iterator[Text]:
    """Progress (with a `bar`), best so far, times, outcomes, the question: a line of up to `width` columns each."""
    standing, started = study.standing, study.started
    room = min(width // 2, LONGEST_BAR)
    filled = int(room * min(1.0, standing.done / max(1, study.planned)))
    drawn = Text.assemble((BAR * filled, "green"), (UNFILLED * (room - filled), "dim"), "  ") if bar else Text()
    yield drawn.append(f"{standing.done:,} of {study.planned:,} trials")
    yield best_text(study)
    yield Text(", ".join(times(study, now)))
    counted = [outcome for outcome in Outcome if standing.outcomes[outcome] and outcome not in NOT_ENDED]
    if counted:
        words = Text("  ").join(OUTCOMES[o].text(f"{standing.outcomes[o]:,} {o}") for o in counted)
        short = Text("  ").join(OUTCOMES[o].text(f"{standing.outcomes[o]:,}") for o in counted)
        yield words if words.cell_len <= width else short
    within = "" if started is None else f"{started.feasible:,}{' sampled' if started.sampled else ''} within "
    budget = str(study.space.budget)
    line = f"{study.space.size:,} configurations, {within}{budget}"
    yield Text(line if len(line) <= width else line.rpartition(" (")[0], style="dim")


def alert_lines(study: WatchedStudy, now: float, most: int, width: int) -> list[Text]:
    """A blank line and the alerts, wrapped, on at most `most` lines; none where there is nothing to know."""
    lines: list[Text] = []
    for alert in alerts(study, now, most):
        line = _alert_line(alert, now)
        first, *more = textwrap.wrap(line.plain, width, subsequent_indent="  ") or [""]
        if lines and len(lines) + 1 + len(more) > most:
            break
        lines += [Text(part, style=line.style) for part in (first, *more)]
    return [Text(), *lines[:most]] if lines else []


def best_text(study: WatchedStudy) -> Text:
    """The best trial so far, and how many are on the Pareto front."""
    best, front = study.standing.best, study.standing.front
    if best is None or best.metrics is None:
        return Text("no trained trial is within the budget yet", style="dim")
    cost = f"trial {best.number}, {size_text(best.memory_bytes)}, {count_text(best.ops)} OPs"
    line = Text.assemble(BEST.text(f"{percent_text(best.metrics.accuracy)}"), f" best Top-1: {cost}   ")
    return line.append_text(FRONT.text(f"{len(front)} on the front"))


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


def _alert_line(alert: Alert, now: float) -> Text:
    mark = LOST if alert.lost else ALERT if alert.outcome is None else OUTCOMES[alert.outcome]
    return mark.text(f"{age_text(max(0.0, now - alert.time))} ago: {alert.text}" if alert.time else alert.text)
