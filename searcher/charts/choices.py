"""Which choices good trials made: importances, a map of layers and precisions, parallel coordinates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bhvit.precision import PRECISIONS
from searcher.charts.chart import Bar, Bars, Choices, Figure, HeatMap, Parallel
from searcher.commonalities import best_count
from searcher.importances import FEW, codes_of, importances
from searcher.model_space import ModelSpace
from searcher.ranking import metrics_of
from searcher.records import Outcome, TrialRecord
from searcher.snapshot import StudySnapshot
from searcher.variables import Kind, Variable

Codes = NDArray[np.intp]
LACKING = "-"  # on the axis of a variable that the trial's model does not have
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
    panels: list[HeatMap] = []
    notes: list[str] = []
    for model in snapshot.space.models:
        own = [record for record in complete if snapshot.space.model_of(record.choices) is model]
        if own and any(v.kind is Kind.PRECISION for v in model.variables):
            its_best = min(len(own), best or best_count(len(own)))
            panels += _maps(model, own, its_best)
            notes += _map_notes(model, len(own), its_best)
    if not panels:
        return Figure("map", "", nothing="no complete trial within the budget is of a model that chooses precisions")
    return Figure("map", "Layers and precisions", tuple(panels), tuple(notes))


def _maps(model: ModelSpace, complete: Sequence[TrialRecord], best: int) -> Iterator[HeatMap]:
    """Mean accuracies, and shares of the `best` first, of the trials of one model."""
    variables = [v for v in model.variables if v.kind is Kind.PRECISION]
    owner = {address: v.name for v in variables for address in v.addresses}
    rows = tuple(address for address in model.base.addresses if address in owner)
    columns = tuple(name for name in PRECISIONS if any(name in v.choices for v in variables))
    accuracies = _accuracies(complete)
    masks = [[np.array([r.choices[owner[row]] == name for r in complete]) for name in columns] for row in rows]
    counts = tuple(tuple(int(mask.sum()) for mask in row) for row in masks)
    means = tuple(tuple(float(accuracies[m].mean()) if m.any() else None for m in row) for row in masks)
    shares = tuple(tuple(float(m[:best].mean()) if m.any() else None for m in row) for row in masks)
    among = tuple(tuple(int(m[:best].sum()) for m in row) for row in masks)
    yield HeatMap("mean Top-1 (%)", rows, columns, means, counts, model=model.label)
    yield HeatMap("share of the best (%)", rows, columns, shares, among, 0, model.label)


def _map_notes(model: ModelSpace, complete: int, best: int) -> Iterator[str]:
    """How many trials stand behind the maps of a model, and how many layers have no choice."""
    of = f" of {model.label}" if model.label else ""
    yield (
        f"Complete trials{of} within the budget: {complete:,}. The best: the {best} most accurate of them. "
        "· no such trial."
    )
    chosen = {a for v in model.variables if v.kind is Kind.PRECISION for a in v.addresses}
    if fixed := len(model.base.addresses) - len(chosen):
        yield f"{fixed} other layers{of} are always {model.precision.default}."


def parallel_figure(snapshot: StudySnapshot, best: int) -> Figure:
    """Every trained trial within the budget as a line across the variables, the `best` ones apart."""
    variables, ranked = snapshot.space.variables, snapshot.ranked
    if not ranked or not variables:
        return Figure("parallel", "", nothing=NONE_WITHIN if variables else "the space has a single candidate")
    codes = codes_of(snapshot.space, ranked)
    orders = [[*sorted(range(v.inactive), key=v.positions.__getitem__), *range(v.inactive, v.radix)] for v in variables]
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
    texts = [*(c if isinstance(c, str) else f"{c:g}" for c in variable.choices), LACKING]
    names = tuple(texts[i] for i in order)
    every, among = (np.bincount(p, minlength=len(names)).tolist() for p in (places, places[:best]))
    return Choices(variable.name, names, tuple(every), tuple(among))


def _accuracies(records: Sequence[TrialRecord]) -> NDArray[np.float64]:
    return np.array([metrics_of(r).accuracy for r in records])
