"""Numbers as views print them, each with its unit, three significant digits or so."""

from __future__ import annotations

from collections.abc import Sequence

_THOUSANDS = ("", "k", "M", "G", "T")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


def count_text(count: float) -> str:
    """A count of weights, MACs or OPs: `768`, `22.0 k`, `2.55 G`."""
    return _scaled(count, 1000, _THOUSANDS)


def size_text(size: float) -> str:
    """Bytes in binary units: `96 B`, `1.55 MiB`."""
    return _scaled(size, 1024, _BINARY)


def latency_text(seconds: float) -> str:
    """Seconds of one inference: `830 µs`, `8.31 ms`, `40.3 ms`, `1.25 s`."""
    for size, unit in ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s")):
        value = seconds / size
        if value < 999.5 or unit == "s":
            break
    return f"{value:.{0 if value >= 99.95 or not value else 1 if value >= 9.995 else 2}f} {unit}"


def duration_text(seconds: float) -> str:
    """Seconds as `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 72 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400:,} d {whole % 86400 // 3600} h"


def age_text(seconds: float) -> str:
    """Seconds in one unit, of which there are at least two: `42 s`, `90 s`, `3 min`, `12 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{round(seconds / size):,} {unit}"
    return f"{max(0, round(seconds))} s"


def percent_text(share: float) -> str:
    """A share in 0..1 as a percentage with one decimal."""
    return f"{100 * share:.1f} %"


def share_text(share: float) -> str:
    """A share in 0..1 as a percentage that is 0 % or 100 % only where it really is."""
    text = f"{100 * share:.1f}"
    if (text == "0.0" and share > 0) or (text == "100.0" and share < 1):
        return "< 0.1 %" if share < 0.5 else "> 99.9 %"
    return f"{text} %"


def _scaled(value: float, base: int, units: Sequence[str]) -> str:
    power = 0
    while abs(value) >= base - 0.05 and power < len(units) - 1:  # 1023.96 would be printed as 1024.0
        value, power = value / base, power + 1
    if not power:
        return f"{value:,.0f} {units[0]}".strip() if float(value).is_integer() else f"{value:.1f} {units[0]}".strip()
    digits = 2 if abs(value) < 9.995 else 1
    return f"{value:.{digits}f} {units[power]}"
