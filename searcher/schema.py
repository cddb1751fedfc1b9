"""Strict reading of plain data (YAML, JSON) into frozen dataclasses: unknown keys and wrong types are errors."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any, Self, TypeVar

from bhvit.errors import InvalidInput, unknown_name

T = TypeVar("T")
_PLAIN = (int, str, bool)  # nothing to look at but the type
_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


class Lazy:
    """Base of a frozen dataclass whose fields may be built when they are first asked for (see `lazily`)."""

    def __getattr__(self, name: str) -> Any:
        build = self.__dict__.get("_unread", {}).get(name)
        if build is None:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        value = self.__dict__[name] = build()
        return value

    def changed(self, **values: Any) -> Self:
        """A copy with other values of fields on which no others depend; what has not been built stays so."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, **values)
        return copy


L = TypeVar("L", bound=Lazy)


def lazily(cls: type[L], data: object, where: str, unread: Mapping[str, Callable[[], Any]]) -> L:
    """Like `from_mapping`, but the fields named in `unread` are built by these functions, later."""
    values = _values(cls, data, where, unread)
    instance = object.__new__(cls)
    fields = _fields(typing.cast(Any, cls))
    if len(values) + len(unread) < len(fields):
        for name, f in fields.items():
            if name not in values and name not in unread:
                default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
                values[name] = default
    instance.__dict__.update(values, _unread=unread)
    check = getattr(cls, "__post_init__", None)
    if check is not None:
        with _placed(where):
            check(instance)
    return instance


def from_mapping(cls: type[T], data: object, where: str) -> T:
    """An instance of the dataclass `cls` from a mapping whose keys are its fields.

    `where` is the dotted place in the file, for messages; words such as "the space file" stand for the whole of it and
    are no part of the places within. Raises `InvalidInput` for unknown, missing or ill-typed
    keys; rules between values belong into the dataclass's `__post_init__`, whose messages are prefixed with `where`.
    """
    values = _values(cls, data, where)
    with _placed(where):
        return cls(**values)


def _values(cls: type, data: object, where: str, absent: Collection[str] = ()) -> dict[str, Any]:
    """Converted values of the keys in `data`; the fields in `absent` must not be among them."""
    if not isinstance(data, Mapping):
        raise InvalidInput(f"{where} must be a mapping of keys to values, but it is {data!r}.")
    exact, values = _exact(cls), {}
    for key, value in data.items():
        kind = type(value)
        plain = kind in exact.get(key, ()) and key not in absent and (kind is not float or math.isfinite(value))
        values[key] = value if plain else _converted(cls, key, value, where, absent)
    missing = [name for name in _required(cls) if name not in values and name not in absent]
    if missing:
        raise InvalidInput(f"{where} lacks {', '.join(missing)}; its keys are {', '.join(_fields(cls))}.")
    return values


def _converted(cls: type, key: Any, value: object, where: str, absent: Collection[str]) -> Any:
    """`value` as field `key` of `cls`; an error where there is no such field, or it must be absent."""
    if key not in _fields(cls) or key in absent:
        raise unknown_name(f"key in {where}:", key, _fields(cls))
    return convert(_hints(cls)[key], value, key if " " in where else f"{where}.{key}")


@contextmanager
def _placed(where: str) -> Iterator[None]:
    """Begin the messages of rules between values with their place."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@functools.cache
def _fields(cls: Any) -> dict[str, dataclasses.Field[Any]]:
    return {f.name: f for f in dataclasses.fields(cls) if f.init}


@functools.cache
def _required(cls: Any) -> tuple[str, ...]:
    """The fields without a default."""
    none = dataclasses.MISSING
    return tuple(name for name, f in _fields(cls).items() if f.default is none and f.default_factory is none)


@functools.cache
def _exact(cls: Any) -> dict[str, tuple[type, ...]]:
    """Field -> types of which a (finite) value is taken as it is: most values of most files need no closer look."""
    return {name: tuple(filter(_simple, _options(_hints(cls)[name]))) for name in _fields(cls)}


def _simple(kind: Any) -> bool:
    whole = isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, Enum))
    return kind in (*_PLAIN, float, type(None)) or whole


def _options(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if _origin(kind) in (typing.Union, types.UnionType) else (kind,)


@functools.cache
def _origin(kind: Any) -> Any:
    return typing.get_origin(kind)


def convert(kind: Any, value: object, where: str) -> Any:
    """`value` as the annotated type `kind`: a scalar, `tuple[X, ...]`, `X | None`, `dict[str, X]` or a dataclass."""
    if kind is Any or kind is object or (type(value) is kind and (kind in _PLAIN or kind is float)):
        return _finite(value, where) if kind is float else value
    origin = _origin(kind)
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
        if item is Any and all(type(key) is str for key in value):
            return dict(value)
        return {convert(str, k, f"a key of {where}"): convert(item, v, f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        cls = typing.cast(type, kind)
        return value if isinstance(value, cls) else from_mapping(cls, value, where)
    if isinstance(kind, type) and isinstance(value, kind) and issubclass(kind, Enum):
        return value
    return _scalar(kind, value, where)


def _scalar(kind: Any, value: object, where: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value, where)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    hint = ""
    if kind is float and isinstance(value, str) and _is_number(value):
        hint = f"; YAML reads {value} as a text, write {float(value)!r}"
    raise InvalidInput(f"{where} must be {_NAMES.get(kind, kind)}, but it is {value!r}{hint}.")


def _finite(value: Any, where: str) -> Any:
    if not math.isfinite(value):
        raise InvalidInput(f"{where} must be finite, but it is {value!r}.")
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
