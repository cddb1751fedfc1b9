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
ROOM = 40  # columns that the axis of a variable needs
LINES = 5  # trials that are drawn as lines: more are not told apart
CHOICE_LINE, BEST_LINE = Style.parse("cyan"), Style.parse(BEST.style)


def bars_lines(bars: Bars, width: int) -> list[Text]:
    """A row a bar: name, share, bar, what is said beside it (below it where there is no room)."""
    names = max(len(b.name) for b in bars.bars)
    notes = max(len(b.note) for b in bars.bars)
    room = width - names - 12  # two gaps, the share with its sign, a space before the note
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
    lines = [Text(heat.caption, style="bold"), Text(f"{'':<{names}} {head}", style="dim", no_wrap=True)]
    for name, row in zip(heat.rows, heat.values, strict=True):
        line = Text(f"{name:<{names}} ", no_wrap=True)
        for value in row:
            text = "·" if value is None else f"{100 * value:.{heat.decimals}f}"
            style = Style.null() if value is None else heat_style((value - low) / (high - low) if high > low else 1.0)
            line.append(" ").append(f"{text:>{CELL - 2}} ", style)
        lines.append(line)
    return lines


def parallel_lines(parallel: Parallel, width: int) -> list[Text]:
    """Variables below each other, their choices from left to right, the `LINES` best trials as lines through them.

    Beside a choice stands the share of the best trials that took it (and of all, where there is room); a star marks the
    choice of the most accurate one.
    """
    margin = _margin(parallel, width)
    room = width - margin
    best = parallel.digits[: min(parallel.best, LINES)]
    scale = scale_of(ACCURACY, parallel.accuracies[: len(best)], max(2, room // 8))
    places = [[_place(v, d, room) for v, d in zip(parallel.variables, digits, strict=True)] for digits in best]
    for place, accuracy in zip(places, parallel.accuracies, strict=False):
        place.append(round(scale.share(accuracy) * (room - 1)))
    lines: list[Text] = []
    axes, _ = _axes(parallel, room)
    for row, (variable, axis) in enumerate(zip(parallel.variables, axes, strict=True)):
        lines += _named(variable.name, [*axis, *_links(places, row, room)], margin)
    return [*lines, *_named("Top-1 (%)", [_accuracy_axis(scale, room)], margin)]


def _margin(parallel: Parallel, width: int) -> int:
    """Columns for the names; 0 where they are so long that they stand above their axes."""
    margin = max(*(len(v.name) for v in parallel.variables), len("Top-1 (%)")) + 2
    return margin if width - margin >= ROOM else 0


def _named(name: str, rows: list[Text], margin: int) -> list[Text]:
    """The rows with the name before the first of them, or above it where there is no margin."""
    heading = Text(name, style="bold", no_wrap=True)
    if not margin:
        return [heading, *rows]
    heading.pad_right(margin - len(heading))
    first, *others = rows
    return [heading.append_text(first), *(Text(" " * margin, no_wrap=True).append_text(row) for row in others)]


def parallel_note(parallel: Parallel, width: int) -> str:
    """How to read what is drawn on `width` columns."""
    _, with_all = _axes(parallel, width - _margin(parallel, width))
    brackets = f"; in brackets, that of all {len(parallel.trials):,}" if with_all else ""
    high, low = parallel.accuracies[0], parallel.accuracies[parallel.best - 1]
    many = f"{parallel.best} best ({100 * low:.1f} to {100 * high:.1f} %)" if parallel.best > 1 else "best trial"
    drawn = f"{min(parallel.best, LINES)} best" if parallel.best > 1 else "best"
    return (
        f"Beside a choice: the share of the {many} that took it{brackets}. Lines: the {drawn}. {BEST.character} "
        f"choices of the best one, trial {parallel.trials[0]}."
    )


def _place(variable: Choices, digit: int, room: int) -> int:
    """Column of a choice."""
    last = len(variable.choices) - 1
    return round(digit / last * (room - 1)) if last else (room - 1) // 2


def _axes(parallel: Parallel, room: int) -> tuple[list[list[Text]], bool]:
    """The choices of every variable with their shares: in full, or shorter, or on two rows, whatever fits for all.

    Also whether the shares of all trials are among them.
    """
    forms = [(0, 1, 2)], [(0, 1)], [(0,), (1,)]  # which of a choice's words stand on each row
    for form in forms:
        axes = []
        for variable, best in zip(parallel.variables, parallel.digits[0], strict=True):
            words = _words(variable, best, parallel.best)
            rows = [[" ".join(word[i] for i in row) for word in words] for row in form]
            axes.append([_spread(texts, variable, room, best) for texts in rows])
        if form is forms[-1] or all(line is not None for axis in axes for line in axis):
            break
    drawn = [[line or Text("too many choices for this width", style="dim") for line in axis] for axis in axes]
    return drawn, form is forms[0]


def _words(variable: Choices, best: int, count: int) -> list[tuple[str, str, str]]:
    """Of each choice its name, the share of the best that took it, and that of all."""
    every = max(1, sum(variable.all))
    return [
        (f"{BEST.character if i == best else ''}{name}", f"{100 * n / count:.0f} %", f"({100 * m / every:.0f} %)")
        for i, (name, n, m) in enumerate(zip(variable.choices, variable.best, variable.all, strict=True))
    ]


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
