"""Strict reading of plain data (YAML, JSON) into frozen dataclasses: unknown keys and wrong types are errors."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

from bhvit.errors import InvalidInput, unknown_name

T = TypeVar("T")
_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def from_mapping(cls: type[T], data: object, where: str) -> T:
    """An instance of the dataclass `cls` from a mapping whose keys are its fields.

    `where` is the dotted place in the file, for messages; words such as "the space file" stand for the whole of it and
    are no part of the places within. Raises `InvalidInput` for unknown, missing or ill-typed
    keys; rules between values belong into the dataclass's `__post_init__`, whose messages are prefixed with `where`.
    """
    if not isinstance(data, Mapping):
        raise InvalidInput(f"{where} must be a mapping of keys to values, but it is {data!r}.")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise unknown_name(f"key in {where}:", key, fields)
    missing = [
        name
        for name, f in fields.items()
        if name not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InvalidInput(f"{where} lacks {', '.join(missing)}; its keys are {', '.join(fields)}.")
    prefix = "" if " " in where else f"{where}."
    values = {key: convert(hints[key], value, prefix + key) for key, value in data.items()}
    try:
        return cls(**values)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error


def convert(kind: Any, value: object, where: str) -> Any:
    """`value` as the annotated type `kind`: a scalar, `tuple[X, ...]`, `X | None`, `dict[str, X]` or a dataclass."""
    origin = typing.get_origin(kind)
    if kind is Any or kind is object:
        return value
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(kind)
        if value is None and type(None) in options:
            return None
        plain = [o for o in options if o is not type(None)]
        for option in plain[:-1]:
            try:
                return convert(option, value, where)
            except InvalidInput:
                continue
        return convert(plain[-1], value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InvalidInput(f"{where} must be a list, but it is {value!r}.")
        return tuple(convert(typing.get_args(kind)[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise InvalidInput(f"{where} must be a mapping, but it is {value!r}.")
        item = typing.get_args(kind)[1]
        return {convert(str, k, f"a key of {where}"): convert(item, v, f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        cls = typing.cast(type, kind)
        return value if isinstance(value, cls) else from_mapping(cls, value, where)
    if isinstance(kind, type) and isinstance(value, kind) and issubclass(kind, Enum):
        return value
    return _scalar(kind, value, where)


def _scalar(kind: Any, value: object, where: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise InvalidInput(f"{where} must be finite, but it is {value!r}.")
        return value
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    hint = ""
    if kind is float and isinstance(value, str) and _is_number(value):
        hint = f"; YAML reads {value} as a text, write {float(value)!r}"
    raise InvalidInput(f"{where} must be {_NAMES.get(kind, kind)}, but it is {value!r}{hint}.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
