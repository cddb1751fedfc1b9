"""Two trials beside each other: results, widths, precisions, cost, and the layers that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bhvit.cost import Cost, LayerCost
from bhvit.wording import counted
from searcher.model_section import KEY_OF
from searcher.model_space import MODEL
from searcher.numbers import duration_text, percent_text
from searcher.plain import trial_json
from searcher.precision_groups import uniform_groups
from searcher.quantities import QUANTITIES, Quantity
from searcher.records import Metrics
from searcher.trial_diff import LayerChange, Side, TrialDiff
from searcher.views.chart_text import chart_text
from searcher.views.console import table
from searcher.views.layout import Beside, ColumnsThatFit, section
from searcher.views.marks import OUTCOMES
from searcher.views.precision_map import change_map, precision_legend

SHAPE_NAMES = {
    "embed_dim": "C (embedding)",
    "intermediate_dim": "I (MLP)",
    "depth": "blocks",
    "num_heads": "heads",
    **KEY_OF,
}


def diff_view(diff: TrialDiff) -> RenderableType:
    """Everything that differs."""
    curves = section("Learning curves of phase 2", chart_text(diff.curves, height=8)) if diff.curves else ()
    heading = f"Layers whose cost differs ({diff.accounting} accounting)"
    return Group(
        _title(diff),
        Beside(("", _figures(diff), *section("Architecture", _shapes(diff))), curves),
        Beside(section("Precision", _words(diff), *_map(diff)), section(heading, _layers(diff))),
        "",
        Text("One training of each: another seed moves Top-1 as well.", style="dim"),
    )


def diff_json(diff: TrialDiff) -> dict[str, Any]:
    """The same as plain data; differences are after minus before."""
    totals = [report.total for report in diff.costs]
    accuracies = diff.accuracies
    return {
        "before": _side_json(diff.before),
        "after": _side_json(diff.after),
        "same_candidate": diff.before.record.candidate.id == diff.after.record.candidate.id,
        "accounting": diff.accounting,
        "accuracy_difference": accuracies and accuracies[1] - accuracies[0],
        "memory_bytes_difference": totals[1].memory_bytes - totals[0].memory_bytes,
        "ops_difference": totals[1].ops - totals[0].ops,
        "latency_seconds_difference": _latency_difference(diff),
        "shapes": [{"name": name, "before": before, "after": after} for name, before, after in diff.shapes],
        "precisions": [
            {"address": address, "before": before and before.name, "after": after and after.name}
            for address, (before, after) in diff.precisions.items()
            if before != after
        ],
        "layers": [
            {"address": c.address, "before": _layer_json(c.before), "after": _layer_json(c.after)} for c in diff.layers
        ],
    }


def _side_json(side: Side) -> dict[str, Any]:
    return {"study": str(side.snapshot.folder.path), **trial_json(side.record, side.snapshot.budget)}


def _layer_json(row: LayerCost | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {"precision": row.precision.name, **{q.field: q.of(row) for q in QUANTITIES.values()}}


def _latency_difference(diff: TrialDiff) -> float | None:
    before, after = (report.latency_seconds for report in diff.costs)
    return None if before is None or after is None else after - before


def _title(diff: TrialDiff) -> Text:
    before, after = diff.sides
    title = Text.assemble((f"Trial {before.record.number}", "bold"))
    if before.snapshot.folder.path.resolve() != after.snapshot.folder.path.resolve():
        title.append(f" of {before.snapshot.folder.path}")
    return (
        title.append(" → ").append(f"trial {after.record.number}", "bold").append(f" of {after.snapshot.folder.path}")
    )


def _figures(diff: TrialDiff) -> Table:
    """Results and totals, before, after and their difference."""
    names = [f"trial {side.record.number}" for side in diff.sides]
    result = table("", *((name, "right") for name in (*names, "difference", "ratio")))
    result.add_row("outcome", *(OUTCOMES[s.record.outcome].text(s.record.outcome.value) for s in diff.sides), "", "")
    for row in _metric_rows(diff):
        result.add_row(*row)
    before, after = (report.total for report in diff.costs)
    quantities = [QUANTITIES[name] for name in diff.quantities]
    for quantity in quantities:
        values, text = (quantity.of(before), quantity.of(after)), quantity.text
        ratio = f"x {values[1] / values[0]:.2f}"
        result.add_row(quantity.label, *map(text, values), _signed(text, values[1] - values[0]), ratio)
    for quantity in quantities:
        shares = [side.shares.get(quantity.name) for side in diff.sides]
        if any(share is not None for share in shares):
            name = f"of its budget: {quantity.label}"
            result.add_row(name, *("no limit" if share is None else percent_text(share) for share in shares), "", "")
    return result


def _metric_rows(diff: TrialDiff) -> Iterator[list[str]]:
    metrics = [side.record.metrics for side in diff.sides]

    def row(
        name: str,
        get: Callable[[Metrics], float],
        text: Callable[[float], str],
        difference: Callable[[float], str] | None = None,
    ) -> list[str]:
        before, after = (None if m is None else get(m) for m in metrics)
        change = "" if before is None or after is None else _signed(difference or text, after - before)
        return [name, *("-" if value is None else text(value) for value in (before, after)), change, ""]

    if any(m is not None for m in metrics):
        yield row("Top-1", lambda m: m.accuracy, percent_text, _points_text)
        yield row("Top-1 of its FP parent", lambda m: m.parent_accuracy, percent_text, _points_text)
        yield row("against its parent", lambda m: m.accuracy - m.parent_accuracy, _signed_points, _points_text)
        yield row("best epoch", lambda m: m.best_epoch, lambda epoch: f"{epoch:.0f}")
        yield row("training took", lambda m: m.seconds, duration_text)
    starts = [side.record.attempts for side in diff.sides]
    if set(starts) != {1}:
        yield ["starts", *map(str, starts), "", ""]


def _shapes(diff: TrialDiff) -> RenderableType:
    """The model, width factors and facts of the architectures that differ."""
    before, after = (side.record.choices for side in diff.sides)
    factors = [name for name in dict.fromkeys([*before, *after]) if _is_factor(before.get(name, after.get(name)))]
    names = [MODEL, *factors]
    rows = [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]
    rows += [(SHAPE_NAMES.get(name, name), *values) for name, *values in diff.shapes]
    if not rows:
        return "the same"
    result = table("", *(f"trial {side.record.number}" for side in diff.sides))
    for name, *values in rows:
        result.add_row(name, *map(_value_text, values))
    return result


def _words(diff: TrialDiff) -> str:
    """How many layers differ, which, by the largest groups that changed alike, and which only one network has."""
    shared = {address: pair for address, pair in diff.precisions.items() if None not in pair}
    changed = sum(before != after for before, after in shared.values())
    groups = [(group.name, *group.precision) for group in uniform_groups(shared)]
    names = ", ".join(f"{name} {before}→{after}" for name, before, after in groups if before != after)
    count = len(shared)
    same = f"the same in all {count} layers" if count else "no layer in common"
    parts = [f"{changed} of {count} layers have another precision: {names}" if changed else same]
    for side, other in (diff.sides, diff.sides[::-1]):
        alone = len(side.layers.keys() - other.layers.keys())
        parts += [f"{counted(alone, 'layer')} only in trial {side.record.number}"] if alone else []
    return "; ".join(parts)


def _map(diff: TrialDiff) -> Iterator[RenderableType]:
    if any(before != after for before, after in diff.precisions.values()):
        before, after = diff.before.layers, diff.after.layers
        legend = precision_legend((*before.values(), *after.values()), changes=True)
        yield from ("", change_map(before, after), legend)


def _layers(diff: TrialDiff) -> RenderableType:
    if not diff.layers:
        return "none"
    return ColumnsThatFit(lambda names: _layer_table(diff, names), diff.quantities)


def _layer_table(diff: TrialDiff, names: Sequence[str]) -> Table:
    """What each layer costs after, and the differences, of the quantities of these `names`."""
    quantities = [QUANTITIES[name] for name in names]
    right = [(name, "right") for quantity in quantities for name in (quantity.label, "change")]
    result = table("layer", "precision", *right)
    for change in diff.layers:
        figures = (_change_texts(quantity, change.before, change.after) for quantity in quantities)
        result.add_row(change.address, _precisions_text(change), *chain(*figures))
    totals = [report.total for report in diff.costs]
    result.add_section()
    figures = (_change_texts(quantity, *totals) for quantity in quantities)
    result.add_row("whole network", "", *chain(*figures), style="bold")
    return result


def _change_texts(
    quantity: Quantity, before: LayerCost | Cost | None, after: LayerCost | Cost | None
) -> tuple[str, str]:
    """The cost after, and the difference; a layer that is absent costs nothing."""
    first, second = (0.0 if cost is None else quantity.of(cost) for cost in (before, after))
    return quantity.text(second), _signed(quantity.text, second - first)


def _precisions_text(change: LayerChange) -> str:
    names = ["absent" if row is None else row.precision.name for row in (change.before, change.after)]
    return names[0] if names[0] == names[1] else "→".join(names)


def _is_factor(choice: Any) -> bool:
    return not isinstance(choice, str)


def _value_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value_text, value))
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _points_text(share: float) -> str:
    return f"{100 * share:.1f} points"


def _signed_points(share: float) -> str:
    return _signed(_points_text, share)


def _signed(text: Callable[[float], str], difference: float) -> str:
    """A difference with its sign; none where it is zero as it is printed."""
    shown = text(abs(difference))
    return shown if shown == text(0) else f"{'-' if difference < 0 else '+'}{shown}"
