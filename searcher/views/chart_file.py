"""Figures as PNG and SVG: the one module that imports matplotlib, where a file is asked for.

Colours are those of Okabe and Ito (2008) and the map cividis, which people with any colour vision tell apart and which
read in grey; every series has a marker or dash of its own besides.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from searcher.charts.chart import (
    ACCURACY,
    Bars,
    Chart,
    Figure,
    Form,
    HeatMap,
    Meaning,
    Panel,
    Parallel,
    Role,
    Series,
)
from searcher.charts.costs import LEVELS
from searcher.records import Outcome
from searcher.views.svg_titles import with_titles
from searcher.views.ticks import Scale, scale_of, scales_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

DPI = 200
TICKS_X, TICKS_Y = 7, 8
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":")
_SETTINGS: Mapping[Any, Any] = {  # its keys are matplotlib's
    "svg.fonttype": "none",
    "svg.hashsalt": "bhvit-searcher",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "path.simplify": False,
    "text.parse_math": False,
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class _Look:
    """How a series is drawn: colour, marker and its area in square points, or dashes where it is a line."""

    colour: str
    marker: str = "o"
    area: float = 16
    dashes: str = "-"


_LOOKS: Mapping[Meaning, _Look] = {
    Outcome.COMPLETE: _Look("#0072B2"),
    Outcome.STOPPED: _Look("#56B4E9", "v", 14),
    Outcome.OVER_BUDGET: _Look("#E69F00", "^"),
    Outcome.DIVERGED: _Look("#D55E00", "d", 20),
    Outcome.OUT_OF_MEMORY: _Look("#D55E00", "P", 20),
    Outcome.CRASHED: _Look("#D55E00", "x", 20),
    Role.FRONT: _Look("#CC79A7", "D", 30),
    Role.BEST: _Look("#000000", "*", 110),
    Role.BEST_SO_FAR: _Look("#000000"),
    Role.PARENT: _Look("#009E73", "s", 36, "--"),
    Role.LIMIT: _Look("#E69F00", dashes="--"),
    Role.FP: _Look("#56B4E9", dashes="--"),
    Role.QAT: _Look("#0072B2"),
    Role.SWITCH: _Look("#777777", dashes=":"),
}


def as_png(figure: Figure, title: str, notes: Sequence[str]) -> bytes:
    """The figure as a PNG of 200 dots per inch, the same bytes every time."""
    with _drawn(figure, title, notes) as drawing:
        out = io.BytesIO()
        drawing.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
        return out.getvalue()


def as_svg(figure: Figure, title: str, notes: Sequence[str]) -> str:
    """The figure as an SVG whose text is text, the same every time; points say what they are when pointed at."""
    with _drawn(figure, title, notes) as drawing:
        out = io.StringIO()
        drawing.savefig(out, format="svg", metadata={"Date": None, "Creator": "bhvit-searcher", "Title": title})
        return with_titles(out.getvalue(), figure)


@contextmanager
def _drawn(figure: Figure, title: str, notes: Sequence[str]) -> Iterator[Drawing]:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as MatplotlibFigure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own settings would change what is committed
        matplotlib.rcParams.update(_SETTINGS)
        widths, heights = zip(*map(_size, figure.panels), strict=True)
        drawing = MatplotlibFigure(figsize=(sum(widths), max(heights) + 0.17 * len(notes)), layout="constrained")
        FigureCanvasAgg(drawing)
        drawing.suptitle(title, fontsize=11, fontweight="bold")
        drawing.supxlabel("\n".join(notes), fontsize=7, color="#555555", x=0.01, ha="left")
        axes = drawing.subplots(1, len(figure.panels), squeeze=False, width_ratios=widths)[0]
        for index, (ax, panel) in enumerate(zip(axes, figure.panels, strict=True)):
            _draw(ax, panel, index)
        yield drawing


def _size(panel: Panel) -> tuple[float, float]:
    """Width and height in inches."""
    match panel:
        case Chart():
            return 7.0, 4.8
        case Bars():
            return 9.0, 1.2 + 0.35 * len(panel.bars)
        case HeatMap():
            return 2.4 + 0.75 * len(panel.columns), 1.2 + 0.28 * len(panel.rows)
        case Parallel():
            return max(7.0, 1.3 * (len(panel.variables) + 1)), 5.0


def _draw(ax: Axes, panel: Panel, index: int) -> None:
    match panel:
        case Chart():
            _draw_chart(ax, panel, index)
        case Bars():
            _draw_bars(ax, panel)
        case HeatMap():
            _draw_heatmap(ax, panel)
        case Parallel():
            _draw_parallel(ax, panel)


def _draw_chart(ax: Axes, chart: Chart, index: int) -> None:
    x, y = scales_of(chart, TICKS_X, TICKS_Y)
    _set_axis(ax, "x", x)
    _set_axis(ax, "y", y)
    bottom = y.low - 0.06 * (y.high - y.low) if chart.missing else y.low  # accuracies only: their axis is linear
    ax.set_xlim(x.low, x.high)
    ax.set_ylim(bottom, y.high)
    ax.set_title(chart.title)
    if chart.missing:
        ax.axhline(y.low, color="#cccccc", linewidth=0.6)
        ax.set_yticks([(bottom + y.low) / 2, *(v for v, _ in y.ticks)], [chart.y_missing, *(t for _, t in y.ticks)])
    _draw_limits(ax, chart, x, y)
    for number, series in enumerate(chart.series):
        _draw_series(ax, series, (bottom + y.low) / 2, f"series-{index}-{number}", number)
    _legend(ax, chart)


def _legend(ax: Axes, chart: Chart) -> None:
    """Below the chart; lines of several trials in the order of their rank (the best is drawn last)."""
    places = {s.name: s.index for s in chart.series}
    pairs = sorted(zip(*ax.get_legend_handles_labels(), strict=True), key=lambda pair: places.get(pair[1], 0))
    ax.legend(
        [handle for handle, _ in pairs],
        [label for _, label in pairs],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        ncol=2,
        frameon=False,
        fontsize=8,
        scatterpoints=1,
    )


def _set_axis(ax: Axes, along: str, scale: Scale) -> None:
    values, texts = [v for v, _ in scale.ticks], [t for _, t in scale.ticks]
    getattr(ax, f"set_{along}scale")("log" if scale.log else "linear")
    getattr(ax, f"set_{along}ticks")(values, texts)
    getattr(ax, f"set_{along}ticks")([], minor=True)
    getattr(ax, f"set_{along}label")(scale.label)


def _draw_limits(ax: Axes, chart: Chart, x: Scale, y: Scale) -> None:
    """The rules, and the region within all limits."""
    for rule in chart.rules:
        look = _LOOKS[rule.role]
        line = ax.axvline if rule.along == "x" else ax.axhline
        dashes = ":" if rule.role is Role.LIMIT and rule.along == "y" else look.dashes
        line(rule.value, color=look.colour, linestyle=dashes, linewidth=1.2, label=rule.name)
    limits = {rule.along: rule.value for rule in chart.rules if rule.role is Role.LIMIT}
    if limits:
        right, top = limits.get("x", x.high), limits.get("y", y.high)
        corners = [x.low, x.low, right, right], [y.low, top, top, y.low]
        ax.fill(*corners, color="#009E73", alpha=0.06, linewidth=0, label="within the budget", zorder=0)


def _draw_series(ax: Axes, series: Series, missing: float, gid: str, order: int) -> None:
    look = _look(series)
    ys = [missing if y is None else y for y in series.y]
    label, zorder = series.name or "_", 2 + 0.01 * order
    if series.form is Form.POINTS:
        edge: dict[str, Any] = {} if look.marker == "x" else {"edgecolors": "white", "linewidths": 0.3}
        ax.scatter(
            series.x, ys, s=look.area, c=look.colour, marker=look.marker, label=label, gid=gid, zorder=zorder, **edge
        )
        return
    style = "steps-post" if series.form is Form.STEPS else "default"
    ax.plot(
        series.x,
        ys,
        drawstyle=style,
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.3,
        marker="." if series.form is Form.LINE and len(series.x) <= 60 else "",
        label=label,
        gid=gid,
        zorder=zorder,
    )


def _look(series: Series) -> _Look:
    if series.role is Role.RANK:
        return _Look(PALETTE[series.index % len(PALETTE)], dashes=_DASHES[series.index % len(_DASHES)])
    if series.role is Role.LEVEL:
        return _Look(_cividis(0.95 * series.index / (LEVELS - 1)), "o", 8 + 8 * series.index)
    return _LOOKS[series.role]


def _cividis(share: float) -> str:
    import matplotlib
    from matplotlib.colors import to_hex

    return to_hex(matplotlib.colormaps["cividis"](share))


def _draw_bars(ax: Axes, bars: Bars) -> None:
    rows = range(len(bars.bars))
    values = [100 * bar.value for bar in bars.bars]
    ax.barh(rows, values, color=PALETTE[0], height=0.65)
    ax.set_yticks(rows, [bar.name for bar in bars.bars])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.75 * max(*values, 1.0))
    ax.set_xlabel(f"{bars.label} (%)")
    for row, bar in zip(rows, bars.bars, strict=True):
        ax.annotate(
            f"{100 * bar.value:.1f} %  {bar.note}",
            (100 * bar.value, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )


def _draw_heatmap(ax: Axes, heat: HeatMap) -> None:
    known = [v for row in heat.values for v in row if v is not None]
    low, high = min(known), max(known)
    ax.set_title(heat.title)
    ax.set_xticks(range(len(heat.columns)), heat.columns)
    ax.set_yticks(range(len(heat.rows)), heat.rows)
    ax.set_xlim(-0.5, len(heat.columns) - 0.5)
    ax.set_ylim(len(heat.rows) - 0.5, -0.5)
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    for row, values in enumerate(heat.values):
        for column, value in enumerate(values):
            share = 0.0 if value is None else (value - low) / (high - low) if high > low else 1.0
            colour = "#f2f2f2" if value is None else _cividis(share)
            left, right, top, bottom = column - 0.48, column + 0.48, row - 0.46, row + 0.46
            ax.fill([left, right, right, left], [top, top, bottom, bottom], color=colour, linewidth=0)
            text = "·" if value is None else f"{100 * value:.{heat.decimals}f}"
            ax.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color="black" if share > 0.55 or value is None else "white",
            )


def _draw_parallel(ax: Axes, parallel: Parallel) -> None:
    """All trials thin and grey, the best on top by accuracy; lines are shifted a little where they would coincide."""
    from matplotlib.collections import LineCollection

    scale = scale_of(ACCURACY, parallel.accuracies, TICKS_Y)
    lines = [
        [(i, _height(d, len(v.choices), n)) for i, (v, d) in enumerate(zip(parallel.variables, digits, strict=True))]
        + [(len(parallel.variables), scale.share(accuracy))]
        for n, (digits, accuracy) in enumerate(zip(parallel.digits, parallel.accuracies, strict=True))
    ]
    ax.add_collection(
        LineCollection(lines[parallel.best :], colors="#999999", linewidths=0.4, alpha=0.25, gid="parallel-others")
    )
    shares = [1 - n / max(1, parallel.best - 1) for n in range(parallel.best)]
    colours = [_cividis(0.9 * share) for share in shares]
    ax.add_collection(
        LineCollection(lines[: parallel.best][::-1], colors=colours[::-1], linewidths=1.4, gid="parallel-best")
    )
    columns = [*(v.name for v in parallel.variables), "Top-1 (%)"]
    ax.set_xticks(range(len(columns)), columns, rotation=25, ha="right")
    ax.set_yticks([])
    ax.set_xlim(-0.3, len(columns) - 0.4)
    ax.set_ylim(-0.08, 1.08)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    for column, variable in enumerate(parallel.variables):
        ax.axvline(column, color="#bbbbbb", linewidth=0.8, zorder=0)
        for digit, choice in enumerate(variable.choices):
            share = variable.best[digit] / parallel.best
            place = (column, _height(digit, len(variable.choices)))
            ax.annotate(
                f"{choice} {share:.0%}", place, (3, 0), textcoords="offset points", fontsize=7, va="center", bbox=box
            )
    last = len(parallel.variables)
    ax.axvline(last, color="#bbbbbb", linewidth=0.8, zorder=0)
    for value, text in scale.ticks:
        ax.annotate(text, (last, scale.share(value)), (3, 0), textcoords="offset points", fontsize=7, va="center")


def parallel_note(parallel: Parallel) -> str:
    """How to read it."""
    return (
        f"Lines: the {parallel.best} best, yellow the most accurate; grey: the others of {len(parallel.trials):,}. "
        "Beside a choice: the share of the best that took it."
    )


def _height(digit: int, choices: int, line: int | None = None) -> float:
    """Where a choice is on its axis, 0..1; that of a line is up to 2 % beside it, always the same for a trial."""
    middle = digit / (choices - 1) if choices > 1 else 0.5
    return middle if line is None else middle + 0.04 * ((line * 0.618034) % 1 - 0.5)
