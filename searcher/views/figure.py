"""What `plot` prints: the study, the panels beside or below each other, and what must be known to read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from searcher.charts.chart import Bars, Chart, Figure, HeatMap, Panel, Parallel, panels_across
from searcher.plain import budget_json
from searcher.quantities import QUANTITIES
from searcher.snapshot import StudySnapshot
from searcher.views.chart_text import chart_lines, flowing, for_console
from searcher.views.choices_text import bars_lines, heatmap_lines, heatmap_width, parallel_lines, parallel_note
from searcher.views.console import chart_width

WIDE = 140  # columns from which two charts stand beside each other
GAP = 4
HEIGHT, LOW, HIGH = 16, 12, 24  # rows of one chart; of one of two below each other; on a wide terminal


def figure_view(snapshot: StudySnapshot, figure: Figure) -> RenderableType:
    """The whole figure on the columns that there are."""
    return _FigureView(snapshot, figure)


def figure_json(snapshot: StudySnapshot, figure: Figure) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "study": str(snapshot.folder.path),
        "kind": figure.kind,
        "title": figure.title,
        "budget": budget_json(snapshot.budget),
        "panels": [panel.to_json() for panel in figure.panels],
        "notes": list(figure.notes),
        "nothing": figure.nothing,
        "trials": [
            {
                "trial": t.number,
                "outcome": t.outcome.value,
                "accuracy": t.accuracy,
                **{quantity.field: quantity.of(t) for quantity in QUANTITIES.values()},
            }
            for t in figure.trials
        ],
    }


def heading(snapshot: StudySnapshot, figure: Figure) -> str:
    """Title of the figure, with the study's name."""
    return f"{figure.title} ({snapshot.folder.path.resolve().name})"


def notes(snapshot: StudySnapshot, figure: Figure, parallel: Callable[[Parallel], str]) -> list[str]:
    """What stands below the panels; `parallel` says how parallel coordinates are to be read."""
    found = [parallel(p) for p in figure.panels if isinstance(p, Parallel)]
    return [*found, *figure.notes, f"Budget: {snapshot.budget}."]


@dataclass(frozen=True)
class _FigureView:
    snapshot: StudySnapshot
    figure: Figure

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = chart_width(options)
        yield Text(heading(self.snapshot, self.figure), style="bold")
        yield Text("")
        for line in _panels(self.figure.panels, width):
            yield for_console(line, console)
        yield Text("")
        for note in notes(self.snapshot, self.figure, lambda panel: parallel_note(panel, width)):
            for line in flowing([Text(word) for word in note.split()], width, gap=1):
                line.stylize("dim")
                yield for_console(line, console)


def _panels(panels: Sequence[Panel], width: int) -> list[Text]:
    """The panels beside each other where there is room, else below each other."""
    if len(panels) == 1:
        return _lines(panels[0], width, HIGH if width >= WIDE else HEIGHT)
    if len(panels) > (across := panels_across(panels)):
        stacked = [_panels(panels[i : i + across], width) for i in range(0, len(panels), across)]
        return list(chain.from_iterable([*([Text("")] if i else []), *lines] for i, lines in enumerate(stacked)))
    if all(isinstance(p, HeatMap) for p in panels):
        wide = sum(heatmap_width(p) for p in panels if isinstance(p, HeatMap)) + GAP * (len(panels) - 1) <= width
    else:
        wide = width >= WIDE // 2 * len(panels)
    if wide:
        share = (width - GAP * (len(panels) - 1)) // len(panels)
        return _beside([_lines(panel, share, HIGH) for panel in panels])
    below: list[Text] = []
    for panel in panels:
        below += [*([Text("")] if below else []), *_lines(panel, width, LOW)]
    return below


def _beside(columns: Sequence[list[Text]]) -> list[Text]:
    widths = [max(map(len, lines)) for lines in columns]
    rows = []
    for parts in zip_longest(*columns, fillvalue=Text("")):
        row = Text(no_wrap=True)
        for part, width in zip(parts, widths, strict=True):
            row.append_text(part).append(" " * (width + GAP - len(part)))
        row.rstrip()
        rows.append(row)
    return rows


def _lines(panel: Panel, width: int, height: int) -> list[Text]:
    match panel:
        case Chart():
            return chart_lines(panel, width, height)
        case Bars():
            return bars_lines(panel, width)
        case HeatMap():
            return heatmap_lines(panel)
        case Parallel():
            return parallel_lines(panel, width)
