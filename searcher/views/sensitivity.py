"""What quantizing parts of a parent costs: layers by what they cost, variables of the space, and what to conclude."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bhvit.precision import PRECISIONS
from searcher.candidate import Candidate
from searcher.numbers import percent_text
from searcher.sensitivity import BINARY, Change, Sensitivity
from searcher.space import Space
from searcher.variables import Choice, Kind
from searcher.views.candidate import network_text
from searcher.views.console import table

BAR = 16  # characters of the longest bar
HALF = 0.5  # share of the added loss that the layers named first make up
FIXED = "(fixed)"  # beside a layer
NAMED = 4  # layers named at most


def sensitivity_view(
    space: Space, candidate: Candidate, sensitivity: Sensitivity, first: Mapping[str, Choice] | None
) -> RenderableType:
    """The parent, the layers by what binarising them costs, the variables that tie layers, and the conclusion.

    `first` is the configuration of these widths to train first; None where none is within the budget. It begins with
    the model where `space` is one of several.
    """
    head = Text.assemble(
        (space.name, "bold"),
        f": what quantizing a layer alone costs, without training\n"
        f"full-precision parent {sensitivity.parent_key}, {network_text(candidate.parent)}\n"
        f"Top-1 {percent_text(sensitivity.accuracy)}, loss {sensitivity.loss:.3f} on {sensitivity.images:,} validation "
        "images",
    )
    ranked = ranked_layers(sensitivity)
    fixed = fixed_layers(space)
    parts: list[RenderableType] = [head, "", _layers(sensitivity, ranked, fixed), ""]
    parts += [Text(_legend(sensitivity, fixed), style="dim"), ""]
    if any(len(v.addresses) > 1 for v in space.variables):
        parts += [
            _variables(space, sensitivity),
            "",
            Text("Loss added by a variable's layers together.", style="dim"),
            "",
        ]
    chosen = [change for change in ranked if change.layers[0] not in fixed]
    return Group(*parts, *_conclusion(sensitivity, chosen), *_first(space, first))


def sensitivity_json(
    space: Space, candidate: Candidate, sensitivity: Sensitivity, first: Mapping[str, Choice] | None
) -> dict[str, Any]:
    """The same as plain data; layers in the order of the table."""
    fixed = fixed_layers(space)
    return {
        "space": space.name,
        "parent": {
            "key": sensitivity.parent_key,
            "architecture": candidate.parent.to_json()["architecture"],
            "loss": sensitivity.loss,
            "accuracy": sensitivity.accuracy,
        },
        "batches": sensitivity.batches,
        "images": sensitivity.images,
        "layers": [
            {
                "layer": change.layers[0],
                "fixed": change.layers[0] in fixed,
                **{p: _json(sensitivity, change.layers, p) for p in _precisions(sensitivity)},
            }
            for change in ranked_layers(sensitivity)
        ],
        "variables": [
            {"variable": v.name, **{str(c): _json(sensitivity, v.addresses, str(c)) for c in v.choices}}
            for v in space.variables
            if v.kind is Kind.PRECISION
        ],
        "train_first": first,
    }


def ranked_layers(sensitivity: Sensitivity) -> list[Change]:
    """The measurements of single binary layers, the most costly first."""
    single = [c for c in sensitivity.changes if len(c.layers) == 1 and c.precision == BINARY]
    return sorted(single, key=lambda c: -c.loss)


def fixed_layers(space: Space) -> frozenset[str]:
    """Layers whose precision the space does not choose; none where it chooses no precision at all."""
    chosen = {address for v in space.variables for address in v.addresses if len(v.choices) > 1}
    return frozenset(space.base.addresses) - chosen if chosen else frozenset()


def _layers(sensitivity: Sensitivity, ranked: Sequence[Change], fixed: Collection[str]) -> Table:
    others = [name for name in _precisions(sensitivity) if name != BINARY]
    result = table("layer", ("Top-1", "right"), ("loss", "right"), "", *((name, "right") for name in others))
    most = max((_added(sensitivity, c) for c in ranked), default=0.0)
    for change in ranked:
        result.add_row(
            f"{change.layers[0]} {FIXED}" if change.layers[0] in fixed else change.layers[0],
            _points(sensitivity, change),
            _signed(_added(sensitivity, change), 3),
            _bar(_added(sensitivity, change), most),
            *(_loss_text(sensitivity, change.layers, name) for name in others),
            style="dim" if change.layers[0] in fixed else None,
        )
    return result


def _legend(sensitivity: Sensitivity, fixed: Collection[str]) -> str:
    others = ", ".join(name for name in _precisions(sensitivity) if name != BINARY)
    legend = "Top-1 (points) and loss: what a binary layer changes."
    if others:
        legend += f" {others}: loss with the layer at that precision."
    return f"{legend} {FIXED}: the space does not choose its precision." if fixed else legend


def _variables(space: Space, sensitivity: Sensitivity) -> Table:
    names = _precisions(sensitivity)
    result = table("variable", *((name, "right") for name in names))
    for variable in space.variables:
        if variable.kind is Kind.PRECISION:
            offered = [str(c) for c in variable.choices]
            cells = [_loss_text(sensitivity, variable.addresses, n) if n in offered else "" for n in names]
            result.add_row(variable.name, *cells)
    return result


def _conclusion(sensitivity: Sensitivity, ranked: Sequence[Change]) -> Iterator[str]:
    added = {c.layers[0]: max(0.0, _added(sensitivity, c)) for c in ranked}
    total, sum_so_far, first = sum(added.values()), 0.0, list[str]()
    for name, loss in added.items():
        if sum_so_far < HALF * total and len(first) < NAMED:
            first.append(name)
            sum_so_far += loss
    if total:
        yield (
            f"Give bits first to {', '.join(first)}: {sum_so_far / total:.0%} of the loss that the {len(ranked)} "
            f"layers add one by one; last to {', '.join(list(added)[:-3:-1])}."
        )
    yield "Phase 2 makes up for much of this, and the effects of several layers do not add up: an order, not amounts."


def _first(space: Space, first: Mapping[str, Choice] | None) -> Iterator[str]:
    if not space.variables:
        return
    if first is None:
        yield "No configuration of these widths is within the budget."
        return
    usual = {v.name: v.default for v in space.variables}
    unusual = {name: choice for name, choice in first.items() if name not in usual or choice != usual[name]}
    line = yaml.safe_dump([unusual], default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    yield "By this order the best configuration of these widths within the budget, for the space file:"
    yield f"  enqueue: {line.strip()}"


def _precisions(sensitivity: Sensitivity) -> list[str]:
    """The quantizing precisions that were measured, fewest bits first."""
    measured = {change.precision for change in sensitivity.changes}
    return [name for name in PRECISIONS if name in measured]


def _added(sensitivity: Sensitivity, change: Change) -> float:
    return change.loss - sensitivity.loss


def _points(sensitivity: Sensitivity, change: Change) -> str:
    return _signed(100 * (change.accuracy - sensitivity.accuracy), 1)


def _loss_text(sensitivity: Sensitivity, layers: tuple[str, ...], precision: str) -> str:
    change = sensitivity.find(layers, precision)
    return "" if change is None else _signed(_added(sensitivity, change), 3)


def _json(sensitivity: Sensitivity, layers: tuple[str, ...], precision: str) -> dict[str, float] | None:
    change = sensitivity.find(layers, precision)
    return None if change is None else {"loss": change.loss, "accuracy": change.accuracy}


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # never -0.0


def _bar(value: float, most: float) -> str:
    return "█" * max(round(BAR * value / most), 0) if most > 0 else ""
