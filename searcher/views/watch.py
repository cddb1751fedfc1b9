"""A study on a screen of a given size, at a given moment: what `searcher watch` draws again and again."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.text import Text

from bhvit.wording import plural
from searcher.trial_report import trial_report
from searcher.views.marks import ALERT, BEST, CHOSEN, FRONT, LOST, OUTCOMES
from searcher.views.strip import strips_note
from searcher.views.trial import trial_view
from searcher.views.watch_head import UNLIMITED, alert_lines, head_lines, title
from searcher.views.watch_rows import WorkerTable, plain_trials, plain_workers, trial_lines
from searcher.views.watch_ui import KEYS, WatchUI
from searcher.watched_trials import NEWEST
from searcher.watching import WatchedStudy

LOW, HIGH = 20, 40  # screens of so many lines show less, or more, beside the list
LEAST_LIST = 7  # lines of the list of trials with what stands around it
REREAD_SECONDS = 5.0  # a trial under way that is open is looked at again so often


@dataclass(frozen=True)
class Frame:
    """The lines of a screen; how many lines of a list it holds, and how far an open view can be scrolled."""

    lines: list[Text]
    page: int
    scroll_limit: int = 0


class WatchView:
    """Draws a `WatchUI` and its study; `program` is how the user calls us, in the commands of an open trial."""

    def __init__(self, ui: WatchUI, program: str = "searcher") -> None:
        self.ui, self.study, self.program = ui, ui.study, program
        self._opened: tuple[tuple[object, ...], list[Text]] | None = None
        self._table = WorkerTable()

    def frame(self, console: Console, width: int, height: int, now: float) -> Frame:
        """At most `height` lines of at most `width` columns; `console` says how trials are rendered."""
        ui, now = self.ui, now if self.ui.paused is None else self.ui.paused
        head = [title(self.study, now, ui.paused is not None, width)]
        ui.forget_removed()
        if ui.help:
            frame = self._scrolled(head, list(_help(self.study, width)), height)
        elif ui.opened is not None:
            frame = self._scrolled(head, self._trial(console, ui.opened, width, now), height)
        else:
            frame = self._overview(head, width, height, now)
        lines = frame.lines[:height]
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return Frame(lines, frame.page, frame.scroll_limit)

    def once(self, now: float, width: int, height: int, top: int | None) -> list[Text]:
        """The overview without keys: as many trials as `height` lines have room for, or `top`."""
        above = self._above([title(self.study, now, False, width)], width, height, now)
        room = max(1, height - len(above) - 4)  # blank line, headings, how many more there are
        return [
            *above,
            *self._trials(now, width, room if top is None else top),
            *self._more(room if top is None else top),
        ]

    def plain(self, now: float, top: int) -> list[Text]:
        """The overview for a pipe, of which nothing is cut, with the first `top` trials."""
        study, numbers = self.study, self.ui.trials.numbers
        parts = [title(study, now, False, None), *head_lines(study, now, None)]
        if study.workers:
            parts += [Text(), plain_workers(study.workers, now)]
        parts += [*alert_lines(study, now, UNLIMITED, UNLIMITED), Text(), self._heading()]
        if numbers:
            parts += [plain_trials(study, numbers[:top], now), *self._more(top)]
        return parts

    def _overview(self, head: list[Text], width: int, height: int, now: float) -> Frame:
        """Header, workers, alerts, as many trials as fit, keys."""
        foot = self._foot()
        above = self._above(head, width, height - len(foot), now)
        page = max(1, height - len(above) - len(foot) - 3)
        trials = self._trials(now, width, page)
        return Frame([*above, *trials, *_filling(height - len(above) - len(trials) - len(foot)), *foot], page)

    def _above(self, head: list[Text], width: int, height: int, now: float) -> list[Text]:
        """What stands above the trials, which leaves room for some of them."""
        head = head + list(head_lines(self.study, now, width))[: 2 if height < LOW else None]
        room = height - len(head) - LEAST_LIST
        workers = self._workers(now, width, most=max(1, (room - 2) // 2 if height < HIGH else room - 10))
        room -= len(workers)
        most = min(room - 1, 3 if height < HIGH else 8)
        return [*head, *workers, *(alert_lines(self.study, now, most, width) if most > 0 else [])]

    def _workers(self, now: float, width: int, most: int) -> list[Text]:
        workers = self.study.workers
        if not workers:
            return []
        chosen = self.ui.chosen
        shown = set(_window([worker.number for worker in workers], chosen, most))
        lines = self._table.lines(self.study, [w for w in workers if w.number in shown], chosen, now, width)
        hidden = len(workers) - len(shown)
        return [Text(), *lines, *([Text(f"   and {hidden} more", style="dim")] if hidden else [])]

    def _trials(self, now: float, width: int, page: int) -> list[Text]:
        numbers = self.ui.trials.numbers
        if not numbers:
            return [Text(), self._heading()]
        shown = _window(numbers, self.ui.chosen, page)
        return [Text(), self._heading(), *trial_lines(self.study, shown, self.ui.chosen, now, width)]

    def _heading(self) -> Text:
        """What stands over the trials: how many there are, and in which order."""
        trials = self.ui.trials
        numbers, where = trials.numbers, trials.where
        if not trials.listable:
            return Text("no trial has ended yet", style="dim")
        counted = f"{len(numbers):,} of {trials.listable:,}" if where else f"{len(numbers):,}"
        heading = Text.assemble((f"{counted} {plural('trial', trials.listable)}", "bold"))
        heading.append(f"{f' with {where}' if where else ''}, {self._order()}")
        if not numbers:
            heading.append("; none satisfies the filter")
        return heading

    def _more(self, top: int) -> list[Text]:
        """How many trials are left out, and how to see them."""
        numbers = self.ui.trials.numbers
        left = len(numbers) - top
        return [Text(f"... and {left:,} more: --top {len(numbers)}", style="dim")] if left > 0 else []

    def _order(self) -> str:
        trials = self.ui.trials
        largest_first = trials.sorts[trials.sort] != trials.reverse
        if trials.sort == NEWEST:
            return "newest first" if largest_first else "oldest first"
        return f"by {trials.sort}, {'largest' if largest_first else 'smallest'} first"

    def _trial(self, console: Console, number: int, width: int, now: float) -> list[Text]:
        """The view of a trial, rendered anew where something of it changed."""
        study = self.study
        running = number in study.under_way
        key = (study.records[number], study.epochs.get(number), width, running and now // REREAD_SECONDS)
        if self._opened is None or self._opened[0] != key:
            view = trial_view(trial_report(study.snapshot(), number), self.program)
            self._opened = key, _rendered(console, view, width)
        return self._opened[1]

    def _scrolled(self, head: list[Text], body: Sequence[Text], height: int) -> Frame:
        """A part of `body` under the title and above the keys."""
        page = max(1, height - 3)
        limit = max(0, len(body) - page)
        top = min(self.ui.scroll, limit)
        shown = [line.copy() for line in body[top : top + page]]
        place = f"   lines {top + 1} to {top + len(shown)} of {len(body)}" if limit else ""
        foot = Text(f"{'up down scroll   ' if limit else ''}Esc back   p pause   q quit{place}", style="dim")
        return Frame([*head, Text(), *shown, *_filling(page - len(shown)), foot], page, limit)

    def _foot(self) -> list[Text]:
        """The keys, or the line in which a filter is written and what is wrong with it."""
        prompt = self.ui.prompt
        if prompt is not None:
            how = Text("such as hidden>=2 and accuracy>60%   Enter filters   Esc forgets   Ctrl-U empties", style="dim")
            line = Text.assemble(("show only trials with: ", "bold"), prompt.text, (" ", "reverse"))
            return [ALERT.text(prompt.error) if prompt.error else how, line]
        return [Text("up down choose  Enter open  s sort  r reverse  / filter  p pause  ? help  q quit", style="dim")]


def _help(study: WatchedStudy, width: int) -> Iterator[Text]:
    """Keys, and the marks with their meaning."""
    yield Text("Keys", style="bold")
    indent = max(map(len, KEYS)) + 3
    for key, meaning in KEYS.items():
        yield Text.assemble((f"{key:<{indent}}", "cyan"), meaning)
    yield Text()
    yield Text("Marks", style="bold")
    outcomes = [mark.text(str(outcome)) for outcome, mark in OUTCOMES.items()]
    for some in (outcomes[:5], outcomes[5:]):
        yield Text("   ").join(some)
    yield BEST.text("the most accurate within the budget")
    yield FRONT.text("on the Pareto front of accuracy and costs, within the budget")
    yield LOST.text("a worker was lost; its trial goes on from its last epoch")
    yield ALERT.text("something that should not be so")
    yield CHOSEN.text("chosen")
    yield from map(Text, textwrap.wrap(strips_note(study.space.models), max(2, width)))


def _window(numbers: Sequence[int], chosen: int | None, count: int) -> Sequence[int]:
    """At most `count` neighbours, with the chosen one in their middle where there is one."""
    place = numbers.index(chosen) if chosen in numbers else 0
    top = max(0, min(place - count // 2, len(numbers) - count))
    return numbers[top : top + count]


def _filling(count: int) -> list[Text]:
    return [Text() for _ in range(count)]


def _rendered(console: Console, renderable: RenderableType, width: int) -> list[Text]:
    """The lines of anything that rich can draw."""
    options = console.options.update(width=width, height=None)
    lines = console.render_lines(renderable, options, pad=False)
    return [Text.assemble(*((s.text, s.style or "") for s in line if not s.control)) for line in lines]
