"""The hidden-vs-intermediate ablation: what each step of width costs and what it brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType

from searcher.derived import ABLATION_STEPS
from searcher.numbers import count_text, size_text
from searcher.records import TrialRecord
from searcher.space import Space
from searcher.views.candidate import precision_text, widths_text
from searcher.views.console import table


def ablation_rows(space: Space, records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """One row a step: its choices, candidate, cost, and accuracy (0..1) where its training has finished."""
    rows: list[dict[str, Any]] = []
    done = {r.candidate.id: r for r in records if r.outcome.trained and r.metrics is not None}
    for step, choices in zip(ABLATION_STEPS, space.enqueued, strict=True):
        candidate = space.candidate(choices)
        cost = candidate.cost(space.budget.accounting)
        metrics = done[candidate.id].metrics if candidate.id in done else None
        rows.append(
            {
                "step": step,
                "choices": choices,
                "widths": widths_text(candidate),
                "precision": precision_text(candidate.layers),
                "memory_bytes": cost.memory_bytes,
                "ops": cost.ops,
                "accuracy": None if metrics is None else metrics.accuracy,
                "parent_accuracy": None if metrics is None else metrics.parent_accuracy,
            }
        )
    return rows


def ablation_view(space: Space, records: Sequence[TrialRecord]) -> RenderableType:
    """The table: cost columns from the start, accuracies as the runs finish, each with its gain over the row above."""
    rows = ablation_rows(space, records)
    names = ("hidden", "MLP", "memory", "x base", "OPs", "x base", "Top-1 %", "gain", "FP %")
    result = table("model", *((name, "right") for name in names))
    for row, above in zip(rows, [None, *rows], strict=False):
        result.add_row(
            row["step"],
            *(f"{row['choices'][name]:g}" for name in ("hidden", "intermediate")),
            size_text(row["memory_bytes"]),
            f"{row['memory_bytes'] / rows[0]['memory_bytes']:.2f}",
            count_text(row["ops"]),
            f"{row['ops'] / rows[0]['ops']:.2f}",
            _percent(row["accuracy"]),
            _gain(row["accuracy"], None if above is None else above["accuracy"]),
            _percent(row["parent_accuracy"]),
        )
    note = (
        f"All layers {space.file.precision.default}; {space.budget.accounting} accounting; one seed; Top-1 on the "
        "validation split; FP: the full-precision parent of the same widths."
    )
    return Group(result, "", note)


def _percent(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{100 * accuracy:.1f}"


def _gain(accuracy: float | None, above: float | None) -> str:
    return "" if accuracy is None or above is None else f"{100 * (accuracy - above):+.1f}"
