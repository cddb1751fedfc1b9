"""A chart drawn with characters: marks for points, braille dots for lines, round ticks, and a legend in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.style import Style
from rich.text import Text

from searcher.charts.chart import Chart, Form, Role, Rule, Series
from searcher.views.canvas import Canvas
from searcher.views.console import chart_width
from searcher.views.fallback import FRAME
from searcher.views.marks import mark_of
from searcher.views.ticks import Scale, scales_of

HEIGHT = 16
DASHED = 2  # dots left out after every two, of the line of phase 1
RANK_EVERY = 12  # columns between the marks of a line that is told apart by its mark
_VERTICAL, _HORIZONTAL = "┊", "╌"


def chart_text(chart: Chart, height: int = HEIGHT) -> RenderableType:
    """The chart on the columns that there are and `height` rows of points, with its axes and legend."""
    return _ChartText(chart, height)


@dataclass(frozen=True)
class _ChartText:
    chart: Chart
    height: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in chart_lines(self.chart, chart_width(options), self.height):
            yield for_console(line, console)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(chart_width(options), chart_width(options))


def for_console(line: Text, console: Console) -> Text:
    """The line as the console wants it: no box drawing in a pipe."""
    if not console.is_terminal:
        line = line.copy()
        line.plain = line.plain.translate(FRAME)
    return line


def chart_lines(chart: Chart, width: int, height: int = HEIGHT) -> list[Text]:
    """Title (if any), the canvas beside its y axis, x axis and legend; no line is wider than `width`."""
    x, y = scales_of(chart, max(2, width // 14), max(2, height // 2))
    texts = [text for _, text in y.ticks] + ([chart.y_missing] if chart.missing else [])
    margin = max(map(len, texts), default=0) + 1
    canvas = Canvas(max(8, width - margin - 2), height)
    _draw(canvas, chart, x, y)
    lines = [_line(chart.title, "bold")] if chart.title else []
    lines.append(_line(y.label, "dim"))
    tick_rows = {_row(canvas, y, value): text for value, text in y.ticks}
    for row, content in enumerate(canvas.rows()):
        text = tick_rows.get(row, "")
        lines.append(Text.assemble((f"{text:>{margin}}{'┤' if text else '│'}", "dim"), content, no_wrap=True))
    if chart.missing:
        missing = _missing_row(chart, x, canvas.width)
        lines.append(Text.assemble((f"{chart.y_missing:>{margin}}│", "dim"), missing, no_wrap=True))
    lines += _x_axis(x, canvas.width, margin)
    return [*lines, *_legend(chart, width)]


def _draw(canvas: Canvas, chart: Chart, x: Scale, y: Scale) -> None:
    for rule in chart.rules:
        _draw_rule(canvas, rule, x, y)
    for series in chart.series:
        mark = mark_of(series.role, series.index)
        if series.form is not Form.POINTS:
            _draw_line(canvas, series, x, y)
        elif series.role is not Role.LEVEL:
            for column, row in dict.fromkeys(_cells(canvas, series, x, y)):
                canvas.mark(column, row, mark.character, Style.parse(mark.style))
    _draw_levels(canvas, chart, x, y)
    for series in chart.series:
        if series.role is Role.RANK:
            _mark_along(canvas, series, x, y)


def _draw_levels(canvas: Canvas, chart: Chart, x: Scale, y: Scale) -> None:
    """Classes from low to high: where several points share a character it shows their mean."""
    found: dict[tuple[int, int], list[int]] = {}
    for series in chart.series:
        if series.role is Role.LEVEL:
            for cell in _cells(canvas, series, x, y):
                found.setdefault(cell, []).append(series.index)
    for (column, row), indices in found.items():
        mark = mark_of(Role.LEVEL, round(sum(indices) / len(indices)))
        canvas.mark(column, row, mark.character, Style.parse(mark.style))


def _cells(canvas: Canvas, series: Series, x: Scale, y: Scale) -> list[tuple[int, int]]:
    """The characters in which the points of the series lie."""
    points = ((a, b) for a, b in zip(series.x, series.y, strict=True) if b is not None)
    return [(_column(canvas.width, x, a), _row(canvas, y, b)) for a, b in points]


def _draw_line(canvas: Canvas, series: Series, x: Scale, y: Scale) -> None:
    """Dots from point to point; steps run through the middle of the characters that their points would be marked in."""
    style = Style.parse(mark_of(series.role, series.index).style)
    if series.form is Form.STEPS:
        dots = [(2 * column, 4 * row + 2) for column, row in _cells(canvas, series, x, y)]
        for start, end in pairwise(dots):
            canvas.line(start, (end[0], start[1]), style)
            canvas.line((end[0], start[1]), end, style)
        return
    dots = [
        (round(x.share(a) * (2 * canvas.width - 1)), round((1 - y.share(b)) * (4 * canvas.height - 1)))
        for a, b in zip(series.x, series.y, strict=True)
        if b is not None
    ]
    gap = DASHED if series.role is Role.FP else 0
    for start, end in pairwise(dots):
        canvas.line(start, end, style, gap)


def _mark_along(canvas: Canvas, series: Series, x: Scale, y: Scale) -> None:
    """The series' mark at some of its points, those of other series elsewhere."""
    mark = mark_of(series.role, series.index)
    last = -RANK_EVERY
    for column, row in _cells(canvas, series, x, y)[::-1]:
        if abs(column - last) >= RANK_EVERY and canvas.free(column, row):
            canvas.mark(column, row, mark.character, Style.parse(mark.style))
            last = column


