"""The hard budget of a search: what a candidate may weigh and compute."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from bhvit.cost import ACCOUNTINGS
from bhvit.device_file import shipped_devices
from bhvit.device_profile import DeviceProfile
from bhvit.errors import InvalidInput, unknown_name
from bhvit.precision import PrecisionPlan
from bhvit.wording import listed
from searcher.quantities import QUANTITIES, Quantity, parse_percent


@dataclass(frozen=True)
class Violation:
    """One exceeded limit: `quantity` is memory (bytes), ops (OPs) or latency (seconds)."""

    quantity: str
    actual: float
    allowed: float

    def __str__(self) -> str:
        show = QUANTITIES[self.quantity].exact
        return (
            f"{self.quantity} {show(self.actual)} exceeds {show(self.allowed)} ({self.actual / self.allowed - 1:+.2%})"
        )


@dataclass(frozen=True)
class Budget:
    """Limits in bytes and OPs, counted in `accounting`, and in seconds predicted for `device`; None is no limit.

    A cost equal to a limit is within it. `device` is None without a limit of latency.
    """

    memory: float | None = None
    ops: float | None = None
    accounting: str = "reported"
    latency: float | None = None
    device: DeviceProfile | None = None

    @cached_property
    def limits(self) -> dict[str, float]:
        """Quantity -> limit, for the quantities that have one."""
        values = {name: getattr(self, name) for name in QUANTITIES}
        return {name: limit for name, limit in values.items() if limit is not None}

    def used(self, cost: Any) -> dict[str, Any]:
        """Quantity -> what `cost` uses of each limited quantity (arrays where the cost holds arrays)."""
        return {name: QUANTITIES[name].of(cost) for name in self.limits}

    def shares(self, cost: Any) -> dict[str, float]:
        """Quantity -> the share of its limit that `cost` uses, for each limited quantity."""
        return {name: used / self.limits[name] for name, used in self.used(cost).items()}

    def violations(self, cost: Any) -> tuple[Violation, ...]:
        """The limits that `cost`, in this budget's accounting, exceeds; empty where it is within the budget."""
        used, limits = self.used(cost), self.limits
        return tuple(Violation(q, float(used[q]), limits[q]) for q in limits if used[q] > limits[q])

    @property
    def limits_text(self) -> str:
        """The limits in words: `memory <= 1.37 MiB, latency <= 40 ms on avx512`."""
        parts = [f"{name} <= {QUANTITIES[name].exact(limit)}" for name, limit in self.limits.items()]
        on = f" on {device_words(self.device)}" if self.device else ""  # latency is the last limit
        return f"{', '.join(parts) or 'no limit'}{on}"

    def __str__(self) -> str:
        return f"{self.limits_text} ({self.accounting} accounting)"


@dataclass(frozen=True)
class RelativeTo:
    """The reference of relative limits: the base architecture at these widths, all layers at one precision or plan.

    `model` is the label of an alternative (default: the first), where the file lists several.
    """

    widths: float | dict[str, float] = 1
    precision: str = "fp32"
    model: str | None = None

    def __post_init__(self) -> None:
        PrecisionPlan.named(self.precision)
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

    `memory`, `ops` and `latency` are amounts with a unit ("13.7 MiB", "400 MOPs", "40 ms"), or numbers: with
    `relative_to` fractions of the reference's cost ("60%" is 0.6), without it bytes and OPs, at least 1. Latency is
    predicted for `device`, which without a limit of latency limits nothing.
    """

    memory: float | str | None = None
    ops: float | str | None = None
    latency: float | str | None = None
    device: DeviceProfile | None = None
    relative_to: RelativeTo | None = None
    accounting: str = "reported"

    def __post_init__(self) -> None:
        if self.accounting not in ACCOUNTINGS:
            raise unknown_name("accounting", self.accounting, ACCOUNTINGS)
        if self.latency is not None and self.device is None:
            raise InvalidInput(
                f"latency must be that of a device, but none is named; add device: {listed(shipped_devices(), 'or')}, "
                "or the path of a profile that `searcher calibrate` wrote."
            )
        self.resolve(_ONE if self.relative_to else None)

    def resolve(self, reference: Any) -> Budget:
        """The limits in bytes, OPs and seconds; `reference` is the cost of `relative_to` in this accounting."""
        limits = {name: _limit(quantity, getattr(self, name), reference) for name, quantity in QUANTITIES.items()}
        return Budget(**limits, accounting=self.accounting, device=None if self.latency is None else self.device)


def device_words(device: DeviceProfile) -> str:
    """The device's name, and whether its figures are estimates: `rpi5 (estimated)`."""
    return f"{device.name} (estimated)" if device.estimated else device.name


def _limit(quantity: Quantity, value: float | str | None, reference: Any) -> float | None:
    """A limit of `quantity` as a user writes it; None where there is none."""
    if value is None:
        return None
    name, fraction = quantity.name, parse_percent(value) if isinstance(value, str) else value
    if fraction is None or (reference is None and not isinstance(value, str)):
        bare = not isinstance(value, str) and not quantity.least  # which unit is meant?
        amount = 0.0 if bare else quantity.parse(value, name)
        if reference is None and (bare or amount < quantity.least):
            rule = "an amount with its unit" if bare else f"at least {quantity.least:g}"
            raise InvalidInput(
                f"{name} must be {rule} without relative_to, but it is {value!r}; add relative_to, or give an amount "
                f"such as {quantity.example!r}."
            )
        return amount
    if reference is None:
        raise InvalidInput(f"{name} is {value!r}, a share of a reference; add relative_to, or give an amount.")
    if not math.isfinite(fraction) or fraction <= 0:
        raise InvalidInput(f"{name} must be a positive share of the reference, but it is {value!r}.")
    return float(fraction * quantity.of(reference))


_ONE = SimpleNamespace(**{quantity.field: 1.0 for quantity in QUANTITIES.values()})
