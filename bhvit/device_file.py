"""Device profiles as human-readable YAML files, of which some are shipped."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bhvit.device_profile import COEFFICIENTS, DeviceProfile
from bhvit.errors import InvalidInput, unknown_name

SHIPPED = Path(__file__).parent / "devices"
MAX_BYTES = 100_000


def shipped_devices() -> tuple[str, ...]:
    """Names of the profiles that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def load_device(name_or_path: str | Path) -> DeviceProfile:
    """The shipped profile of this name, or the one in a YAML file; raises `InvalidInput`, one line."""
    text = str(name_or_path)
    if "/" not in text and not text.endswith((".yaml", ".yml")):
        if text not in shipped_devices():
            raise unknown_name("device", text, (*shipped_devices(), "FILE.yaml"))
        name_or_path = SHIPPED / f"{text}.yaml"
    path = Path(name_or_path)
    data = _read(path)
    fields = {f.name: f for f in dataclasses.fields(DeviceProfile)}
    if not {"coefficients", "instruction_set"} & data.keys():
        raise InvalidInput(
            f"{path} must be a device profile, but it has neither coefficients nor an instruction_set; `searcher "
            "calibrate` writes one."
        )
    for key in data:
        if key not in fields:
            raise unknown_name(f"key in {path}:", key, fields)
    missing = [name for name, f in fields.items() if name not in data and f.default is dataclasses.MISSING]
    if missing:
        raise InvalidInput(f"{path} lacks {', '.join(missing)}; its keys are {', '.join(fields)}.")
    for key, kind in _KINDS.items():
        if type(data[key]) is not kind:
            raise InvalidInput(f"{path}: {key} must be {_KIND_NAMES[kind]}, but it is {data[key]!r}.")
    try:
        return DeviceProfile(**data)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("name", "description", "machine", "instruction_set", "date", "runtime"), str),
    "threads": int,
    "estimated": bool,
    "coefficients": dict,
}
_KIND_NAMES = {str: "a text (in quotes)", int: "a whole number", bool: "true or false", dict: "a mapping"}


def device_yaml(profile: DeviceProfile) -> str:
    """The profile as the text of a file, with what each coefficient means beside it."""
    values = {f.name: getattr(profile, f.name) for f in dataclasses.fields(profile) if f.name != "coefficients"}
    head = {name: value for name, value in values.items() if value is not None}
    lines = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=100).splitlines()
    width = max(len(name) for name in COEFFICIENTS) + 10
    lines.append("coefficients:")
    for name, value in profile.coefficients.items():
        lines.append(f"  {f'{name}: {plain_decimal(value)}':<{width}}  # {COEFFICIENTS[name]}")
    return "\n".join(lines) + "\n"


def plain_decimal(value: float) -> str:
    """Three significant digits without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, in which no key stands twice."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInput(f"{path} must be smaller than {MAX_BYTES} bytes; is it a device profile?")
        text = path.read_bytes().decode("utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
        data = yaml.safe_load(text)
    except OSError as error:
        start = "" if path.is_absolute() else f", which is relative to the current folder, {Path.cwd()}"
        raise InvalidInput(f"{path} must be a readable file, but {error.strerror}; check the path{start}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} must be valid YAML, but {' '.join(str(error).split())}; correct it.") from error
    if not isinstance(data, dict):
        raise InvalidInput(f"{path} must be a mapping of keys to values, but it is {data!r}.")
    for key in _doubled(node):
        raise InvalidInput(f"{path}: the key {key!r} stands twice; remove one.")
    return data


def _doubled(node: Any) -> Iterator[str]:
    """Keys that stand twice in a mapping."""
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        yield from (key for i, key in enumerate(keys) if key in keys[:i])
        for _, value in node.value:
            yield from _doubled(value)
