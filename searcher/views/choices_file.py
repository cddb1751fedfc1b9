"""Bars, heat maps and parallel coordinates drawn into matplotlib's axes, for files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from searcher.charts.chart import ACCURACY, Bars, HeatMap, Parallel
from searcher.views.ticks import scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS_Y = 8
LABEL_ABOVE = 0.025  # of the axis, above its choice and the lines that run through it
BLUE = "#0072B2"


def cividis(share: float) -> str:
    """The colour of that map, dark blue (0) to yellow (1)."""
    import matplotlib
    from matplotlib.colors import to_hex

    return to_hex(matplotlib.colormaps["cividis"](share))


def draw_bars(ax: Axes, bars: Bars) -> None:
    """A row a bar, with what is said beside it."""
    rows = range(len(bars.bars))
    values = [100 * bar.value for bar in bars.bars]
    ax.barh(rows, values, color=BLUE, height=0.65)
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


def draw_heatmap(ax: Axes, heat: HeatMap) -> None:
    """A filled cell with its number for every row and column."""
    known = [v for row in heat.values for v in row if v is not None]
    low, high = min(known), max(known)
    ax.set_title(heat.caption)
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
            colour = "#f2f2f2" if value is None else cividis(share)
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


def draw_parallel(ax: Axes, parallel: Parallel) -> None:
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
    colours = [cividis(0.9 * share) for share in shares]
    ax.add_collection(
        LineCollection(lines[: parallel.best][::-1], colors=colours[::-1], linewidths=1.4, gid="parallel-best")
    )
    columns = [*(v.name for v in parallel.variables), "Top-1 (%)"]
    ax.set_xticks(range(len(columns)), columns, rotation=25, ha="right")
    ax.set_yticks([])
    ax.set_xlim(-0.3, len(columns) - 0.4)
    ax.set_ylim(-0.08, 1.1)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    for column, variable in enumerate(parallel.variables):
        ax.axvline(column, color="#bbbbbb", linewidth=0.8, zorder=0)
        for digit, choice in enumerate(variable.choices):
            said = f"{choice} {100 * variable.best[digit] / parallel.best:.0f} %"
            place = (column, _height(digit, len(variable.choices)) + LABEL_ABOVE)
            ax.text(*place, said, fontsize=7, ha="center", va="bottom")
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
