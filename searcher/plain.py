"""Budgets and trials as plain data, with the same keys in the JSON of every view (docs/json.md); no rich."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from searcher.budget import Budget
from searcher.records import TrialRecord
from searcher.status import WorkerStatus


def budget_json(budget: Budget) -> dict[str, Any]:
    """Limits in bytes and OPs, None where there is none."""
    return {"accounting": budget.accounting, "memory_bytes": budget.memory, "ops": budget.ops}


def costs_json(record: TrialRecord) -> dict[str, Any]:
    """The trial by its number with what it came to: accuracy (0..1, None where there is none) and costs."""
    accuracy = None if record.metrics is None else record.metrics.accuracy
    return {"trial": record.number, "accuracy": accuracy, "memory_bytes": record.memory_bytes, "ops": record.ops}


def trial_json(record: TrialRecord, budget: Budget) -> dict[str, Any]:
    """All of a trial but its candidate and epochs, which are not parsed for it (`searcher trial` has them).

    Without a result the figures of one are None.
    """
    metrics = record.metrics
    figures = ("final_accuracy", "parent_accuracy", "best_epoch", "seconds", "restarts")
    return {
        **costs_json(record),
        "name": record.name,
        "outcome": record.outcome.value,
        "message": record.message,
        "choices": record.choices,
        **{name: None if metrics is None else getattr(metrics, name) for name in figures},
        "budget_share": budget.shares(record),
        "within_budget": not budget.violations(record),
        "attempts": record.attempts,
        "horizon": record.horizon,
        "peak_bytes": record.peak_bytes,
        "worker": record.worker,
    }


def worker_json(worker: WorkerStatus) -> dict[str, Any]:
    """What a worker is doing."""
    data = asdict(worker)
    return {"worker": data.pop("worker"), "trial": data.pop("number"), **data}
