"""A watched study as a log: a line an event, for pipes and files."""

from __future__ import annotations

import time
from collections.abc import Iterator

from searcher.event_tail import Timed
from searcher.events import SearchEnded, TrialFinished
from searcher.numbers import duration_text
from searcher.snapshot import State
from searcher.views.event_lines import event_line
from searcher.views.watch_head import best_parts, times
from searcher.watching import WatchedStudy


def state_line(study: WatchedStudy, now: float) -> str:
    """The study in one line, with the time."""
    best = [part.plain for part in best_parts(study)]
    parts = [f"{study.standing.done} of {study.planned} trials", *best, *times(study, now)]
    return f"{_clock(now)} {study.folder.path} {study.state}: {', '.join(parts)}"


def event_log(study: WatchedStudy, events: list[Timed]) -> Iterator[str]:
    """A line for each of the new events, with the time at which it happened."""
    for timed in events:
        line = event_line(timed.event, study.space).plain
        if isinstance(timed.event, TrialFinished):
            line += f"; {timed.event.trained} of {timed.event.planned} trials"
            if study.status is not None and study.status.remaining is not None:
                line += f", about {duration_text(study.status.remaining)} left"
        yield f"{_clock(timed.time)} {line}"


def follow(study: WatchedStudy, seconds: float) -> Iterator[str]:
    """The state, then every event as it happens, looked for every so many `seconds`, until nobody is at work."""
    yield state_line(study, time.time())
    ended = False
    while study.state is State.RUNNING and not ended:
        time.sleep(seconds)
        events = study.refresh()
        yield from event_log(study, events)
        ended = any(isinstance(timed.event, SearchEnded) for timed in events)
    if study.abandoned:
        yield f"{_clock(time.time())} the search died without saying so; the same command goes on"


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
