"""Memory, and latency, against OPs of everything that was tried, with the limits of the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searcher.charts.chart import Chart, Figure, Role, Rule, Series, cost_axis
from searcher.charts.trials import Place, cost_of, of_outcome, points, trial_points
from searcher.quantities import QUANTITIES, labels_of
from searcher.ranking import metrics_of
from searcher.records import FAILURES, Outcome, TrialRecord
from searcher.snapshot import StudySnapshot

SHARED = "Shades are Top-1 in quarters of the trials; where several trials share a place, their mean."
LEVELS = 4  # classes of accuracy, each a quarter of the trained trials


def budget_figure(snapshot: StudySnapshot) -> Figure:
    """A point a trial that has ended: trained ones by the quarter their accuracy is in, others by their outcome.

    Against OPs stands memory, and in a panel of its own the latency where a device is known.
    """
    ended = [r for r in snapshot.records if r.outcome.finished]
    if not ended:
        return Figure("budget", "", nothing="no trial has ended yet")
    against = [name for name in snapshot.space.quantities if name != "ops"]
    panels = tuple(_chart(snapshot, ended, name, titled=len(against) > 1) for name in against)
    title = f"{labels_of(against).capitalize()} against OPs of what was tried"
    return Figure("budget", title, panels, (SHARED,), trial_points(ended))


def _chart(snapshot: StudySnapshot, ended: Sequence[TrialRecord], quantity: str, titled: bool) -> Chart:
    cost, ops = cost_of(quantity), cost_of("ops")
    series = [
        points("over budget, not trained", Outcome.OVER_BUDGET, of_outcome(ended, Outcome.OVER_BUDGET), cost, ops),
        *(points(str(o), o, of_outcome(ended, o), cost, ops) for o in FAILURES),
        *_levels([r for r in ended if r.outcome.trained], cost, ops),
    ]
    limits, along = snapshot.budget.limits, {quantity: "x", "ops": "y"}
    rules = tuple(
        Rule(f"limit of {QUANTITIES[name].label}", Role.LIMIT, side, limits[name])
        for name, side in along.items()
        if name in limits
    )
    x, y = (cost_axis(name, [cost_of(name)(r) for r in ended]) for name in along)
    title = f"{QUANTITIES[quantity].label} against OPs" if titled else ""
    return Chart(title, x, y, tuple(s for s in series if s.x), rules)


def _levels(trained: Sequence[TrialRecord], x: Place, y: Place) -> list[Series]:
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
            found.append(points(name, Role.LEVEL, members, x, y, index))
    return found
