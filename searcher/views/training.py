"""One model while it is trained or measured: a live line in a terminal, dated lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from searcher.numbers import duration_text, percent_text
from searcher.records import EpochRecord

STATUS_SECONDS = 60  # between status lines in a log file, where an epoch takes longer


class LiveTraining:
    """Shows a training of `epochs` epochs, or as many of another `unit`; its methods are a training's callbacks."""

    def __init__(
        self, console: Console, epochs: int, clock: Callable[[], float] = time.monotonic, unit: str = "epoch"
    ) -> None:
        self.console, self.epochs, self.unit, self._clock = console, epochs, unit, clock
        self._started = self._status_at = clock()
        self._first: tuple[float, float] | None = None  # time and epochs done after this run's first step
        self._done = 0.0
        self._best: EpochRecord | None = None
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveTraining:
        self._context: AbstractContextManager[Any] = self._live if self.console.is_terminal else nullcontext()
        self._context.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._context.__exit__(*exception)

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line)

    def on_step(self, phase: str, epoch: int, step: int, steps: int) -> None:
        """Take a training step."""
        self._done = epoch - 1 + step / steps
        if self._first is None:
            self._first = self._clock(), self._done
        if not self.console.is_terminal and self._clock() - self._status_at > STATUS_SECONDS:
            self._print(f"{self.unit} {epoch} of {self.epochs}, step {step} of {steps}")

    def on_unit(self) -> None:
        """Take a whole unit."""
        done = int(self._done) + 1
        self.on_step(self.unit, done, 1, 1)

    def on_epoch(self, record: EpochRecord) -> None:
        """Take a finished epoch."""
        self._done = float(record.epoch)
        if self._best is None or record.accuracy > self._best.accuracy:
            self._best = record
        if not self.console.is_terminal:
            loss = f"loss {record.train_loss:.3f}"
            self._print(f"epoch {record.epoch} of {self.epochs}: {loss}, Top-1 {percent_text(record.accuracy)}")

    def _print(self, line: str) -> None:
        self._status_at = self._clock()
        self.console.print(f"{time.strftime('%H:%M:%S')} {line}; {self._time_text()}")

    def _render(self) -> RenderableType:
        row = Table.grid(padding=(0, 1))
        row.add_column(no_wrap=True)
        row.add_column(width=20)
        row.add_column(no_wrap=True)
        best = "" if self._best is None else f"best {percent_text(self._best.accuracy)}"
        epoch = min(self.epochs, int(self._done) + 1)
        row.add_row(f"{self.unit} {epoch}/{self.epochs}", ProgressBar(self.epochs, self._done), best)
        return Group(row, Text(self._time_text(), style="dim"))

    def _time_text(self) -> str:
        now = self._clock()
        elapsed = f"{duration_text(now - self._started)} elapsed"
        if self._first is None or self._done <= self._first[1]:
            return f"{elapsed}, estimating the time left"
        time, done = self._first
        left = (now - time) / (self._done - done) * (self.epochs - self._done)
        return f"{elapsed}, about {duration_text(left)} left"
