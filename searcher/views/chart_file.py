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
    panels_across,
)
from searcher.charts.costs import LEVELS
from searcher.records import Outcome
from searcher.views.choices_file import BLUE, TICKS_Y, cividis, draw_bars, draw_heatmap, draw_parallel
from searcher.views.svg_titles import with_titles
from searcher.views.ticks import Scale, scales_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

DPI = 200
TICKS_X = 7
PALETTE = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
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
    """How a series is drawn: colour, marker and its area in square points, or dashes where it is a line.

    Markers are as near as they can be to the marks of the other views.
    """

    colour: str
    marker: str = "o"
    area: float = 16
    dashes: str = "-"


_LOOKS: Mapping[Meaning, _Look] = {
    Outcome.COMPLETE: _Look("#0072B2"),
    Outcome.STOPPED: _Look("#56B4E9", r"$\sim$", 30),
    Outcome.OVER_BUDGET: _Look("#E69F00", r"$\uparrow$", 36),
    Outcome.DIVERGED: _Look("#D55E00", r"$\infty$", 40),
    Outcome.OUT_OF_MEMORY: _Look("#D55E00", "$!$", 40),
    Outcome.CRASHED: _Look("#D55E00", r"$\times$", 30),
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
        across = panels_across(figure.panels)
        sizes = [_size(panel) for panel in figure.panels]
        lines = [sizes[i : i + across] for i in range(0, len(sizes), across)]
        widths = [max(line[i][0] for line in lines) for i in range(across)]
        heights = [max(height for _, height in line) for line in lines]
        drawing = MatplotlibFigure(figsize=(sum(widths), sum(heights) + 0.17 * len(notes)), layout="constrained")
        FigureCanvasAgg(drawing)
        drawing.suptitle(title, fontsize=11, fontweight="bold")
        drawing.supxlabel("\n".join(notes), fontsize=7, color="#555555", x=0.01, ha="left")
        axes = drawing.subplots(len(lines), across, squeeze=False, width_ratios=widths, height_ratios=heights)
        for index, (ax, panel) in enumerate(zip(axes.flat, figure.panels, strict=True)):
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
            draw_bars(ax, panel)
        case HeatMap():
            draw_heatmap(ax, panel)
        case Parallel():
            draw_parallel(ax, panel)


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
        _draw_points(ax, series.x, ys, look, label=label, gid=gid, zorder=zorder)
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


def _draw_points(ax: Axes, xs: Sequence[float], ys: Sequence[float], look: _Look, **options: Any) -> None:
    import matplotlib

    written = look.marker.startswith("$")
    edge: dict[str, Any] = {"linewidths": 0.2} if written else {"edgecolors": "white", "linewidths": 0.3}
    with matplotlib.rc_context({"text.parse_math": True}):  # of the marker
        ax.scatter(xs, ys, s=look.area, c=look.colour, marker=look.marker, **edge, **options)


def _look(series: Series) -> _Look:
    if series.role is Role.RANK:
        return _Look(PALETTE[series.index % len(PALETTE)], dashes=_DASHES[series.index % len(_DASHES)])
    if series.role is Role.LEVEL:
        return _Look(cividis(0.95 * series.index / (LEVELS - 1)), "o", 8 + 8 * series.index)
    return _LOOKS[series.role]
