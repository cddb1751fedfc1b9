"""The per-layer cost table and its totals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bhvit.cost import Cost, CostReport, LayerCost
from bhvit.precision import PRECISIONS
from searcher.candidate import Candidate
from searcher.numbers import count_text, size_text
from searcher.views.candidate import precision_text, widths_text
from searcher.views.console import table


def cost_view(candidate: Candidate, report: CostReport) -> RenderableType:
    """Layer table, totals by bit width, and the footer that binary-network people expect."""
    return Group(
        Text.assemble((widths_text(candidate), "bold"), f"  {precision_text(candidate.layers)}"),
        "",
        layer_table(report),
        "",
        _by_precision(report.total),
        "",
        *footer(candidate, report),
    )


def cost_json(candidate: Candidate, report: CostReport) -> dict[str, Any]:
    """The same as plain data: totals, and a row a layer."""
    total = report.total
    return {
        "candidate": candidate.to_json(),
        "accounting": report.accounting,
        "memory_bytes": total.memory_bytes,
        "ops": total.ops,
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
            }
            for row in report.layers
        ],
    }


def layer_table(report: CostReport) -> Table:
    """A row a layer: weights, MACs, memory, OPs and their share; and the total."""
    right = [(name, "right") for name in ("weights", "MACs", "memory", "OPs", "OPs %")]
    result = table("layer", "precision", *right)
    for row in report.layers:
        result.add_row(row.address, row.precision.name, *_figures(row, report.total))
    result.add_section()
    total = report.total
    result.add_row("total", "", *_total_figures(total), style="bold")
    return result


def _figures(row: LayerCost, total: Cost) -> tuple[str, ...]:
    return (
        count_text(row.terms.weights),
        count_text(row.macs),
        size_text(row.memory_bytes),
        count_text(row.ops),
        f"{row.ops / total.ops:.1%}",
    )


def _total_figures(total: Cost) -> tuple[str, ...]:
    weights, macs = count_text(sum(total.weights)), count_text(sum(total.macs))
    return weights, macs, size_text(total.memory_bytes), count_text(total.ops), "100.0%"


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


def footer(candidate: Candidate, report: CostReport) -> Iterator[str]:
    """Totals in words: memory against the same network in fp32, OPs, what the accounting leaves out."""
    total, fp32 = report.total, candidate.parent.cost(report.accounting).total
    yield (
        f"memory {size_text(total.memory_bytes)}, in fp32 {size_text(fp32.memory_bytes)}: "
        f"{fp32.memory_bytes / total.memory_bytes:.1f}x smaller"
    )
    yield f"OPs    {count_text(total.ops)}, in fp32 {count_text(fp32.ops)}: {fp32.ops / total.ops:.1f}x fewer"
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
