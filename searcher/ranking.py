"""Which trials of a study count, and in which order; no torch, no optuna, no rich."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from searcher.budget import Budget
from searcher.records import Metrics, Outcome, TrialRecord
from searcher.space import Space


def ranked(records: Iterable[TrialRecord], budget: Budget) -> list[TrialRecord]:
    """Trained trials within `budget`, best first: by accuracy, then cheaper memory, then earlier number."""
    fitting = [r for r in records if r.outcome.trained and not budget.violations(r)]
    return sorted(fitting, key=lambda r: (-metrics_of(r).accuracy, r.memory_bytes, r.number))


def best_of_models(space: Space, ranked: Sequence[TrialRecord]) -> dict[str, TrialRecord | None]:
    """Label of each of a space's models -> the first of its trials in `ranked`, None where there is none."""
    found: dict[str, TrialRecord | None] = {model.label: None for model in space.models}
    for record in reversed(ranked):
        found[space.model_of(record.choices).label] = record
    return found


def metrics_of(record: TrialRecord) -> Metrics:
    """Metrics of a trained trial (`TrialRecord` makes sure that it has them)."""
    assert record.metrics is not None
    return record.metrics


def training_seconds(records: Iterable[TrialRecord]) -> float:
    """Seconds of all trainings that came to a result."""
    return sum(r.metrics.seconds for r in records if r.metrics is not None)


def outcome_counts(records: Iterable[TrialRecord]) -> dict[str, int]:
    """Outcome -> number of trials, in the order of `Outcome`, without zeros."""
    counts = dict.fromkeys(Outcome, 0)
    for record in records:
        counts[record.outcome] += 1
    return {outcome.value: n for outcome, n in counts.items() if n}
