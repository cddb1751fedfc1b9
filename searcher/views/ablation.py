"""The hidden-vs-intermediate ablation: what each step of width costs and what it brings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from searcher.derived import ABLATION_STEPS
from searcher.quantities import QUANTITIES
from searcher.records import TrialRecord
from searcher.space import Space
from searcher.views.candidate import precision_text, widths_text
from searcher.views.console import table
from searcher.views.layout import ColumnsThatFit

ACCURACIES = "accuracies"  # beside the quantities: Top-1, its gain, that of the parent


def ablation_rows(space: Space, records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """One row a step: its choices, candidate, cost, and accuracy (0..1) where its training has finished."""
    rows: list[dict[str, Any]] = []
    done = {r.candidate.id: r for r in records if r.outcome.trained and r.metrics is not None}
    for step, choices in zip(ABLATION_STEPS, space.enqueued, strict=True):
        candidate = space.candidate(choices)
        cost = space.cost_of(candidate)
        metrics = done[candidate.id].metrics if candidate.id in done else None
        rows.append(
            {
                "step": step,
                "choices": choices,
                "widths": widths_text(candidate),
                "precision": precision_text(candidate.layers),
                **{quantity.field: quantity.of(cost) for quantity in QUANTITIES.values()},
                "accuracy": None if metrics is None else metrics.accuracy,
                "parent_accuracy": None if metrics is None else metrics.parent_accuracy,
            }
        )
    return rows


def ablation_view(space: Space, records: Sequence[TrialRecord]) -> RenderableType:
    """The table: cost columns from the start, accuracies as the runs finish, each with its gain over the row above."""
    rows = ablation_rows(space, records)
    note = (
        f"All layers {space.only.precision.default}; {space.budget.accounting} accounting; one seed; Top-1 on the "
        "validation split; FP: the full-precision parent of the same widths."
    )
    return Group(ColumnsThatFit(lambda names: _table(rows, names), (*space.quantities, ACCURACIES)), "", note)


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Table:
    """The costs in those of the `columns` that are quantities, and the `ACCURACIES` where they are among them."""
    costs, trained = [QUANTITIES[name] for name in columns if name != ACCURACIES], ACCURACIES in columns
    figures = [name for cost in costs for name in (cost.label, "x base")]
    names = ("hidden", "MLP", *figures, *(("Top-1 %", "gain", "FP %") if trained else ()))
    result = table("model", *((name, "right") for name in names))
    for row, above in zip(rows, [None, *rows], strict=False):
        gain = _gain(row["accuracy"], None if above is None else above["accuracy"])
        result.add_row(
            row["step"],
            *(f"{row['choices'][name]:g}" for name in ("hidden", "intermediate")),
            *chain(*((c.text(row[c.field]), f"{row[c.field] / rows[0][c.field]:.2f}") for c in costs)),
            *((_percent(row["accuracy"]), gain, _percent(row["parent_accuracy"])) if trained else ()),
        )
    return result


def _percent(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{100 * accuracy:.1f}"


def _gain(accuracy: float | None, above: float | None) -> str:
    return "" if accuracy is None or above is None else f"{100 * (accuracy - above):+.1f}"
