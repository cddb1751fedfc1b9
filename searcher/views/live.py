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

from searcher.events import Event, SearchEnded, TrialFinished, TrialStarted, Trouble, WorkerLost
from searcher.executors.executor import Stepped
from searcher.numbers import duration_text
from searcher.progress import RunningTrial, SearchProgress
from searcher.space import Space
from searcher.views.event_lines import PHASES, event_line

STATUS_SECONDS = 60  # between status lines in a log file


class LiveSearch:
    """Shows the `SearchProgress` of a search of `space`: `on_event` is the coordinator's listener."""

    def __init__(self, console: Console, progress: SearchProgress, space: Space) -> None:
        self.console, self.progress, self.space = console, progress, space
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)
        self._status_at = time.monotonic()

    def __enter__(self) -> LiveSearch:
        self._context: AbstractContextManager[Any] = self._live if self.console.is_terminal else nullcontext()
        self._context.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._context.__exit__(*exception)

    def on_event(self, event: Event | Stepped) -> None:
        """Take an event of the coordinator, or a training step."""
        self.progress.on_event(event)
        if not self.console.is_terminal:
            self._log(event)
        elif isinstance(event, TrialFinished):
            self.console.print(event_line(event, self.space))
        elif isinstance(event, WorkerLost):
            self.console.print(event_line(event, self.space), style="yellow")

    def _log(self, event: Event | Stepped) -> None:
        if isinstance(event, TrialStarted | TrialFinished | WorkerLost | Trouble | SearchEnded):
            self._print(event_line(event, self.space).plain)
        elif time.monotonic() - self._status_at > STATUS_SECONDS:
            self._print("; ".join(map(_position_text, self.progress.running.values())))

    def _print(self, line: str) -> None:
        self._status_at = time.monotonic()
        self.console.print(f"{time.strftime('%H:%M:%S')} {line}, {_time_text(self.progress)}")

    def _render(self) -> RenderableType:
        """The bars and times; nothing before the search has begun."""
        p = self.progress
        if not p.begun:
            return Group()
        rows = Table.grid(padding=(0, 1))
        rows.add_column(no_wrap=True)
        rows.add_column(width=20)
        rows.add_column(no_wrap=True)
        rows.add_column(no_wrap=True, style="dim")
        rows.add_row("search", ProgressBar(max(1, p.planned), p.trained), f"{p.trained} of {p.planned} trials")
        for trial in p.running.values():
            rows.add_row(*self._row(trial))
        lines: list[RenderableType] = [rows, Text(_time_text(p), style="dim")]
        if len(p.running) == 1:
            lines[:0] = [event_line(trial.started, self.space) for trial in p.running.values()]
        if p.trouble:
            lines.append(Text(p.trouble, style="yellow"))
        return Group(*lines)

    def _row(self, trial: RunningTrial) -> tuple[RenderableType, ...]:
        """Phase, bar, epoch with the last accuracy, worker; of one trial alone its line says the number."""
        p, (phase, done) = self.progress, trial.position
        epochs = p.fp_epochs if phase == "fp" else p.qat_epochs
        begun = trial.now is not None or trial.last is not None
        epoch = f"epoch {min(int(done) + 1, epochs)}/{epochs}" if begun else "starting"
        accuracy = "" if trial.last is None else f", {100 * trial.last.accuracy:.1f} %"
        alone = len(p.running) == 1
        number = f"trial {trial.started.number}"
        name = (PHASES[phase] if alone else f"{number} {PHASES[phase]}") if begun else number
        return name, ProgressBar(epochs, done), epoch + accuracy, "" if alone else trial.worker


def _position_text(trial: RunningTrial) -> str:
    if trial.now is None and trial.last is None:
        return f"trial {trial.started.number} starting"
    phase, done = trial.position
    return f"trial {trial.started.number} {PHASES[phase]} epoch {int(done) + (trial.now is not None)}"


def _time_text(p: SearchProgress) -> str:
    left = "estimating the time left" if p.remaining is None else f"about {duration_text(p.remaining)} left"
    best = "" if p.best is None else f"; best so far {100 * p.best[0]:.1f} % (trial {p.best[1]})"
    return f"{duration_text(p.elapsed)} elapsed, {left}{best}"
