"""Which rule stops a trial early by its learning curve, as data: `search.pruner` of a space file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from bhvit.errors import InvalidInput, unknown_name
from searcher.schema import from_mapping


@dataclass(frozen=True)
class NoPruning:
    """Every trial trains to its end."""


@dataclass(frozen=True)
class Median:
    """Stop below the median of earlier trials at the same epoch.

    Not before `startup_trials` have finished, nor in a trial's first `warmup_epochs`.
    """

    startup_trials: int = 4
    warmup_epochs: int = 1

    def __post_init__(self) -> None:
        _at_least("startup_trials", self.startup_trials, 1)
        _at_least("warmup_epochs", self.warmup_epochs, 0)


@dataclass(frozen=True)
class SuccessiveHalving:
    """Asynchronous successive halving: after `min_epochs` keep one in `reduction_factor`, again at each rung."""

    min_epochs: int = 1
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        _at_least("min_epochs", self.min_epochs, 1)
        _at_least("reduction_factor", self.reduction_factor, 2)


@dataclass(frozen=True)
class Hyperband:
    """Several successive halvings that differ in how early they start; `max_epochs` is the phase's length."""

    max_epochs: int
    min_epochs: int = 1
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        _at_least("min_epochs", self.min_epochs, 1)
        _at_least("max_epochs", self.max_epochs, self.min_epochs)
        _at_least("reduction_factor", self.reduction_factor, 2)


Pruning: TypeAlias = NoPruning | Median | SuccessiveHalving | Hyperband

PRUNERS: Mapping[str, type[Any]] = MappingProxyType(
    {"none": NoPruning, "median": Median, "successive_halving": SuccessiveHalving, "hyperband": Hyperband}
)


def pruning_from(value: object, where: str) -> Pruning:
    """A rule from its name, or from `{name: ..., option: ...}`."""
    options = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in PRUNERS:
        raise unknown_name(f"{where}.name" if isinstance(value, Mapping) else where, name, PRUNERS)
    rule: Pruning = from_mapping(PRUNERS[name], options, where)
    return rule


def pruning_to_plain(rule: Pruning) -> dict[str, Any]:
    """The inverse of `pruning_from`."""
    name = next(name for name, kind in PRUNERS.items() if type(rule) is kind)
    return {"name": name, **asdict(rule)}


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InvalidInput(f"{name} must be at least {least}, but it is {value}.")


def _median_stops(self, number, curve, epochs, costs, others):  # type: ignore
    import statistics

    epoch = len(curve)
    if epoch <= self.warmup_epochs:
        return False
    done = [o for o in others if o.outcome.value == "complete"]
    if len(done) < self.startup_trials:
        return False
    at = [max(o.curve[:epoch]) for o in done if len(o.curve) >= epoch]
    return bool(at) and max(curve) < statistics.median(at)


Median.stops = _median_stops  # type: ignore
NoPruning.stops = SuccessiveHalving.stops = Hyperband.stops = lambda *a: False  # type: ignore
