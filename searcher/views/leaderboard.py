"""The table a search ends with: trials ranked by accuracy, with what they cost and how much of the budget that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from searcher.budget import Budget
from searcher.ranking import metrics_of, ranked
from searcher.records import Outcome, TrialRecord
from searcher.views.candidate import factor_text, precision_text
from searcher.views.console import table
from searcher.views.numbers import count_text, size_text

STOPPED_MARK = "~"  # beside an accuracy of a trial that its learning curve stopped


def leaderboard(records: Sequence[TrialRecord], budget: Budget, top: int | None = None) -> Table:
    """Rank, trial, widths, precision, accuracy, memory, OPs and share of the budget; all of them, or the `top` best."""
    right = [(name, "right") for name in ("hidden", "MLP")]
    result = table(("#", "right"), ("trial", "right"), *right, "precision", *_figure_columns(budget))
    for rank, record in enumerate(ranked(records, budget)[:top], 1):
        result.add_row(
            str(rank),
            str(record.number),
            factor_text(record.choices, "hidden"),
            factor_text(record.choices, "intermediate"),
            precision_text(record.candidate.layers),
            *_figures(record, budget),
            style="bold" if rank == 1 else None,
        )
    return result


def _figure_columns(budget: Budget) -> list[tuple[str, str]]:
    limited = {q: f"{name} (share)" if q in budget.limits else name for q, name in _NAMES.items()}
    return [(name, "right") for name in ("Top-1", "FP", *limited.values())]


_NAMES = {"memory": "memory", "ops": "OPs"}


def _figures(record: TrialRecord, budget: Budget) -> list[str]:
    mark = STOPPED_MARK if record.outcome is Outcome.STOPPED else ""
    metrics = metrics_of(record)
    shares = {q: f" ({used / budget.limits[q]:.0%})" for q, used in budget.used(record).items()}
    return [
        f"{mark}{100 * metrics.accuracy:.1f}",
        f"{100 * metrics.parent_accuracy:.1f}",
        size_text(record.memory_bytes) + shares.get("memory", ""),
        count_text(record.ops) + shares.get("ops", ""),
    ]


def leaderboard_notes(records: Sequence[TrialRecord], budget: Budget) -> list[str]:
    """What a reader of the table must know: columns, marks, and trials that are not in it."""
    notes = [
        "Top-1 in % on the validation split; FP: that of the full-precision parent of the same widths.",
        "Share: how much of the budget's limit is used.",
    ]
    if any(r.outcome is Outcome.STOPPED for r in records):
        notes.append(f"{STOPPED_MARK} stopped early by its learning curve.")
    over = [r for r in records if r.outcome.trained and budget.violations(r)]
    if over:
        notes.append(f"{len(over)} trained under an earlier budget and over this one: not listed.")
    return notes


def record_json(record: TrialRecord, budget: Budget) -> Mapping[str, Any]:
    """One trial as plain data, with its share of the budget."""
    shares = {q: used / budget.limits[q] for q, used in budget.used(record).items()}
    data = record.to_json()
    details = data.pop("details")
    if data["metrics"] is not None:
        data["metrics"]["epochs"] = details["epochs"]
    data["candidate"] = details["candidate"]
    return {**data, "budget_share": shares, "within_budget": not budget.violations(record)}
