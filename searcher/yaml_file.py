"""YAML as we accept it: one document of plain data, no duplicate keys, no aliases, no surprises in size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from bhvit.errors import InvalidInput

YAML_SUFFIXES = (".yaml", ".yml")

MAX_BYTES = 1_000_000
MAX_DIGITS = 15  # whole numbers beyond this leave the exact range of a float
MAX_DEPTH = 20
# YAML 1.1 also knows octal 0140, hexadecimal 0x10, sexagesimal 1:30 and grouped 1_5: few mean them.
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?")


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses what SafeLoader resolves silently."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases (they can make a small file huge), explicit tags and deep nesting."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases (*name) are not allowed, {_place(event)}")
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"tags (!name) are not allowed, {_place(event)}")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nesting deeper than {MAX_DEPTH} levels is not allowed")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice."""
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.YAMLError(f"a key must be a word, {_place(key_node)}")
            if key_node.value in seen:
                raise yaml.YAMLError(f"the key {key_node.value!r} stands twice, {_place(key_node)}")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        """Refuse whole numbers that a float cannot hold exactly, and those not written as plain decimals."""
        if len(node.value) > MAX_DIGITS:
            raise yaml.YAMLError(f"whole numbers have at most {MAX_DIGITS} digits, {_place(node)}")
        _require_plain(node, _INT)
        return int(node.value)

    def construct_yaml_float(self, node: Any) -> float:
        """Refuse numbers that are not written as plain decimals, infinity among them."""
        _require_plain(node, _FLOAT)
        return float(node.value)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _StrictLoader.construct_yaml_float)


def _require_plain(node: Any, form: re.Pattern[str]) -> None:
    if not form.fullmatch(node.value):
        raise yaml.YAMLError(
            f"a number must be a plain decimal such as 140 or 0.5, but {node.value[:40]!r} is none, {_place(node)}"
        )


def _place(at: Any) -> str:
    return f"line {at.start_mark.line + 1}"


def read_yaml(path: Path) -> Any:
    """The document in `path` as plain data; raises `InvalidInput`, one line with the file's name, where it is none."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInput(f"{path} must be smaller than {MAX_BYTES} bytes, but it has {path.stat().st_size}.")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InvalidInput(f"{path} must be a readable file, but {error.strerror}; check the path.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} must be UTF-8 text, but byte {error.start} is not; save it as UTF-8.") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Any:
    """The document `text` as plain data; `name` is the file's, for messages."""
    try:
        return yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} must be valid YAML, but {_one_line(error)}; correct it.") from error


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', None) or error}"
    return " ".join(str(error).split())