def _draw_rule(canvas: Canvas, rule: Rule, x: Scale, y: Scale) -> None:
    style = Style.parse(mark_of(rule.role).style)
    if rule.along == "x":
        for row in range(canvas.height):
            canvas.mark(_column(canvas.width, x, rule.value), row, _VERTICAL, style)
    else:
        for column in range(canvas.width):
            canvas.mark(column, _row(canvas, y, rule.value), _HORIZONTAL, style)


def _missing_row(chart: Chart, x: Scale, width: int) -> Text:
    """The row of points that have no y."""
    canvas = Canvas(width, 1)
    for series in chart.series:
        mark = mark_of(series.role)
        for a, b in zip(series.x, series.y, strict=True):
            if b is None:
                canvas.mark(_column(width, x, a), 0, mark.character, Style.parse(mark.style))
    return canvas.rows()[0]


def _x_axis(x: Scale, width: int, margin: int) -> Iterator[Text]:
    """The line with its ticks, their texts, and the label at the right end."""
    line, texts = ["─"] * width, [" "] * (margin + 1 + width)
    for value, text in x.ticks:
        column = _column(width, x, value)
        start = max(0, min(margin + 1 + column - len(text) // 2, len(texts) - len(text)))
        if all(c == " " for c in texts[max(0, start - 1) : start + len(text) + 1]):
            line[column] = "┬"
            texts[start : start + len(text)] = text
    yield _line(f"{' ' * margin}└{''.join(line)}", "dim")
    yield _line("".join(texts).rstrip(), "dim")
    yield _line(f"{x.label:>{margin + 1 + width}}", "dim")


def _legend(chart: Chart, width: int) -> list[Text]:
    """What marks and lines stand for, as many beside each other as fit."""
    items = [legend_item(s) for s in sorted(chart.series, key=lambda s: s.index) if s.name]
    for rule in chart.rules:
        character = _VERTICAL if rule.along == "x" else _HORIZONTAL
        items.append(Text(f"{character} {rule.name}", style=mark_of(rule.role).style))
    return flowing(items, width)


def legend_item(series: Series) -> Text:
    """Mark and name of a series."""
    mark = mark_of(series.role, series.index)
    swatch = mark.character if series.form is Form.POINTS or series.role is Role.RANK else mark.character * 2
    return Text(f"{swatch} {series.name}", style=mark.style)


def flowing(items: Sequence[Text], width: int, gap: int = 3) -> list[Text]:
    """Texts beside each other, wrapped between them."""
    lines: list[Text] = []
    for item in items:
        if lines and len(lines[-1]) + gap + len(item) <= width:
            lines[-1].append(" " * gap).append_text(item)
        else:
            lines.append(Text(no_wrap=True).append_text(item))
    return lines


def _column(width: int, x: Scale, value: float) -> int:
    return round(x.share(value) * (width - 1))


def _row(canvas: Canvas, y: Scale, value: float) -> int:
    return round((1 - y.share(value)) * (canvas.height - 1))


def _line(text: str, style: str) -> Text:
    return Text(text, style=style, no_wrap=True)
