"""Exported models beside each other: time, memory, size and accuracy, with their ratios to a reference."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from bhvit.wording import counted
from searcher.benching.report import BenchReport, Measurement
from searcher.benching.rounds import NOISY
from searcher.views.console import plain_rows
from searcher.views.grid import Column, grid

MIB = 2**20
COLUMNS: tuple[Column, ...] = (  # the ratios of memory and file give way
    Column("model", cut=48),
    Column("ms", right=True),
    Column("p95", right=True),
    Column("images/s", right=True),
    Column("speed", right=True),
    Column("RAM MiB", right=True),
    Column("ratio", right=True, rank=2),
    Column("file MiB", right=True),
    Column("ratio", right=True, rank=1),
    Column("Top-1 %", right=True),
)
PLAIN_HEAD = (
    *("model", "ms", "p95_ms", "images/s", "speed", "RAM_MiB", "RAM_ratio", "file_MiB", "file_ratio", "Top-1_%"),
)


def bench_view(report: BenchReport, width: int) -> RenderableType:
    """The machine, a line a model, what the columns mean."""
    rows = [_cells(report, row) for row in report.rows]
    if not sys.stdout.isatty():
        return plain_rows(PLAIN_HEAD, rows, range(1, len(PLAIN_HEAD)))
    columns = COLUMNS if report.images else COLUMNS[:-1]
    rows = [row[: len(columns)] for row in rows]
    threads = counted(report.threads, "thread")
    head = Text.assemble((report.processor, "bold"), f", {threads} of {report.cores}, batch 1")
    noisy = [Text(noise_warning(report), style="yellow")] if report.noisy else []
    return Group(head, "", *grid(columns, rows, width), "", Text(_legend(report), style="dim"), *noisy)


def bench_json(report: BenchReport) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "processor": report.processor,
        "cores": report.cores,
        "threads": report.threads,
        "rounds": report.rounds,
        "images": report.images and {"folder": str(report.images.folder), "count": len(report.images.images)},
        "reference": report.rows[report.reference].name,
        "noisy": report.noisy,
        "models": [_row_json(report, row) for row in report.rows],
    }


def _row_json(report: BenchReport, row: Measurement) -> dict[str, Any]:
    reference = report.rows[report.reference]
    return {
        "name": row.name,
        "file": str(row.model.contestant.path),
        "runtime": row.model.runtime,
        "instruction_set": row.model.instruction_set,
        "image_size": row.model.image_size,
        "median_ms": 1000 * row.timing.median,
        "p95_ms": 1000 * row.timing.p95,
        "images_per_second": 1 / row.timing.median,
        "speed_ratio": row.timing.speed,
        "noisy": row.timing.noisy,
        "peak_memory_bytes": row.peak_bytes,
        "peak_memory_ratio": row.peak_bytes / reference.peak_bytes,
        "file_bytes": row.file_bytes,
        "file_ratio": row.file_bytes / reference.file_bytes,
        "accuracy": row.accuracy,
    }


def _cells(report: BenchReport, row: Measurement) -> tuple[str, ...]:
    reference = report.rows[report.reference]
    return (
        row.name,
        _figure(1000 * row.timing.median),
        _figure(1000 * row.timing.p95),
        _figure(1 / row.timing.median),
        f"{_figure(row.timing.speed)}x",
        _figure(row.peak_bytes / MIB),
        f"{_figure(row.peak_bytes / reference.peak_bytes)}x",
        _figure(row.file_bytes / MIB),
        f"{_figure(row.file_bytes / reference.file_bytes)}x",
        "" if row.accuracy is None else f"{100 * row.accuracy:.1f}",
    )


def _figure(value: float) -> str:
    """Three significant digits, without an exponent."""
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2 if value >= 0.1 else 3
    return f"{value:.{digits}f}"


def noise_warning(report: BenchReport) -> str:
    """Whose times are noisy, and what to do."""
    names = ", ".join(row.name for row in report.rows if row.timing.noisy)
    return f"Noisy: p95 is beyond {NOISY:g} medians for {names}; let the machine rest, or give more --repeats."


def _legend(report: BenchReport) -> str:
    reference = report.rows[report.reference].name
    lines = [
        f"ms, p95: median and 95th percentile of {report.rounds} rounds in which all ran in turn.",
        f"speed, ratio: against {reference}; speed is the median over the rounds.",
        "RAM: peak of a fresh process that loads the file and runs it once.",
    ]
    if len(report.rows) > 1:
        lines.append("In turns each file finds the caches cold: one that runs alone is faster.")
    if report.images is not None:
        lines.append(f"Top-1 on the {len(report.images.images):,} images of {report.images.folder}.")
    return "\n".join(lines)
