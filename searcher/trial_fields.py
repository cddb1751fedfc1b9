"""Everything that trials can be sorted, filtered, listed and exported by; no torch, no optuna, no rich.

A field is found by its name (`accuracy`, `memory_share`), by a variable of the space (`hidden`, `stage*.mlp`), by the
address of a layer (`stage2.block0.mlp`), or by a glob over the names of variables and layers (`downsample*`), which
stands for several values. Values are looked up in a record's choices: its candidate is never parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from bhvit.device_file import shipped_devices
from bhvit.errors import InvalidInput, unknown_name
from bhvit.wording import listed
from searcher import measures
from searcher.budget import Budget
from searcher.measures import Measure, Value
from searcher.model_space import MODEL, ModelSpace
from searcher.quantities import QUANTITIES
from searcher.records import Metrics, Outcome, TrialRecord
from searcher.repeats import Repeats, candidate_id
from searcher.space import Space
from searcher.variables import Kind

NOTHING = "-"  # a value that a trial does not have, such as the accuracy of one that failed


@dataclass(frozen=True)
class Field:
    """One property of a trial. `heading` has the unit where `text` lacks it; `about` is a line for `--columns help`.

    `values` has one entry, or several for a glob that covers several layers or variables. `words` are all that its
    values can be, where that is known of words.
    """

    name: str
    heading: str
    measure: Measure
    values: Callable[[TrialRecord], tuple[Value, ...]]
    about: str = ""
    words: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """Unit of `value`: bytes, OPs, s, % (of a share in 0..1), points (likewise), or none."""
        return self.measure.unit

    def value(self, record: TrialRecord) -> Value:
        """The plain value; of several their common one, or all of them as `text`; None where there is none."""
        values = self.values(record)
        return values[0] if len(set(values)) == 1 else self.text(record)

    def text(self, record: TrialRecord) -> str:
        """As a table prints it: `64.7`, `138.0 KiB`, `fp16`; several that differ as `1/1/2/2`."""
        values = self.values(record)
        values = values[:1] if len(set(values)) == 1 else values
        return "/".join(NOTHING if value is None else self.measure.text(value) for value in values) or NOTHING

    def key(self, record: TrialRecord) -> tuple[Any, ...] | None:
        """What trials are sorted by; None where the trial has no value."""
        values = self.values(record)
        return None if None in values else tuple(map(self.measure.key, values))


class TrialFields:
    """The fields of the trials of a space, under its budget; with those of `repeats` where they are given."""

    def __init__(self, space: Space, repeats: Repeats | None = None) -> None:
        self.space = space
        seeds = () if repeats is None else _of_repeats(repeats)
        fixed = (*_of_records(space.quantities), *_of_metrics(), *seeds, *_of_budget(space.budget, space.quantities))
        self._fixed = {field.name: field for field in fixed}
        self._parts = {**_layer_parts(space), **_variable_parts(space)}
        self._found: dict[str, Field] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Every name but those of layers and globs: what `--columns help` lists."""
        return tuple(dict.fromkeys([*self._fixed, *map(str, _WIDTHS), *(v.name for v in self.space.variables)]))

    def named(self, name: str, what: str = "field") -> Field:
        """The field `name`; raises `InvalidInput` that begins with `unknown <what>` and lists `names`."""
        if name not in self._found:
            self._found[name] = self._find(name, what)
        return self._found[name]

    def _find(self, name: str, what: str) -> Field:
        if name in self._fixed:
            return self._fixed[name]
        if name.removesuffix("_share") in QUANTITIES:
            raise InvalidInput(
                f"{what} {name} is predicted for a device, but the study names none; name one by --device "
                f"{listed(shipped_devices(), 'or')}, or by the path of a profile."
            )
        if name in self._parts:
            covered = [name]
        elif name in _WIDTHS:  # every stage its own, or not searched
            covered = [part for part in self._parts if part.startswith(f"{name}.")]
            if not covered:
                return _width_field(name, lambda record: (1.0,))
        else:
            covered = self._covered(name)
        if not covered:
            raise unknown_name(what, name, self.names)
        parts = [self._parts[part] for part in covered]
        if parts[0].measure is measures.WORD:
            return parts[0]
        if parts[0].measure is measures.FACTOR:
            return _width_field(name, _together([part.values for part in parts]))
        return Field(name, name, measures.PRECISION, _together([part.values for part in parts]), "precision")

    def _covered(self, pattern: str) -> list[str]:
        """Layers that the glob matches; where there are none, widths; each layer's variable is looked up once."""
        layers = [a for a in self.space.addresses if fnmatchcase(a, pattern)]
        if layers:
            return list({id(self._parts[a]): a for a in layers}.values())
        return [v.name for v in self.space.variables if fnmatchcase(v.name, pattern) and v.stages]


_Setters: TypeAlias = tuple[tuple[str | None, str | None], ...]
"""For each model the variable that sets a layer, or the precision that is fixed."""
_MEASURES = {
    Kind.MODEL: measures.WORD,
    Kind.HIDDEN: measures.FACTOR,
    Kind.INTERMEDIATE: measures.FACTOR,
    Kind.PRECISION: measures.PRECISION,
}
_ABOUT = {
    Kind.MODEL: "which of the space's models",
    Kind.HIDDEN: "width factor",
    Kind.INTERMEDIATE: "width factor",
    Kind.PRECISION: "precision",
}
_WIDTHS = {str(Kind.HIDDEN): "hidden", str(Kind.INTERMEDIATE): "MLP"}


def _width_field(name: str, values: Callable[[TrialRecord], tuple[Value, ...]]) -> Field:
    return Field(name, _WIDTHS.get(name, name), measures.FACTOR, values, "width factor")


