"""Bars, heat maps and parallel coordinates drawn with characters; what is filled or coloured is also written."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text

from searcher.charts.chart import ACCURACY, Bars, Choices, HeatMap, Parallel
from searcher.views.canvas import Canvas
from searcher.views.marks import BAR, BEST, heat_style
from searcher.views.ticks import Scale, scale_of

LONGEST_BAR = 40
CELL = 8  # columns of a heat map's cell, with the space beside it
BETWEEN = 2  # rows of lines between two variables
CHOICE_LINE, BEST_LINE = Style.parse("cyan"), Style.parse(BEST.style)


def bars_lines(bars: Bars, width: int) -> list[Text]:
    """A row a bar: name, share, bar, what is said beside it (below it where there is no room)."""
    names = max(len(b.name) for b in bars.bars)
    notes = max(len(b.note) for b in bars.bars)
    room = width - names - 11
    beside = room - notes >= 8
    longest = min(LONGEST_BAR, room - notes if beside else room)
    most = max(b.value for b in bars.bars) or 1.0
    lines = [Text(bars.label, style="dim")]
    for bar in bars.bars:
        filled = BAR * round(longest * bar.value / most)
        line = Text.assemble(f"{bar.name:<{names}}  {100 * bar.value:5.1f} %  ", (filled, "cyan"), no_wrap=True)
        if beside:
            line.append(" " * (longest - len(filled) + 1)).append(bar.note, "dim")
        lines.append(line)
        if not beside:
            lines.append(Text(f"{'':<{names}}  {bar.note}", style="dim", no_wrap=True))
    return lines


def heatmap_width(heat: HeatMap) -> int:
    """Columns that `heatmap_lines` takes."""
    return max(map(len, heat.rows)) + 1 + CELL * len(heat.columns)


def heatmap_lines(heat: HeatMap) -> list[Text]:
    """A row a layer, a filled cell with its number a precision; a dot where no trial has it."""
    names = max(map(len, heat.rows))
    known = [v for row in heat.values for v in row if v is not None]
    low, high = min(known), max(known)
    head = "".join(f"{name:>{CELL - 1}} " for name in heat.columns)
    lines = [Text(heat.title, style="bold"), Text(f"{'':<{names}} {head}", style="dim", no_wrap=True)]
    for name, row in zip(heat.rows, heat.values, strict=True):
        line = Text(f"{name:<{names}} ", no_wrap=True)
        for value in row:
            text = "·" if value is None else f"{100 * value:.1f}"
            style = Style.null() if value is None else heat_style((value - low) / (high - low) if high > low else 1.0)
            line.append(" ").append(f"{text:>{CELL - 2}} ", style)
        lines.append(line)
    return lines


def parallel_lines(parallel: Parallel, width: int) -> list[Text]:
    """Variables below each other, their choices from left to right, and the best trials as lines through them.

    Beside a choice stands how many of the best took it (of all trials, where there is room); a star marks the choice
    of the most accurate one.
    """
    margin = max(*(len(v.name) for v in parallel.variables), len("Top-1 (%)")) + 2
    room = max(24, width - margin)
    best = parallel.digits[: parallel.best]
    scale = scale_of(ACCURACY, parallel.accuracies[: parallel.best], max(2, room // 12))
    places = [[_place(v, d, room) for v, d in zip(parallel.variables, digits, strict=True)] for digits in best]
    for place, accuracy in zip(places, parallel.accuracies, strict=False):
        place.append(round(scale.share(accuracy) * (room - 1)))
    lines: list[Text] = []
    for row, variable in enumerate(parallel.variables):
        for i, text in enumerate(_axis(variable, parallel.digits[0][row], room, parallel.best)):
            heading = variable.name if i == 0 else ""
            lines.append(Text.assemble((f"{heading:<{margin}}", "bold"), text, no_wrap=True))
        lines += [Text.assemble(" " * margin, text, no_wrap=True) for text in _links(places, row, room)]
    return [*lines, Text.assemble((f"{'Top-1 (%)':<{margin}}", "bold"), _accuracy_axis(scale, room), no_wrap=True)]


def parallel_note(parallel: Parallel) -> str:
    """How to read it."""
    high, low = parallel.accuracies[0], parallel.accuracies[parallel.best - 1]
    return (
        f"A line is a trial: the {parallel.best} best, {100 * low:.1f} to {100 * high:.1f} %. Beside a choice: the share "
        f"of them that took it (in brackets: of all {len(parallel.trials):,}). {BEST.character} choices of the best one, "
        f"trial {parallel.trials[0]}."
    )


def _place(variable: Choices, digit: int, room: int) -> int:
    """Column of a choice."""
    last = len(variable.choices) - 1
    return round(digit / last * (room - 1)) if last else (room - 1) // 2


def _axis(variable: Choices, best: int, room: int, count: int) -> list[Text]:
    """The choices with their shares: in full, or shorter, or on two rows, whatever fits."""
    shares = [f"{n / count:.0%}" for n in variable.best]
    everywhere = [f"({n / max(1, sum(variable.all)):.0%})" for n in variable.all]
    names = [f"{BEST.character if i == best else ''}{name}" for i, name in enumerate(variable.choices)]
    for texts in (
        map(" ".join, zip(names, shares, everywhere, strict=True)),
        map(" ".join, zip(names, shares, strict=True)),
    ):
        line = _spread(list(texts), variable, room, best)
        if line is not None:
            return [line]
    rows = [_spread(texts, variable, room, best) for texts in (names, shares)]
    return [row for row in rows if row is not None] or [Text(" ".join(names)[:room])]


def _spread(texts: list[str], variable: Choices, room: int, best: int) -> Text | None:
    """The texts at the places of their choices; None where they do not fit beside each other."""
    line, end = Text(), -1
    for digit, text in enumerate(texts):
        start = min(max(_place(variable, digit, room) - len(text) // 2, 0), room - len(text))
        if start <= end:
            return None
        line.append(" " * (start - len(line))).append(text, BEST_LINE if digit == best else None)
        end = start + len(text)
    return line


def _links(places: list[list[int]], row: int, room: int) -> list[Text]:
    """The lines from one variable to the next, the best trial's last."""
    canvas = Canvas(room, BETWEEN)
    for i, place in reversed(list(enumerate(places))):
        start, end = place[row : row + 2]
        canvas.line((2 * start, 0), (2 * end, 4 * BETWEEN - 1), CHOICE_LINE if i else BEST_LINE)
    return canvas.rows()


def _accuracy_axis(scale: Scale, room: int) -> Text:
    line = [" "] * room
    for value, text in scale.ticks:
        start = min(max(round(scale.share(value) * (room - 1)) - len(text) // 2, 0), room - len(text))
        line[start : start + len(text)] = text
    return Text("".join(line).rstrip(), style="dim")
