"""How fast a device runs each kind of work of the packed runtime: a few coefficients in a human-readable file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from bhvit.errors import InvalidInput, unknown_name

SHIPPED = Path(__file__).parent / "devices"
INSTRUCTION_SETS = ("avx512", "avx2", "neon", "scalar", "numpy")
MAX_BYTES = 100_000
UNITS = {"ps": 1e-12, "ns": 1e-9, "us": 1e-6}


COEFFICIENTS: Mapping[str, str] = MappingProxyType(
    {
        "binary_mac_ps": "a multiply-accumulate of signs: XOR and population count",
        "int4_mac_ps": "a multiply-accumulate of int4",
        "int8_mac_ps": "a multiply-accumulate of int8",
        "fp16_mac_ps": "a multiply-accumulate with weights in half precision",
        "fp32_mac_ps": "a multiply-accumulate with weights in fp32",
        "weight_byte_ps": "a byte of weights, fetched once an image",
        "far_weight_byte_ps": "a byte of weights beyond the first MiB of a layer, for every tile of tokens",
        "level_ns": "an activation turned into an int4 or int8 level",
        "value_ns": "a real-valued activation brought into a tile",
        "output_ns": "an accumulator that becomes a feature: scale, norm, residual, RPReLU",
        "uneven_ns": "an intermediate feature where I is no multiple of C, so that pooling is uneven",
        "element_ns": "a feature that is normalised, added or moved",
        "score_ns": "a score of attention: softmax, quantization",
        "gather_ns": "a key or value brought into place for a tile of queries, in attention that is not binary",
        "pixel_ns": "a colour value of the image",
        "layer_us": "a layer, whatever it does",
    }
)
"""Name, which ends in its unit -> what takes that long. Every profile has all of them."""


@dataclass(frozen=True)
class DeviceProfile:
    """A device's speed: `coefficients` in the units that end their names, and how they came about.

    `estimated` profiles were derived from instruction counts, the others measured, on `date` with version `runtime` of
    the packed runtime. Times are those of one image on `threads` threads with `instruction_set`. `median_error` is that
    of models kept from the fit, relative; `other_programs` the share of the time in which these had the core; both None
    where unknown. Raises `InvalidInput` for missing, unknown or negative coefficients, a name that is empty or not
    printable, and a `date` that is none.
    """

    name: str
    description: str
    machine: str
    instruction_set: str
    threads: int
    estimated: bool
    date: str
    runtime: str
    coefficients: Mapping[str, float]
    median_error: float | None = None
    other_programs: float | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable():
            raise InvalidInput(f"name must be printable characters, but it is {self.name!r}.")
        if not _is_date(self.date):
            raise InvalidInput(f"date must be a day such as '2026-11-24', but it is {self.date!r}.")
        for name in ("median_error", "other_programs"):
            share = getattr(self, name)
            if share is not None and not _is_measure(share):
                raise InvalidInput(f"{name} must be a number of at least 0, but it is {share!r}.")
        if self.instruction_set not in INSTRUCTION_SETS:
            raise unknown_name("instruction_set", self.instruction_set, INSTRUCTION_SETS)
        if self.threads < 1:
            raise InvalidInput(f"threads must be at least 1, but it is {self.threads}.")
        for name, value in self.coefficients.items():
            if name not in COEFFICIENTS:
                raise unknown_name("coefficient", name, COEFFICIENTS)
            if not _is_measure(value):
                raise InvalidInput(f"coefficients must be numbers of at least 0, but {name} is {value!r}.")
        missing = [name for name in COEFFICIENTS if name not in self.coefficients]
        if missing:
            raise InvalidInput(f"coefficients lack {', '.join(missing)}; add them, or run `searcher calibrate`.")
        object.__setattr__(
            self, "coefficients", MappingProxyType({n: float(self.coefficients[n]) for n in COEFFICIENTS})
        )

    def __hash__(self) -> int:
        return hash((self.name, self.machine, self.date, tuple(self.coefficients.values())))

    def __reduce__(self) -> tuple[Any, ...]:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return DeviceProfile, tuple({**values, "coefficients": dict(self.coefficients)}.values())

    @property
    def origin(self) -> str:
        """How the coefficients came about, as in "measured 2026-11-24, median error 4.1 %"."""
        if self.estimated:
            return "estimated, not measured"
        parts = [f"measured {self.date}"]
        if self.median_error is not None:
            parts.append(f"median error {100 * self.median_error:.1f} %")
        if self.other_programs is not None:
            parts.append(f"other programs {100 * self.other_programs:.1f} % of the time")
        return ", ".join(parts)

    def seconds(self, name: str) -> float:
        """One coefficient in seconds."""
        return self.coefficients[name] * unit_of(name)


def _is_measure(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value < math.inf


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def unit_of(coefficient: str) -> float:
    """Seconds of the unit that ends a coefficient's name."""
    return UNITS[coefficient[coefficient.rindex("_") + 1 :]]


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
