"""What a space holds before anything is trained: size, feasible share, ranges of cost, the limit that binds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from rich.console import Group, RenderableType
from rich.table import Table

from bhvit.wording import counted, listed
from searcher.feasible import SpaceProfile
from searcher.numbers import share_text
from searcher.plain import budget_json
from searcher.pruning import pruning_to_plain
from searcher.quantities import QUANTITIES, Quantity
from searcher.space import Space
from searcher.variables import Kind, Variable
from searcher.views.console import table
from searcher.views.layout import WidestThatFits
from searcher.views.study_header import choices_json, device_line

FEW = 200  # feasible configurations below which searching all of them is better
_Columns: TypeAlias = "Sequence[tuple[str, Sequence[str]]]"


def space_view(space: Space, profile: SpaceProfile) -> RenderableType:
    """Variables, counts, ranges and the verdict."""
    models = (_models(space, profile), "") if space.mixed else ()
    return Group(
        *_head(space, profile), "", *models, _variables(space), "", _ranges(space, profile), "",
        *verdict(space, profile),
    )  # fmt: skip


def space_json(space: Space, profile: SpaceProfile) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "space": space.name,
        "variables": choices_json(space.variables),
        "budget": budget_json(space.budget),
        **_counts(profile),
        **({"models": _models_json(space, profile)} if space.mixed else {}),
        "sampled": profile.sampled,
        "feasible_share": profile.share,
        "satisfiable": profile.satisfiable,
        "binding_limit": profile.binds,
    }


def _head(space: Space, profile: SpaceProfile) -> Iterator[str]:
    families = listed(dict.fromkeys(model.family for model in space.models))
    yield f"{space.name}: {counted(profile.size, 'configuration')} of {families}"
    share = share_text(profile.share)
    scope = f"{profile.feasible:,} ({share})"
    if profile.sampled:
        scope = f"{share} by random samples" if space.mixed else f"{scope} of a random sample of {profile.examined:,}"
        scope += "; the space is too large to enumerate"
    yield f"within the budget: {scope}"
    if profile.repeated:
        yield f"in several models: {_repeated(profile)}"
    yield f"budget: {space.budget}"
    if space.device is not None:
        yield f"device: {device_line(space.device)}"


def _repeated(profile: SpaceProfile) -> str:
    """How many configurations of which models are candidates of an earlier one, too."""
    own = {label: part for label, part in profile.models.items() if part.repeated}
    of = listed(f"{p.repeated:,}{' sampled' if p.sampled else ''} of {label}" for label, p in own.items())
    return f"{of}, which an earlier model has too; each candidate is trained once"


def _models(space: Space, profile: SpaceProfile) -> RenderableType:
    """Of each model its size, what is within the budget, and what its smallest and largest candidates cost.

    Where that is too wide, costs are a table of their own; only labels too long for either are folded.
    """
    rows = [(model, profile.models[model.label]) for model in space.models]
    counts = [("configurations", [f"{own.size:,}" for _, own in rows])]
    counts.append(("within the budget", [_within(own) for _, own in rows]))
    costs = [(q.label, [_ends(q, own) for _, own in rows]) for q in map(QUANTITIES.__getitem__, space.quantities)]
    names = [("model", [model.label for model, _ in rows]), ("family", [model.family for model, _ in rows])]

    def stacked(fold: bool) -> Group:
        return Group(_columns(names, counts, fold), "", _columns(names[:1], costs, fold))

    return WidestThatFits([lambda: _columns(names, [*counts, *costs]), lambda: stacked(False), lambda: stacked(True)])


def _columns(names: _Columns, figures: _Columns, fold: bool = False) -> Table:
    """A table of these columns, of a heading and a cell a row each; unless they may `fold`, names keep their width."""
    result = table(*(heading for heading, _ in names), *((heading, "right") for heading, _ in figures))
    for column in result.columns:
        column.no_wrap = column.no_wrap or not fold
    for cells in zip(*(cells for _, cells in (*names, *figures)), strict=True):
        result.add_row(*cells)
    return result


def _within(own: SpaceProfile) -> str:
    return f"{own.feasible:,} ({share_text(own.share)}{' of a sample' if own.sampled else ''})"


def _ends(quantity: Quantity, own: SpaceProfile) -> str:
    """The least and the most that candidates of a model cost."""
    ends = quantity.text(quantity.of(own).minimum), quantity.text(quantity.of(own).maximum)
    return " to ".join(dict.fromkeys(ends))


def _models_json(space: Space, profile: SpaceProfile) -> dict[str, Any]:
    found = {}
    for model in space.models:
        own = profile.models[model.label]
        found[model.label] = {
            "family": model.family,
            "variables": choices_json(model.variables),
            **_counts(own),
            "feasible_share": own.share,
        }
    return found


def _counts(profile: SpaceProfile) -> dict[str, Any]:
    counts = asdict(profile)
    del counts["models"]
    return counts


def _variables(space: Space) -> Table:
    """The variables with their choices; of several models also whose they are, a row for each of other choices."""
    result = table("variable", "choices", *(("of",) if space.mixed else ()))
    for variable in space.variables:
        if not space.mixed or variable.kind is Kind.MODEL:
            result.add_row(variable.name, _choices(variable), *(("all",) if space.mixed else ()))
            continue
        owners: dict[str, list[str]] = {}
        for model in space.models:
            for own in model.variables:
                if own.name == variable.name:
                    owners.setdefault(_choices(own), []).append(model.label)
        for choices, labels in owners.items():
            result.add_row(variable.name, choices, "all" if len(labels) == len(space.models) else ", ".join(labels))
    if not space.variables:
        result.add_row("none", "a single candidate")
    return result


def _choices(variable: Variable) -> str:
    return ", ".join(map(str, variable.choices))


def _ranges(space: Space, profile: SpaceProfile) -> Table:
    columns = ("smallest", "median", "largest", "limit", "feasible alone")
    result = table("cost of all", *((name, "right") for name in columns))
    for quantity in (QUANTITIES[name] for name in space.quantities):
        limit, values = space.budget.limits.get(quantity.name), quantity.of(profile)
        result.add_row(
            quantity.label,
            *(quantity.text(value) for value in (values.minimum, values.median, values.maximum)),
            "none" if limit is None else quantity.text(limit),
            "" if limit is None else share_text(profile.shares[quantity.name]),
        )
    return result


def verdict(space: Space, profile: SpaceProfile) -> Iterator[str]:
    """Whether the budget can be met, what binds, and whether searching is the right tool."""
    if not profile.satisfiable:
        yield from _unsatisfied(space, profile)
        return
    if profile.binds is None:
        yield "No limit excludes anything."
    else:
        excluded = share_text(1 - profile.shares[profile.binds])
        yield f"The {QUANTITIES[profile.binds].label} limit binds: alone it excludes {excluded}."
    yield from _hopeless(space, profile)
    different = profile.feasible - profile.repeated
    trials = counted(space.search.trials, "trial")
    if different == 1:
        yield f"There is one feasible configuration: {trials} {'covers' if space.search.trials == 1 else 'cover'} it."
    elif different <= space.search.trials:
        yield f"{trials} cover all {different} feasible configurations."
    elif different < FEW and not profile.sampled:
        yield f"Fewer than {FEW} feasible configurations: trials: {different} tries them all{_shortened(space)}."


def _shortened(space: Space) -> str:
    """How the space's pruner may shorten trials; empty where it cannot, or nothing is known of their length."""
    epochs = 0 if space.recipe is None else space.recipe.qat.epochs
    first = space.search.pruner.earliest(epochs)
    if first is None:
        return ""
    name = pruning_to_plain(space.search.pruner)["name"]
    return f"; pruner {name} may end those that fall behind after {first} of the {epochs} epochs of phase 2"


