"""Memory against OPs of everything that was tried, with the limits of the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searcher.budget import QUANTITY_NAMES
from searcher.charts.chart import Chart, Figure, Role, Rule, Series, cost_axis
from searcher.charts.trials import cost_of, of_outcome, points, trial_points
from searcher.ranking import metrics_of
from searcher.records import FAILURES, Outcome, TrialRecord
from searcher.snapshot import StudySnapshot

SHARED = "Shades are Top-1 in quarters of the trials; where several trials share a place, their mean."
LEVELS = 4  # classes of accuracy, each a quarter of the trained trials


def budget_figure(snapshot: StudySnapshot) -> Figure:
    """A point a trial that has ended: trained ones by the quarter their accuracy is in, others by their outcome."""
    ended = [r for r in snapshot.records if r.outcome.finished]
    if not ended:
        return Figure("budget", "", nothing="no trial has ended yet")
    memory, ops = cost_of("memory"), cost_of("ops")
    series = [
        points("over budget, not trained", Outcome.OVER_BUDGET, of_outcome(ended, Outcome.OVER_BUDGET), memory, ops),
        *(points(str(o), o, of_outcome(ended, o), memory, ops) for o in FAILURES),
        *_levels([r for r in ended if r.outcome.trained]),
    ]
    limits = snapshot.budget.limits
    rules = tuple(
        Rule(f"limit of {QUANTITY_NAMES[quantity]}", Role.LIMIT, along, limits[quantity])
        for quantity, along in (("memory", "x"), ("ops", "y"))
        if quantity in limits
    )
    x, y = (cost_axis(q, [cost_of(q)(r) for r in ended]) for q in QUANTITY_NAMES)
    chart = Chart("", x, y, tuple(s for s in series if s.x), rules)
    return Figure("budget", "Memory against OPs of what was tried", (chart,), (SHARED,), trial_points(ended))


def _levels(trained: Sequence[TrialRecord]) -> list[Series]:
    """The trained trials in quarters of accuracy, low to high; fewer classes where accuracies are equal."""
    accuracies = np.array([metrics_of(r).accuracy for r in trained])
    if not len(accuracies):
        return []
    level = np.searchsorted(np.quantile(accuracies, np.arange(1, LEVELS) / LEVELS), accuracies, side="right")
    found = []
    for index in range(LEVELS):
        members = [record for record, own in zip(trained, level, strict=True) if own == index]
        if members:
            low, high = accuracies[level == index].min(), accuracies[level == index].max()
            name = f"{100 * low:.1f} to {100 * high:.1f} %" if high > low else f"{100 * low:.1f} %"
            found.append(points(name, Role.LEVEL, members, cost_of("memory"), cost_of("ops"), index))
    return found
