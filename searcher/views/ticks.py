"""Scales of charts: round ticks in one unit, for the terminal and for files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from searcher.charts.chart import Axis, Chart, Unit

FEW_TICKS = 3  # fewer say little about an axis
PADDING = 0.03  # of the span, on both sides of the values
_UNITS = {
    Unit.ACCURACY: ((0.01, "%"),),
    Unit.BYTES: ((1, "B"), (2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB")),
    Unit.OPS: ((1, ""), (10**3, "k"), (10**6, "M"), (10**9, "G"), (10**12, "T")),
    Unit.SECONDS: ((1e-6, "µs"), (1e-3, "ms"), (1, "s")),
    Unit.COUNT: ((1, ""),),
}
_SMALLEST = {  # span of an axis
    Unit.ACCURACY: 0.01,
    Unit.BYTES: 1.0,
    Unit.OPS: 1.0,
    Unit.SECONDS: 1e-6,
    Unit.COUNT: 2.0,
}
_ROUND = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Scale:
    """From `low` to `high` in the axis' unit of data; `ticks` are values with the texts that stand beside them."""

    label: str
    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        """Where `value` lies between both ends, 0..1 inside."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def scale_of(axis: Axis, values: Sequence[float], most: int) -> Scale:
    """The scale that holds `values` with `most` ticks or a few less; never without extent, whatever the values."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    log = axis.log and low > 0
    if log:
        margin = max((high / low) ** PADDING, 1.05)
        low, high = low / margin, high * margin
    else:
        spare = max(high - low, _SMALLEST[axis.unit], abs(high) * 1e-6) - (high - low)
        margin = PADDING * (high - low + spare) + spare / 2
        floor = 0.0 if low >= 0 else -math.inf  # none of the quantities is negative
        low, high = max(low - margin, floor), high + margin
        if axis.unit is Unit.ACCURACY:
            high = max(min(high, 1.0), low + _SMALLEST[axis.unit])
    size, name = [u for u in _UNITS[axis.unit] if u[0] <= high or u is _UNITS[axis.unit][0]][-1]
    found = _log_ticks(low / size, high / size, most) if log else _ticks(low / size, high / size, most, axis.unit)
    unit = ", ".join(part for part in (name, "log scale" if log else "") if part)
    label = f"{axis.label} ({unit})" if unit else axis.label
    return Scale(label, low, high, log, tuple((t * size, f"{t:,.10g}") for t in found))


def scales_of(chart: Chart, most_x: int, most_y: int) -> tuple[Scale, Scale]:
    """Both scales of a chart."""
    return scale_of(chart.x, list(chart.values("x")), most_x), scale_of(chart.y, list(chart.values("y")), most_y)


def _ticks(low: float, high: float, most: int, unit: Unit) -> list[float]:
    raw = (high - low) / max(most - 1, 1)
    power = 10 ** math.floor(math.log10(raw))
    place = next(i for i, r in enumerate(_ROUND) if r * power >= raw * (1 - 1e-9))
    found = _multiples(low, high, _ROUND[place] * power, unit)
    finer = _multiples(low, high, (_ROUND[place - 1] if place else 0.5) * power, unit)
    return finer if len(found) < FEW_TICKS and len(finer) <= most else found


def _multiples(low: float, high: float, step: float, unit: Unit) -> list[float]:
    if unit is Unit.COUNT:
        step = max(1.0, math.ceil(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**p for p in powers for m in mantissas if low <= m * 10.0**p <= high]
        if len(found) <= most:
            break
    return found[:: math.ceil(len(found) / most)] if found else [low]