def _hopeless(space: Space, profile: SpaceProfile) -> Iterator[str]:
    """The models of which nothing is within the budget, and those of which nothing was found that is."""
    empty = {label: own for label, own in profile.models.items() if not own.feasible}
    if certain := [label for label, own in empty.items() if not own.sampled or _exceeded(space, own)]:
        those = "the model" if len(certain) == 1 else "these models"
        yield f"Nothing of {listed(certain)} is within the budget: raise it, or leave {those} out."
    for label in [label for label in empty if label not in certain]:
        yield (
            f"None of {empty[label].examined:,} sampled configurations of {label} is within the budget; the model may "
            "have one nevertheless. Raise the budget, or enqueue a point that is within it."
        )


def _exceeded(space: Space, profile: SpaceProfile) -> dict[Quantity, float]:
    """The limited quantities of which even the cheapest candidate needs more than the limit, with what it needs."""
    limits = space.budget.limits
    smallest = {QUANTITIES[name]: QUANTITIES[name].of(profile).minimum for name in limits}
    return {quantity: least for quantity, least in smallest.items() if least > limits[quantity.name]}


def _unsatisfied(space: Space, profile: SpaceProfile) -> Iterator[str]:
    """That no examined configuration is within the budget; that none can be, only where this is certain."""
    exceeded = _exceeded(space, profile)
    if profile.sampled and not exceeded:
        yield (
            f"None of {profile.examined:,} sampled configurations is within the budget; the space may hold one "
            "nevertheless. Raise the budget, or enqueue a point that is within it."
        )
        return
    yield "The budget cannot be met: no configuration is within it."
    for quantity, least in exceeded.items():
        limit = quantity.text(space.budget.limits[quantity.name])
        yield f"{quantity.name}: even the smallest candidate needs {quantity.text(least)}, the limit is {limit}."
