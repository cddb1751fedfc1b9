"""What somebody who watches a study should know: failures, lost and silent workers, trouble; no rich, no torch."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from searcher.numbers import duration_text
from searcher.records import Outcome
from searcher.status import QUIET_SECONDS, SILENT_SECONDS
from searcher.watching import WatchedStudy


@dataclass(frozen=True)
class Alert:
    """One thing to know: `time` it happened (seconds since 1970), None where it is so now.

    `outcome` is that of a trial that failed; `lost` says that a worker was.
    """

    text: str
    time: float | None = None
    outcome: Outcome | None = None
    lost: bool = False


def alerts(study: WatchedStudy, now: float, most: int = 100) -> list[Alert]:
    """At most `most` alerts: what is so now, then what happened, the newest first."""
    happened = heapq.nlargest(most, _happened(study), key=lambda alert: alert.time or 0.0)
    return [*_present(study, now), *happened][:most]


def _present(study: WatchedStudy, now: float) -> Iterator[Alert]:
    if study.abandoned:
        numbers = sorted(study.stranded)
        trials = f"trial {numbers[0]} was" if len(numbers) == 1 else f"trials {', '.join(map(str, numbers))} were"
        yield Alert(f"the search died without saying so: {trials} under way, nobody trains")
    if study.trouble:
        yield Alert(study.trouble)
    if study.status is not None and now - study.status.time > QUIET_SECONDS:
        yield Alert(f"the search itself has been silent for {duration_text(now - study.status.time)}")
        return  # what it says of its workers is as old
    for worker in study.workers if study.holder is not None else ():
        if worker.heard and now - worker.heard > SILENT_SECONDS:
            name = worker.worker or "its worker"
            yield Alert(f"trial {worker.number}: {name} has been silent for {duration_text(now - worker.heard)}")


def _happened(study: WatchedStudy) -> Iterator[Alert]:
    for number in study.failed:
        record = study.records[number]
        because = f": {record.message}" if record.message else ""
        yield Alert(f"trial {number} {record.outcome}{because}", study.finished.get(number, 0.0), record.outcome)
    for time, event in study.losses:
        text = f"trial {event.number}: {event.worker} {event.message}"
        yield Alert(text, time, lost=True)
