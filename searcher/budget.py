"""The hard budget of a search: what a candidate may weigh and compute."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from bhvit.cost import ACCOUNTINGS
from bhvit.errors import InvalidInput, unknown_name
from bhvit.precision import precision_named
from searcher.quantities import format_bytes, format_ops, parse_bytes, parse_ops, parse_percent

QUANTITY_NAMES = {"memory": "memory", "ops": "OPs"}  # as views say them
QUANTITIES = tuple(QUANTITY_NAMES)


class Priced(Protocol):
    """What a budget looks at; a `bhvit.cost.Cost`, or arrays with one entry a configuration."""

    @property
    def memory_bytes(self) -> Any: ...
    @property
    def ops(self) -> Any: ...


@dataclass(frozen=True)
class Violation:
    """One exceeded limit: `quantity` is memory (bytes) or ops (OPs)."""

    quantity: str
    actual: float
    allowed: float

    def __str__(self) -> str:
        show = format_bytes if self.quantity == "memory" else format_ops
        return (
            f"{self.quantity} {show(self.actual)} exceeds {show(self.allowed)} ({self.actual / self.allowed - 1:+.2%})"
        )


@dataclass(frozen=True)
class Budget:
    """Limits in bytes and OPs, counted in `accounting`; None is no limit. A cost equal to a limit is within it."""

    memory: float | None = None
    ops: float | None = None
    accounting: str = "reported"

    @cached_property
    def limits(self) -> dict[str, float]:
        """Quantity -> limit, for the quantities that have one."""
        values = {"memory": self.memory, "ops": self.ops}
        return {name: limit for name, limit in values.items() if limit is not None}

    def used(self, cost: Priced) -> dict[str, Any]:
        """Quantity -> what `cost` uses of each limited quantity (arrays where the cost holds arrays)."""
        values = {"memory": cost.memory_bytes, "ops": cost.ops}
        return {name: values[name] for name in self.limits}

    def shares(self, cost: Priced) -> dict[str, float]:
        """Quantity -> the share of its limit that `cost` uses, for each limited quantity."""
        return {name: used / self.limits[name] for name, used in self.used(cost).items()}

    def violations(self, cost: Priced) -> tuple[Violation, ...]:
        """The limits that `cost`, in this budget's accounting, exceeds; empty where it is within the budget."""
        used, limits = self.used(cost), self.limits
        return tuple(Violation(q, float(used[q]), limits[q]) for q in limits if used[q] > limits[q])

    def __str__(self) -> str:
        limits = {"memory": format_bytes, "ops": format_ops}
        parts = [f"{name} <= {limits[name](limit)}" for name, limit in self.limits.items()]
        return f"{', '.join(parts) or 'no limit'} ({self.accounting} accounting)"


@dataclass(frozen=True)
class RelativeTo:
    """The reference of relative limits: the base architecture at these widths, every layer at one precision."""

    widths: float | dict[str, float] = 1
    precision: str = "fp32"

    def __post_init__(self) -> None:
        precision_named(self.precision)
        if isinstance(self.widths, dict):
            for key in self.widths:
                if key not in ("hidden", "intermediate"):
                    raise unknown_name("key in widths:", key, ("hidden", "intermediate"))

    @property
    def factors(self) -> dict[str, float]:
        """Arguments of `architecture.scaled`."""
        if isinstance(self.widths, dict):
            return {"hidden": 1, "intermediate": 1, **self.widths}
        return {"hidden": self.widths, "intermediate": self.widths}


@dataclass(frozen=True)
class BudgetSection:
    """`budget:` of a space file.

    `memory` and `ops` are amounts with a unit ("13.7 MiB", "400 MOPs"), or numbers: with `relative_to` fractions of
    the reference's cost ("60%" is 0.6), without it bytes and OPs, at least 1.
    """

    memory: float | str | None = None
    ops: float | str | None = None
    relative_to: RelativeTo | None = None
    accounting: str = "reported"

    def __post_init__(self) -> None:
        if self.accounting not in ACCOUNTINGS:
            raise unknown_name("accounting", self.accounting, ACCOUNTINGS)
        self.resolve(_ONE if self.relative_to else None)

    def resolve(self, reference: Priced | None) -> Budget:
        """The limits in bytes and OPs; `reference` is the cost of `relative_to` in this accounting."""
        return Budget(
            self._limit("memory", self.memory, reference), self._limit("ops", self.ops, reference), self.accounting
        )

    def _limit(self, quantity: str, value: float | str | None, reference: Priced | None) -> float | None:
        if value is None:
            return None
        fraction = parse_percent(value) if isinstance(value, str) else value
        if fraction is None or (reference is None and not isinstance(value, str)):
            amount = (parse_bytes if quantity == "memory" else parse_ops)(value, quantity)
            if reference is None and amount < 1:
                example = "13.7 MiB" if quantity == "memory" else "400 MOPs"
                raise InvalidInput(
                    f"{quantity} must be at least 1 without relative_to, but it is {value!r}; add relative_to, or give "
                    f"an amount such as {example!r}."
                )
            return amount
        if reference is None:
            raise InvalidInput(f"{quantity} is {value!r}, a share of a reference; add relative_to, or give an amount.")
        if not math.isfinite(fraction) or fraction <= 0:
            raise InvalidInput(f"{quantity} must be a positive share of the reference, but it is {value!r}.")
        return float(fraction * (reference.memory_bytes if quantity == "memory" else reference.ops))


@dataclass(frozen=True)
class _Unit:
    memory_bytes: float = 1.0
    ops: float = 1.0


_ONE = _Unit()
