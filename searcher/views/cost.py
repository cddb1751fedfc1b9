"""The per-layer cost table and its totals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from bhvit.cost import Cost, CostReport, LayerCost
from bhvit.device_profile import DeviceProfile
from bhvit.precision import PRECISIONS
from searcher.budget import device_words
from searcher.candidate import Candidate
from searcher.numbers import count_text, latency_text, size_text
from searcher.quantities import QUANTITIES, Quantity
from searcher.views.candidate import candidate_text
from searcher.views.console import table
from searcher.views.layout import WidestThatFits


def cost_view(
    candidate: Candidate, report: CostReport, device: DeviceProfile | None = None, label: str = ""
) -> RenderableType:
    """Layer table, totals by bit width, and the footer that binary-network people expect.

    `label` is which of several models it is.
    """
    return Group(
        candidate_text(candidate, label),
        "",
        layer_table(report),
        "",
        _by_precision(report.total),
        "",
        *footer(candidate, report, device),
    )


def cost_json(candidate: Candidate, report: CostReport) -> dict[str, Any]:
    """The same as plain data: totals, and a row a layer."""
    total = report.total
    return {
        "candidate": candidate.to_json(),
        "accounting": report.accounting,
        "memory_bytes": total.memory_bytes,
        "ops": total.ops,
        "latency_seconds": total.latency_seconds,
        "weight_bytes": total.weight_bytes,
        "complete_bytes": total.complete_bytes,
        "parameters": total.parameters,
        "elementwise_ops": total.elementwise_ops,
        "peak_activation_bytes": total.peak_activation_bytes,
        "weights_by_precision": total.weights_by_precision,
        "macs_by_precision": total.macs_by_precision,
        "layers": [
            {
                "address": row.address,
                "precision": row.precision.name,
                "weights": row.terms.weights,
                "macs": row.macs,
                "memory_bytes": row.memory_bytes,
                "ops": row.ops,
                "latency_seconds": row.latency_seconds,
            }
            for row in report.layers
        ],
    }


def layer_table(report: CostReport) -> RenderableType:
    """A row a layer: weights, MACs, memory, OPs and, on a device, latency, the last two with shares; and the total.

    Where they do not fit, weights and MACs give way first, then shares, that of the last at the end, then the memory.
    """
    known = ("memory", "ops") if report.latency_seconds is None else ("memory", "ops", "latency")
    return WidestThatFits(
        [
            lambda: _layer_table(report, known, known[1:], counted=True),
            lambda: _layer_table(report, known, known[1:]),
            lambda: _layer_table(report, known, known[-1:]),
            lambda: _layer_table(report, known),
            lambda: _layer_table(report, known[1:]),
        ]
    )


def _layer_table(report: CostReport, names: Sequence[str], shares: Sequence[str] = (), counted: bool = False) -> Table:
    """The quantities of these `names`, those in `shares` with them; `counted` has weights and MACs before them."""
    quantities = [QUANTITIES[name] for name in names]
    headings = ["weights", "MACs"] if counted else []
    for quantity in quantities:
        headings += [quantity.label, *([f"{quantity.label} %"] if quantity.name in shares else [])]
    result = table("layer", "precision", *((name, "right") for name in headings))
    total = report.total
    for row in report.layers:
        counts = (count_text(row.terms.weights), count_text(row.macs)) if counted else ()
        result.add_row(row.address, row.precision.name, *counts, *_cost_texts(row, total, quantities, shares))
    result.add_section()
    counts = (count_text(sum(total.weights)), count_text(sum(total.macs))) if counted else ()
    result.add_row("total", "", *counts, *_cost_texts(total, total, quantities, shares), style="bold")
    return result


def _cost_texts(
    cost: LayerCost | Cost, total: Cost, quantities: Sequence[Quantity], shares: Sequence[str]
) -> Iterator[str]:
    for quantity in quantities:
        yield quantity.text(quantity.of(cost))
        if quantity.name in shares:
            yield f"{quantity.of(cost) / quantity.of(total):.1%}"


def _by_precision(total: Cost) -> Table:
    result = table("bit width", *((name, "right") for name in ("weights", "share", "MACs", "share")))
    for name, precision in PRECISIONS.items():
        weights, macs = total.weights_by_precision[name], total.macs_by_precision[name]
        if weights:
            result.add_row(
                f"{precision.weight_bits:>2} ({name})",
                count_text(weights),
                f"{weights / sum(total.weights):.1%}",
                count_text(macs),
                f"{macs / sum(total.macs):.1%}",
            )
    return result


def footer(candidate: Candidate, report: CostReport, device: DeviceProfile | None = None) -> Iterator[str]:
    """Totals in words: memory against the same network in fp32, OPs, latency, what the accounting leaves out."""
    total, fp32 = report.total, candidate.parent.cost(report.accounting, device).total
    yield (
        f"memory {size_text(total.memory_bytes)}, in fp32 {size_text(fp32.memory_bytes)}: "
        f"{fp32.memory_bytes / total.memory_bytes:.1f}x smaller"
    )
    yield f"OPs    {count_text(total.ops)}, in fp32 {count_text(fp32.ops)}: {fp32.ops / total.ops:.1f}x fewer"
    if device is not None and total.latency_seconds is not None and fp32.latency_seconds is not None:
        faster = f"{fp32.latency_seconds / total.latency_seconds:.1f}x faster"
        texts = latency_text(total.latency_seconds), latency_text(fp32.latency_seconds)
        yield f"time   {texts[0]} predicted for {device_words(device)}, in fp32 {texts[1]}: {faster}"
    if report.accounting == "reported":
        yield (
            f"Not counted (accounting: reported): {size_text(total.complete_bytes - total.weight_bytes)} of other "
            f"parameters, {count_text(total.elementwise_ops)} element-wise operations (complete accounting does)."
        )
    else:
        yield (
            f"Of these {size_text(total.complete_bytes - total.weight_bytes)} of other parameters and "
            f"{count_text(total.elementwise_ops)} element-wise operations; peak activations "
            f"{size_text(total.peak_activation_bytes)} at batch 1."
        )
