"""What a candidate costs and a budget limits: memory, OPs, latency; and amounts as people write them ("13.7 MiB")."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from bhvit.errors import InvalidInput
from bhvit.wording import listed
from searcher.numbers import count_text, latency_text, size_text

MIB = 2**20
_PREFIX = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_OPS = {prefix + unit: scale for prefix, scale in _PREFIX.items() for unit in ("", "OPs", "OP")} | {"kOPs": 10**3}
_SECONDS = {"us": Decimal("1e-6"), "µs": Decimal("1e-6"), "ms": Decimal("1e-3"), "s": Decimal(1)}
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-zµ]*)")
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")


def parse_bytes(value: float | str, where: str) -> float:
    """Bytes from a number or a text such as "13.7 MiB" (MiB = 2^20, MB = 10^6)."""
    return _amount(value, {"": 1, **_BYTES}, where, "13.7 MiB")


def parse_ops(value: float | str, where: str) -> float:
    """OPs from a number or a text such as "400 MOPs" or "400M"."""
    return _amount(value, _OPS, where, "400 MOPs")


def parse_seconds(value: float | str, where: str) -> float:
    """Seconds from a text such as "40 ms", with its unit: a number alone could be any of them."""
    return _amount(str(value).replace("μ", "µ"), _SECONDS, where, "40 ms")


def parse_percent(value: str) -> float | None:
    """The fraction that "60%" means; None where `value` is not a percentage."""
    match = _PERCENT.fullmatch(value.strip())
    return float(match[1]) / 100 if match else None


def format_bytes(amount: float) -> str:
    """In MiB, as the literature prints it: 13.68 MiB; less than a tenth of that in KiB."""
    return f"{amount / MIB:.2f} MiB" if amount >= MIB / 10 else f"{amount / 1024:.2f} KiB"


def format_ops(amount: float) -> str:
    """In millions: 382.3 MOPs; less than one of them in thousands."""
    return f"{amount / 10**6:.1f} MOPs" if amount >= 10**6 else f"{amount / 1000:.1f} kOPs"


@dataclass(frozen=True)
class Quantity:
    """Something that a candidate costs and that a budget limits.

    `name` is its key in space files, `label` its name in views, `field` the one in costs, records and JSON. `parse`
    reads an amount (with its place, for messages), as in `example`; without a unit it is at least `least`, and
    where that is 0 it must have one. Limits are
    printed by `exact`, values by `text` (three digits), in sentences with `suffix`; `about` is what a value means.
    """

    name: str
    label: str
    field: str
    parse: Callable[[float | str, str], float]
    example: str
    exact: Callable[[float], str]
    text: Callable[[float], str]
    suffix: str = ""
    least: float = 0.0
    about: str = ""

    def of(self, cost: Any) -> Any:
        """What `cost` (a cost, a record, or arrays of many) uses of it."""
        return getattr(cost, self.field)

    def amount(self, value: float) -> str:
        """The value as it stands in a sentence."""
        return f"{self.text(value)}{self.suffix}"


QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        quantity.name: quantity
        for quantity in (
            Quantity(
                "memory", "memory", "memory_bytes", parse_bytes, "13.7 MiB", format_bytes, size_text, "", 1.0,
                "bytes, in the study's accounting",
            ),
            Quantity(
                "ops", "OPs", "ops", parse_ops, "400 MOPs", format_ops, count_text, " OPs", 1.0,
                "operations, in the study's accounting",
            ),
            Quantity(
                "latency", "latency", "latency_seconds", parse_seconds, "40 ms", latency_text, latency_text,
                about="predicted seconds of one image on the device",
            ),
        )
    }
)  # fmt: skip
"""Everything that a budget can limit. Latency is known only where a device is."""


def costs_text(cost: Any) -> str:
    """All that is known of a cost (or of what has one), in a sentence: `1.37 MiB, 11.6 M OPs, 8.31 ms`."""
    return ", ".join(q.amount(q.of(cost)) for q in QUANTITIES.values() if q.of(cost) is not None)


def labels_of(names: Iterable[str]) -> str:
    """Quantities in words: `memory and OPs`, `memory, OPs and latency`."""
    return listed(QUANTITIES[name].label for name in names)


def _remedy(match: re.Match[str] | None, units: Mapping[str, int | Decimal]) -> str:
    """The units there are, and the amount as it would be right where only capitals are wrong or the end is missing."""
    legal = f"units: {', '.join(unit for unit in units if unit)}"
    if match is None:
        return legal
    written = match[2].lower()
    if near := [unit for unit in units if unit.lower() == written]:
        return f"capitals count, write {f'{match[1]} {near[-1]}'!r}; {legal}"
    longer = [f"{match[1]} {unit}" for unit in units if written and unit.lower().startswith(written)][:2]
    return f"write {listed(map(repr, longer), 'or')}; {legal}" if longer else legal


def _amount(value: float | str, units: Mapping[str, int | Decimal], where: str, example: str) -> float:
    if not isinstance(value, str):
        amount = float(value)
    else:
        match = _AMOUNT.fullmatch(value.strip())
        if match is None or match[2] not in units:
            raise InvalidInput(
                f"{where} must be an amount such as {example!r}, but it is {value!r}; {_remedy(match, units)}."
            )
        amount = float(Decimal(match[1]) * units[match[2]])  # the double next to what is written
    if not math.isfinite(amount) or amount <= 0:
        raise InvalidInput(f"{where} must be a positive amount, but it is {value!r}.")
    return amount
