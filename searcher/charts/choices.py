"""Which choices good trials made: importances, a map of layers and precisions, parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bhvit.precision import PRECISIONS
from searcher.charts.chart import Bar, Bars, Choices, Figure, HeatMap, Parallel
from searcher.commonalities import best_count
from searcher.importances import FEW, codes_of, importances
from searcher.ranking import metrics_of
from searcher.records import Outcome, TrialRecord
from searcher.snapshot import StudySnapshot
from searcher.variables import Kind, Variable

Codes = NDArray[np.intp]
NONE_WITHIN = "no trained trial is within the budget"


def importance_figure(snapshot: StudySnapshot) -> Figure:
    """The share of the variance of accuracy that each variable explains."""
    found = importances(snapshot.space, snapshot.records)
    if found is None:
        return Figure("importance", "", nothing=f"importances need {FEW} complete trials whose accuracies differ")
    bars = tuple(Bar(v.variable, min(v.share, 1.0), v.words) for v in found.telling or found.variables)
    panel = Bars("", "share of the variance of accuracy", bars)
    return Figure("importance", "What accuracy depends on", (panel,), (found.words,))


def map_figure(snapshot: StudySnapshot, best: int | None = None) -> Figure:
    """For every layer and precision the mean accuracy of the complete trials that have it, and its share of the best.

    The accuracy of a stopped trial is that of a shorter training. `best` is how many are the best, None for the usual.
    """
    variables = [v for v in snapshot.space.variables if v.kind is Kind.PRECISION]
    complete = [r for r in snapshot.ranked if r.outcome is Outcome.COMPLETE]
    if not complete or not variables:
        why = "no complete trial is within the budget" if variables else "the space chooses no precision"
        return Figure("map", "", nothing=why)
    codes, accuracies = codes_of(snapshot.space, complete), _accuracies(complete)
    best = min(len(complete), best or best_count(len(complete)))
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
        f"Complete trials within the budget: {len(complete):,}. The best: the {best} most accurate of them. "
        "· no such trial.",
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
        tuple(float(a) for a in _accuracies(ranked)),
        best,
    )
    title = f"What the {best} best of {len(ranked):,} trials chose" if len(ranked) > 1 else "What the only trial chose"
    return Figure("parallel", title, (panel,))


def _choices(variable: Variable, order: Sequence[int], places: Codes, best: int) -> Choices:
    names = tuple(c if isinstance(c, str) else f"{c:g}" for c in (variable.choices[i] for i in order))
    every, among = (np.bincount(p, minlength=len(names)).tolist() for p in (places, places[:best]))
    return Choices(variable.name, names, tuple(every), tuple(among))


def _has(snapshot: StudySnapshot, codes: Codes, variable: int, precision: str) -> NDArray[np.bool_]:
    """Which trials have this precision in the layers of the variable."""
    choices = snapshot.space.variables[variable].choices
    digit = choices.index(precision) if precision in choices else -1
    return np.equal(codes[:, variable], digit)


def _accuracies(records: Sequence[TrialRecord]) -> NDArray[np.float64]:
    return np.array([metrics_of(r).accuracy for r in records])
