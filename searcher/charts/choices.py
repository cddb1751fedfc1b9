"""Which choices good trials made: importances, a map of layers and precisions, parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bhvit.precision import PRECISIONS
from searcher.charts.chart import Bar, Bars, Choices, Figure, HeatMap, Parallel
from searcher.commonalities import BEST_SHARE, FEWEST, MOST
from searcher.importances import FEW, Importance, codes_of, importances
from searcher.ranking import metrics_of
from searcher.snapshot import StudySnapshot
from searcher.variables import Kind, Variable

Codes = NDArray[np.intp]
NONE_WITHIN = "no trained trial is within the budget"


def best_count(trials: int) -> int:
    """How many of `trials` ranked ones count as the best, where a user names no number."""
    return min(trials, MOST, max(FEWEST, round(BEST_SHARE * trials)))


def importance_figure(snapshot: StudySnapshot) -> Figure:
    """The share of the variance of accuracy that each variable explains."""
    found = importances(snapshot.space, snapshot.records)
    if found is None:
        return Figure("importance", "", nothing=f"importances need {FEW} complete trials whose accuracies differ")
    bars = tuple(Bar(v.variable, min(max(v.share, 0.0), 1.0), _effect(v)) for v in found.variables)
    notes = (
        f"Additive model of {found.trials:,} complete trials. It explains {max(found.explained, 0.0):.0%} of the "
        "variance of trials left out of the fit"
        + (": too little to believe the shares." if found.explained < 0.1 else "."),
    )
    panel = Bars("", "share of the variance of accuracy", bars)
    return Figure("importance", "What accuracy depends on", (panel,), notes)


def map_figure(snapshot: StudySnapshot, best: int) -> Figure:
    """For every layer and precision the mean accuracy of the trials that have it, and its share among the `best`."""
    variables = [v for v in snapshot.space.variables if v.kind is Kind.PRECISION]
    if not snapshot.ranked or not variables:
        why = NONE_WITHIN if variables else "the space chooses no precision"
        return Figure("map", "", nothing=why)
    codes, accuracies = codes_of(snapshot.space, snapshot.ranked), _accuracies(snapshot)
    offset = len(snapshot.space.variables) - len(variables)
    owner = {address: offset + i for i, v in enumerate(variables) for address in v.addresses}
    rows = tuple(address for address in snapshot.space.base.addresses if address in owner)
    columns = tuple(name for name in PRECISIONS if any(name in v.choices for v in variables))
    masks = [[_has(snapshot, codes, owner[row], column) for column in columns] for row in rows]
    counts = tuple(tuple(int(mask.sum()) for mask in row) for row in masks)
    means = tuple(tuple(float(accuracies[m].mean()) if m.any() else None for m in row) for row in masks)
    shares = tuple(tuple(float(m[:best].mean()) if m.any() else None for m in row) for row in masks)
    among = tuple(tuple(int(m[:best].sum()) for m in row) for row in masks)
    panels = (
        HeatMap("mean Top-1 (%)", rows, columns, means, counts),
        HeatMap("share of the best (%)", rows, columns, shares, among, 0),
    )
    fixed = len(snapshot.space.base.addresses) - len(rows)
    notes = [
        f"Trained trials within the budget: {len(accuracies):,}; stopped ones count as far as they came.",
        f"The best: the {best} most accurate of them. · no such trial.",
    ]
    if fixed:
        notes.append(f"{fixed} other layers are always {snapshot.space.file.precision.default}.")
    return Figure("map", "Layers and precisions", panels, tuple(notes))


def parallel_figure(snapshot: StudySnapshot, best: int) -> Figure:
    """Every trained trial within the budget as a line across the variables, the `best` ones apart."""
    variables, ranked = snapshot.space.variables, snapshot.ranked
    if not ranked or not variables:
        return Figure("parallel", "", nothing=NONE_WITHIN if variables else "the space has a single candidate")
    codes = codes_of(snapshot.space, ranked)
    orders = [sorted(range(len(v.choices)), key=v.positions.__getitem__) for v in variables]
    places = np.stack([np.argsort(order)[codes[:, i]] for i, order in enumerate(orders)], axis=1)
    choices = (_choices(v, orders[i], places[:, i], best) for i, v in enumerate(variables))
    panel = Parallel(
        "",
        tuple(choices),
        tuple(r.number for r in ranked),
        tuple(map(tuple, places.tolist())),
        tuple(float(a) for a in _accuracies(snapshot)),
        best,
    )
    title = f"What the {best} best of {len(ranked):,} trials chose" if len(ranked) > 1 else "What the only trial chose"
    return Figure("parallel", title, (panel,))


def _effect(found: Importance) -> str:
    trend = {1: ", more is better", -1: ", less is better"}.get(found.direction, "")
    best, worst = (c if isinstance(c, str) else f"{c:g}" for c in (found.best, found.worst))
    return f"{100 * found.effect:+.1f} points from {worst} to {best}{trend}"


def _choices(variable: Variable, order: Sequence[int], places: Codes, best: int) -> Choices:
    names = tuple(c if isinstance(c, str) else f"{c:g}" for c in (variable.choices[i] for i in order))
    every, among = (np.bincount(p, minlength=len(names)).tolist() for p in (places, places[:best]))
    return Choices(variable.name, names, tuple(every), tuple(among))


def _has(snapshot: StudySnapshot, codes: Codes, variable: int, precision: str) -> NDArray[np.bool_]:
    """Which trials have this precision in the layers of the variable."""
    choices = snapshot.space.variables[variable].choices
    digit = choices.index(precision) if precision in choices else -1
    return np.equal(codes[:, variable], digit)


def _accuracies(snapshot: StudySnapshot) -> NDArray[np.float64]:
    return np.array([metrics_of(r).accuracy for r in snapshot.ranked])
