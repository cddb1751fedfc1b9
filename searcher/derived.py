"""Spaces made from a space: one of its models, one candidate to train, or the three points of the width ablation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from bhvit.errors import InvalidInput
from searcher.budget import BudgetSection
from searcher.candidate import Candidate
from searcher.model_section import ModelSection
from searcher.model_space import MODEL
from searcher.precision_groups import grouped
from searcher.pruning import NoPruning
from searcher.space import Space
from searcher.space_file import SearchSection
from searcher.variables import Choice, GroupSection, PrecisionSection, WidthSection, WidthsSection

ABLATION_STEPS = ("base", "+ intermediate", "+ hidden")


def of_model(space: Space, label: str) -> Space:
    """The space of the alternative `label` alone, within the same limits, with the enqueued points of that model."""
    model = space.model_of({MODEL: label})
    points = [space.file.enqueue[i] for i, point in enumerate(space.enqueued) if space.model_of(point) is model]
    file = dataclasses.replace(
        space.file,
        model=model.section,
        widths=model.widths,
        precision=model.precision,
        budget=_amounts(space),
        enqueue=tuple({key: value for key, value in point.items() if key != MODEL} for point in points),
    )
    return Space(f"{space.name}-{label}", file)


def single(space: Space, choices: Mapping[str, Choice]) -> Space:
    """The search that trains just the candidate with these choices, whatever it costs, to the end.

    Of several models it asks about that of the candidate alone.
    """
    if space.mixed:
        return single(of_model(space, str(choices[MODEL])), {k: v for k, v in choices.items() if k != MODEL})
    file = dataclasses.replace(space.file, budget=_unlimited(space), search=_one_trial(space), enqueue=(dict(choices),))
    return Space(f"{space.name}-{space.candidate(choices).id}", file)


def alone(space: Space, candidate: Candidate) -> Space:
    """The space of this candidate alone, its widths and precisions written out: what `single` trains, to be kept."""
    default, groups = grouped(candidate.layers)
    precision = PrecisionSection(
        default.name, tuple(GroupSection(group.glob, (group.precision.name,)) for group in groups)
    )
    file = dataclasses.replace(
        space.file,
        model=ModelSection.written_out(candidate.family, candidate.architecture, candidate.norm, candidate.recu),
        widths=WidthsSection(),
        precision=precision,
        budget=_unlimited(space),
        search=_one_trial(space),
        enqueue=(),
    )
    return Space(f"{space.name}-{candidate.id}", file)


def ablation(space: Space, hidden: float, intermediate: float) -> Space:
    """The search that trains base, + intermediate and + hidden, all at the space's default precision (thesis, table 4).

    The space must be of one model (`of_model`). The third point has both factors. No budget, no pruning; the points are
    enqueued in this order.
    """
    for name, factor in (("hidden", hidden), ("intermediate", intermediate)):
        if factor == 1:
            raise InvalidInput(f"the ablation needs a factor other than 1, but {name} is 1; use for example 3.")
    points = (
        {"hidden": 1, "intermediate": 1},
        {"hidden": 1, "intermediate": intermediate},
        {"hidden": hidden, "intermediate": intermediate},
    )
    file = dataclasses.replace(
        space.file,
        widths=WidthsSection(WidthSection((1, hidden)), WidthSection((1, intermediate))),
        precision=PrecisionSection(space.only.precision.default),
        budget=_unlimited(space),
        search=dataclasses.replace(space.search, trials=len(points), pruner=NoPruning()),
        enqueue=points,
    )
    return Space(f"{space.name}-ablation-{hidden:g}-{intermediate:g}", file)


def _amounts(space: Space) -> BudgetSection:
    """The limits as amounts, which need no model that they are relative to."""
    limits = space.budget
    latency = None if limits.latency is None else f"{limits.latency!r} s"
    return BudgetSection(limits.memory, limits.ops, latency, space.device, accounting=limits.accounting)


def _one_trial(space: Space) -> SearchSection:
    return dataclasses.replace(space.search, trials=1, pruner=NoPruning())


def _unlimited(space: Space) -> BudgetSection:
    return BudgetSection(accounting=space.budget.accounting, device=space.device)
