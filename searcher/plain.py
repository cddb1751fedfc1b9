"""Budgets and trials as plain data, with the same keys in the JSON of every view (docs/json.md); no rich."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from searcher.budget import Budget
from searcher.device_profiles import device_id
from searcher.quantities import QUANTITIES
from searcher.records import TrialRecord
from searcher.status import WorkerStatus


def budget_json(budget: Budget) -> dict[str, Any]:
    """Limits in bytes, OPs and seconds, None where there is none; the device is that of the latency."""
    limits = {quantity.field: budget.limits.get(name) for name, quantity in QUANTITIES.items()}
    return {"accounting": budget.accounting, **limits, "device": budget.device and device_id(budget.device)}


def costs_json(record: TrialRecord) -> dict[str, Any]:
    """The trial by its number with what it came to: accuracy (0..1, None where there is none) and costs."""
    accuracy = None if record.metrics is None else record.metrics.accuracy
    costs = {quantity.field: quantity.of(record) for quantity in QUANTITIES.values()}
    return {"trial": record.number, "accuracy": accuracy, **costs}


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
