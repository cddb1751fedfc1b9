"""A search while it runs: a few live lines in a terminal, dated lines in a log file."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from searcher.events import Event, SearchEnded, TrialFinished, TrialStarted
from searcher.progress import SearchProgress
from searcher.views.candidate import choices_text
from searcher.views.numbers import count_text, duration_text, size_text

PHASES = {"fp": "FP parent", "qat": "QAT"}
STATUS_SECONDS = 60  # between status lines in a log file
RECENT = 5  # finished trials that stay on the screen


class LiveSearch:
    """Shows a `SearchProgress`: its methods are the coordinator's listener and the pipeline's progress callback."""

    def __init__(self, console: Console, progress: SearchProgress) -> None:
        self.console, self.progress = console, progress
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)
        self._status_at = time.monotonic()

    def __enter__(self) -> LiveSearch:
        self._context: AbstractContextManager[Any] = self._live if self.console.is_terminal else nullcontext()
        self._context.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._context.__exit__(*exception)

    def on_event(self, event: Event) -> None:
        """Take an event of the coordinator."""
        self.progress.on_event(event)
        if not self.console.is_terminal:
            self._log(event)
        elif isinstance(event, TrialFinished):
            self.console.print(_finished_line(event))

    def on_step(self, phase: str, epoch: int, step: int, steps: int) -> None:
        """Take a training step."""
        self.progress.on_step(phase, epoch, step, steps)
        if not self.console.is_terminal and time.monotonic() - self._status_at > STATUS_SECONDS:
            self._print(_position_text(self.progress))

    def _log(self, event: Event) -> None:
        if isinstance(event, TrialStarted):
            self._print(_started_line(event))
        elif isinstance(event, TrialFinished):
            self._print(_finished_line(event).plain)
        elif isinstance(event, SearchEnded):
            self._print(f"{event.reason}: {event.trained} of {event.planned} trials")

    def _print(self, line: str) -> None:
        self._status_at = time.monotonic()
        self.console.print(f"{time.strftime('%H:%M:%S')} {line}, {_time_text(self.progress)}")

    def _render(self) -> RenderableType:
        p = self.progress
        rows = Table.grid(padding=(0, 1))
        rows.add_column(no_wrap=True)
        rows.add_column(width=20)
        rows.add_column(no_wrap=True)
        rows.add_row("search", ProgressBar(max(1, p.planned), p.trained), f"{p.trained} of {p.planned} trials")
        if p.now is not None:
            phase, epoch, step, steps = p.now
            epochs = p.fp_epochs if phase == "fp" else p.qat_epochs
            rows.add_row(
                PHASES[phase], ProgressBar(epochs * steps, (epoch - 1) * steps + step), f"epoch {epoch}/{epochs}"
            )
        lines: list[RenderableType] = [rows, Text(_time_text(p), style="dim")]
        if p.trial is not None:
            lines.insert(0, Text(_started_line(p.trial)))
        return Group(*lines)


def _started_line(event: TrialStarted) -> str:
    again = f" (start {event.attempt})" if event.attempt > 1 else ""
    cost = f"{size_text(event.memory_bytes)}, {count_text(event.ops)} OPs"
    return f"trial {event.number}{again}: {choices_text(event.choices)}; {cost}"


def _finished_line(event: TrialFinished) -> Text:
    text = Text(f"trial {event.number} {event.outcome}")
    if event.accuracy is not None:
        text.append(f", Top-1 {100 * event.accuracy:.1f} %", style="bold")
    if event.message:
        text.append(f": {event.message}")
    return text


def _position_text(p: SearchProgress) -> str:
    if p.now is None:
        return "waiting"
    phase, epoch, *_ = p.now
    number = "" if p.trial is None else f"trial {p.trial.number}, "
    return f"{number}{PHASES[phase]} epoch {epoch} of {p.fp_epochs if phase == 'fp' else p.qat_epochs}"


def _time_text(p: SearchProgress) -> str:
    left = "estimating the time left" if p.remaining is None else f"about {duration_text(p.remaining)} left"
    best = "" if p.best is None else f"; best so far {100 * p.best[0]:.1f} % (trial {p.best[1]})"
    return f"{duration_text(p.elapsed)} elapsed, {left}{best}"
