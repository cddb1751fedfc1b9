"""What a number about a trial measures: how a user writes it, how it is printed; no torch, no optuna, no rich."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from bhvit.errors import InvalidInput
from bhvit.precision import PRECISIONS, precision_named
from searcher.numbers import duration_text
from searcher.quantities import QUANTITIES, Quantity

Value: TypeAlias = "float | str | None"

_NUMBER = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*(%|[a-z]*)")
_SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Measure:
    """A kind of value: `unit` of the plain value, `parse` of what a user writes (with its place, for messages).

    `text` is how a table prints a value; `key` orders values, and words, which have no order, are not `ordered`.
    """

    name: str
    unit: str
    parse: Callable[[str, str], Value]
    text: Callable[[Value], str]
    ordered: bool = True

    def key(self, value: Value) -> float | str:
        """Where `value` stands among others: a precision by its bits, everything else by itself."""
        assert value is not None
        if self is not PRECISION:
            return value
        precision = precision_named(str(value))
        return precision.weight_bits + precision.activation_bits / 64


def _plain_number(text: str, where: str) -> Value:
    match = _NUMBER.fullmatch(text)
    if match is None or match[2]:
        raise InvalidInput(f"{where} must be compared with a number, but it is {text!r}.")
    return float(match[1])


def _share(text: str, where: str) -> Value:
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] not in ("", "%"):
        raise InvalidInput(f"{where} must be compared with a share such as 60% or 0.6, but it is {text!r}.")
    number = float(match[1])
    if match[2]:
        return number / 100
    if abs(number) > 1:
        raise InvalidInput(f"{where} is a share of 1, but it is compared with {text!r}; write {text}%.")
    return number


def _amount(parse: Callable[[str, str], float], example: str) -> Callable[[str, str], Value]:
    def parsed(text: str, where: str) -> Value:
        if text.endswith("%"):
            raise InvalidInput(f"{where} must be compared with an amount, but it is {text!r}; see {where}_share.")
        if (bare := _NUMBER.fullmatch(text)) and not bare[2] and abs(float(bare[1])) < 1:
            raise InvalidInput(
                f"{where} must be compared with an amount, but {text} without a unit is less than one; "
                f"give it a unit ({example}), or use {where}_share."
            )
        return parse(text, where)

    return parsed


def _of_quantity(quantity: Quantity, unit: str, example: str) -> Measure:
    return Measure(
        quantity.label, unit, _amount(quantity.parse, example), lambda value: quantity.text(float(value or 0))
    )


def _seconds(text: str, where: str) -> Value:
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] not in _SECONDS:
        raise InvalidInput(f"{where} must be compared with a time such as 90, 90s, 5min or 2h, but it is {text!r}.")
    return float(match[1]) * _SECONDS[match[2]]


def _precision(text: str, where: str) -> Value:
    if text not in PRECISIONS:
        raise InvalidInput(f"{where} must be compared with one of {', '.join(PRECISIONS)}, but it is {text!r}.")
    return text


def _percent(value: Value) -> str:
    return f"{100 * float(value or 0):.1f}"


COUNT = Measure("count", "", _plain_number, lambda value: f"{value:.0f}")
FACTOR = Measure("factor", "", _plain_number, lambda value: f"{value:g}")
ACCURACY = Measure("accuracy", "%", _share, _percent)
POINTS = Measure("difference", "points", _share, lambda value: f"{100 * float(value or 0):+.1f}")
SHARE = Measure("share", "%", _share, lambda value: f"{100 * float(value or 0):.0f}")
COSTS: Mapping[str, Measure] = MappingProxyType(
    {
        name: _of_quantity(QUANTITIES[name], unit, example)
        for name, unit, example in (("memory", "bytes", "0.3MiB"), ("ops", "OPs", "3M"), ("latency", "s", "30ms"))
    }
)
SECONDS = Measure("time", "s", _seconds, lambda value: duration_text(float(value or 0)))
PRECISION = Measure("precision", "", _precision, str)
WORD = Measure("word", "", lambda text, where: text, str, ordered=False)