def _together(parts: list[Callable[[TrialRecord], tuple[Value, ...]]]) -> Callable[[TrialRecord], tuple[Value, ...]]:
    """The values of all parts, without those of layers and variables that the trial's model lacks."""
    if len(parts) == 1:
        return parts[0]
    return lambda record: tuple(v for part in parts if (v := part(record)[0]) is not None) or (None,)


def _variable_parts(space: Space) -> dict[str, Field]:
    return {
        v.name: Field(
            v.name,
            _WIDTHS.get(v.name, v.name),
            _MEASURES[v.kind],
            lambda record, name=v.name: (record.choices.get(name),),  # type: ignore[misc]
            _ABOUT[v.kind],
            tuple(map(str, v.choices)) if v.kind is Kind.MODEL else (),
        )
        for v in space.variables
    }


def _layer_parts(space: Space) -> dict[str, Field]:
    """Layer address -> the field of what sets it: of all layers with the same variables (or defaults) the same one."""
    setters: dict[str, _Setters] = {a: tuple(_setter(model, a) for model in space.models) for a in space.addresses}
    fields = {setter: _layer_field(space, setter) for setter in set(setters.values())}
    return {address: fields[setter] for address, setter in setters.items()}


def _setter(model: ModelSpace, address: str) -> tuple[str | None, str | None]:
    """The variable that sets a layer of a model, or its fixed precision; neither where the model lacks the layer."""
    for variable in model.variables:
        if address in variable.addresses:
            return variable.name, None
    return None, model.precision.default if address in model.base.addresses else None


def _layer_field(space: Space, setters: _Setters) -> Field:
    """The precision of layers by what sets them under each model; None under a model that lacks them."""
    of = {model.label: setter for model, setter in zip(space.models, setters, strict=True)}

    def values(record: TrialRecord) -> tuple[Value, ...]:
        variable, fixed = of[str(record.choices[MODEL]) if space.mixed else ""]
        return (fixed if variable is None else record.choices.get(variable),)

    return Field("layer", "layer", measures.PRECISION, values)


def _of_records(quantities: Sequence[str]) -> tuple[Field, ...]:
    read: Mapping[str, tuple[str, Measure, Callable[[TrialRecord], Value], str]] = {
        "trial": ("trial", measures.COUNT, lambda r: r.number, "number of the trial"),
        "id": ("id", measures.WORD, candidate_id, "hash of widths and precisions"),
        "outcome": ("outcome", measures.WORD, lambda r: str(r.outcome), "how the trial stands or ended"),
        **{q: (QUANTITIES[q].label, measures.COSTS[q], QUANTITIES[q].of, QUANTITIES[q].about) for q in quantities},
        "attempts": ("attempts", measures.COUNT, lambda r: r.attempts, "how often it was started"),
        "worker": ("worker", measures.WORD, lambda r: r.worker or None, "who trained it last"),
        "message": ("message", measures.WORD, lambda r: r.message or None, "why it did not complete"),
    }
    words = {"outcome": tuple(map(str, Outcome))}
    return tuple(
        Field(name, heading, measure, lambda record, get=get: (get(record),), about, words.get(name, ()))  # type: ignore[misc]
        for name, (heading, measure, get, about) in read.items()
    )


def _of_metrics() -> tuple[Field, ...]:
    read: Mapping[str, tuple[str, Measure, Callable[[Metrics], Value], str]] = {
        "accuracy": ("Top-1 %", measures.ACCURACY, lambda m: m.accuracy, "best epoch, on the validation split"),
        "final_accuracy": ("last %", measures.ACCURACY, lambda m: m.final_accuracy, "last epoch"),
        "parent_accuracy": ("FP %", measures.ACCURACY, lambda m: m.parent_accuracy, "full precision, equal widths"),
        "gain": ("vs FP", measures.POINTS, lambda m: m.accuracy - m.parent_accuracy, "points above its FP parent"),
        "best_epoch": ("epoch", measures.COUNT, lambda m: m.best_epoch, "epoch of the accuracy"),
        "seconds": ("time", measures.SECONDS, lambda m: m.seconds, "of its training"),
        "restarts": ("restarts", measures.COUNT, lambda m: m.restarts, "returns to the last good epoch"),
    }
    return tuple(
        Field(
            name,
            heading,
            measure,
            lambda record, get=get: (None if record.metrics is None else get(record.metrics),),  # type: ignore[misc]
            about,
        )
        for name, (heading, measure, get, about) in read.items()
    )


def _of_repeats(repeats: Repeats) -> tuple[Field, ...]:
    """Mean, spread and number over the studies of other seeds."""
    read: Mapping[str, tuple[str, Measure, Callable[[str], Value], str]] = {
        "mean": ("mean %", measures.ACCURACY, repeats.mean, "mean accuracy of the candidate over seeds"),
        "sd": ("± sd", measures.ACCURACY, repeats.spread, "standard deviation over seeds, in points"),
        "seeds": ("n", measures.COUNT, repeats.count, "complete trials of the candidate over seeds"),
    }
    return tuple(
        Field(name, heading, measure, lambda record, get=get: (get(candidate_id(record)),), about)  # type: ignore[misc]
        for name, (heading, measure, get, about) in read.items()
    )


def _of_budget(budget: Budget, quantities: Sequence[str]) -> tuple[Field, ...]:
    """`memory_share`, `ops_share`, `latency_share`: None without that limit."""

    def share(quantity: str) -> Callable[[TrialRecord], tuple[Value, ...]]:
        return lambda record: (budget.shares(record).get(quantity),)

    return tuple(
        Field(f"{q}_share", "share %", measures.SHARE, share(q), f"share of the budget's {QUANTITIES[q].label}")
        for q in quantities
    )
