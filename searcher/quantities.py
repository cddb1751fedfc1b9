"""Amounts of memory and compute as people write them: "13.7 MiB", "400 MOPs", "60%"."""

from __future__ import annotations

import math
import re

from bhvit.errors import InvalidInput

MIB = 2**20
_PREFIX = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_OPS = {prefix + unit: scale for prefix, scale in _PREFIX.items() for unit in ("", "OPs", "OP")} | {"kOPs": 10**3}
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)")
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")


def parse_bytes(value: float | str, where: str) -> float:
    """Bytes from a number or a text such as "13.7 MiB" (MiB = 2^20, MB = 10^6)."""
    return _amount(value, {"": 1, **_BYTES}, where, "13.7 MiB")


def parse_ops(value: float | str, where: str) -> float:
    """OPs from a number or a text such as "400 MOPs" or "400M"."""
    return _amount(value, _OPS, where, "400 MOPs")


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


def _remedy(match: re.Match[str] | None, units: dict[str, int]) -> str:
    """The units there are, and the amount as it would be right where only capitals are wrong or the end is missing."""
    legal = f"units: {', '.join(unit for unit in units if unit)}"
    if match is None:
        return legal
    written = match[2].lower()
    if near := [unit for unit in units if unit.lower() == written]:
        return f"capitals count, write {f'{match[1]} {near[-1]}'!r}; {legal}"
    longer = [f"{match[1]} {unit}" for unit in units if written and unit.lower().startswith(written)][:2]
    return f"write {' or '.join(map(repr, longer))}; {legal}" if longer else legal


def _amount(value: float | str, units: dict[str, int], where: str, example: str) -> float:
    if not isinstance(value, str):
        amount = float(value)
    else:
        match = _AMOUNT.fullmatch(value.strip())
        if match is None or match[2] not in units:
            raise InvalidInput(
                f"{where} must be an amount such as {example!r}, but it is {value!r}; {_remedy(match, units)}."
            )
        amount = float(match[1]) * units[match[2]]
    if not math.isfinite(amount) or amount <= 0:
        raise InvalidInput(f"{where} must be a positive amount, but it is {value!r}.")
    return amount
