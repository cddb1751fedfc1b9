"""Accuracy against what a candidate costs, and by the order in which candidates were tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from searcher.charts.chart import ACCURACY, Axis, Chart, Figure, Form, Role, Rule, Series, Unit, cost_axis
from searcher.charts.trials import (
    accuracy_of,
    best_point,
    cost_of,
    of_outcome,
    points,
    trained_points,
    trial_points,
)
from searcher.front import pareto_front
from searcher.model_space import ModelSpace
from searcher.quantities import QUANTITIES, labels_of
from searcher.ranking import metrics_of
from searcher.records import FAILURES, TrialRecord
from searcher.snapshot import StudySnapshot
from searcher.variables import Kind

NONE_TRAINED = "no trial has been trained"


def front_figure(snapshot: StudySnapshot, quantities: Sequence[str]) -> Figure:
    """Accuracy against quantities of cost, a panel each with the best for every cost, the limit and FP references.

    The points of the Pareto front are those of the study, in all panels the same.
    """
    trained = [r for r in snapshot.records if r.outcome.trained]
    if not trained:
        return Figure("front", "", nothing=NONE_TRAINED)
    panels = tuple(_front_chart(snapshot, trained, quantity) for quantity in quantities)
    return Figure("front", f"Accuracy against {labels_of(quantities)}", panels, (), trial_points(trained))


def history_figure(snapshot: StudySnapshot) -> Figure:
    """Accuracy by trial number, the best so far within the budget, and the trials that failed."""
    ended = [r for r in snapshot.records if r.outcome.trained or r.outcome.failed]
    if not ended:
        return Figure("history", "", nothing=NONE_TRAINED)
    series = [*trained_points(snapshot, _number, accuracy_of)]
    series += [points(str(o), o, of_outcome(ended, o), _number, accuracy_of) for o in FAILURES]
    if snapshot.ranked:
        series += [_best_so_far(snapshot), best_point(snapshot, _number, accuracy_of)]
    drawn = tuple(s for s in series if s.x)
    chart = Chart("", Axis("trial", Unit.COUNT), ACCURACY, drawn)
    return Figure("history", "Accuracy by trial", (chart,), (), trial_points(ended))


def _front_chart(snapshot: StudySnapshot, trained: Sequence[TrialRecord], quantity: str) -> Chart:
    cost = cost_of(quantity)
    front = pareto_front(trained, snapshot.budget, ("accuracy", quantity))[::-1]  # cheapest first
    limit = snapshot.budget.limits.get(quantity)
    series = [*trained_points(snapshot, cost, accuracy_of)]
    if front:
        end = max(*(cost(r) for r in snapshot.ranked), limit or 0)
        xs, ys = [cost(r) for r in front], [metrics_of(r).accuracy for r in front]
        name = f"most accurate for its {QUANTITIES[quantity].label}"
        series.append(Series(name, Role.BEST_SO_FAR, (*xs, end), (*ys, ys[-1]), Form.STEPS))
        name = f"Pareto front against {snapshot.front_costs}"
        series.append(points(name, Role.FRONT, snapshot.front, cost, accuracy_of))
        series.append(best_point(snapshot, cost, accuracy_of))
    series += _references(snapshot, trained, quantity)
    rules = () if limit is None else (Rule(f"limit of {QUANTITIES[quantity].label}", Role.LIMIT, "x", limit),)
    drawn = tuple(s for s in series if s.x)
    xs = [x for s in drawn for x in s.x] + [rule.value for rule in rules]
    return Chart(f"accuracy against {QUANTITIES[quantity].label}", cost_axis(quantity, xs), ACCURACY, drawn, rules)


def _best_so_far(snapshot: StudySnapshot) -> Series:
    within, best = sorted(snapshot.ranked, key=_number), 0.0
    places: list[tuple[float, float]] = []
    for record in within:
        accuracy = metrics_of(record).accuracy
        if not places or accuracy > best:
            best = accuracy
            places.append((_number(record), best))
    places.append((snapshot.records[-1].number, best))
    xs, ys = zip(*places, strict=True)
    return Series("best so far", Role.BEST_SO_FAR, xs, ys, Form.STEPS)


def _references(snapshot: StudySnapshot, trained: Sequence[TrialRecord], quantity: str) -> Iterator[Series]:
    """Of each model the full-precision network of the reference's widths, where a trial had it as parent."""
    space, relative_to = snapshot.space, snapshot.space.file.budget.relative_to
    factors = {"hidden": 1, "intermediate": 1} if relative_to is None else relative_to.factors
    for model in space.models:
        record = next((r for r in trained if space.model_of(r.choices) is model and _has(r, model, factors)), None)
        if record is not None:
            cost = QUANTITIES[quantity].of(space.cost_of(record.candidate.parent).total)
            accuracy = metrics_of(record).parent_accuracy
            name = " ".join(filter(None, ["full-precision reference", model.label, f"{100 * accuracy:.1f} %"]))
            yield Series(name, Role.PARENT, (cost,), (accuracy,))


def _has(record: TrialRecord, model: ModelSpace, factors: Mapping[str, float]) -> bool:
    """Whether a trial of `model` has these factors of its widths; those that are not chosen are 1."""
    kinds = [v.kind for v in model.variables]
    chosen = (v for v in model.variables if v.kind is not Kind.PRECISION)
    fixed = all(factor == 1 for kind, factor in factors.items() if kind not in kinds)
    return fixed and all(record.choices[v.name] == factors[v.kind] for v in chosen)


def _number(record: TrialRecord) -> float:
    return record.number
