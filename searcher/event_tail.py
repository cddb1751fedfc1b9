"""The end of a study's event log, read on from where the last look ended; no rich, no torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from searcher.events import Event, SearchStarted, last_start_in, timed_event

TAIL_BYTES = 2**19  # of the log that a first look parses: about a thousand events
_FINISHED = re.compile(rb'TrialFinished", "time": ([0-9.]+), "number": ([0-9]+),')


@dataclass(frozen=True)
class Timed:
    """An event and when it happened, in seconds since 1970."""

    time: float
    event: Event


@dataclass(frozen=True)
class History:
    """What is known of a log as a whole: the last start of a search in it, and when each trial ended last."""

    started: tuple[float, SearchStarted] | None
    finished: dict[int, float]


class EventTail:
    """The events of the log at `path` that have been added since the last look; the first look gives the newest.

    A log that has become shorter was written anew (`searcher doctor --fix`): `restarted` says so, until the next look.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarted = False
        self._offset: int | None = None

    def new(self) -> list[Timed]:
        """What whole lines have been added; a line that is being written is left for the next look."""
        size = self._size()
        self.restarted = self._offset is not None and size < self._offset
        if self._offset is None or self.restarted:
            self._offset = self._start_of_line(max(0, size - TAIL_BYTES))
        if size == self._offset:
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            text = file.read(size - self._offset)
        whole = text.rfind(b"\n") + 1
        self._offset += whole
        events = map(timed_event, text[:whole].decode("utf-8", "replace").splitlines())
        return [Timed(*event) for event in events if event is not None]

    def history(self) -> History:
        """The log as a whole, of which hardly a line is parsed (a hundredth of a second for ten megabytes)."""
        try:
            text = self.path.read_bytes()
        except OSError:
            text = b""
        ended = {int(number): float(time) for time, number in _FINISHED.findall(text)}
        return History(last_start_in(text), ended)

    def _size(self) -> int:
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0

    def _start_of_line(self, offset: int) -> int:
        """The first start of a line from `offset` on."""
        if not offset:
            return 0
        with self.path.open("rb") as file:
            file.seek(offset - 1)
            return offset - 1 + len(file.readline())
