"""How fast a device runs each kind of work of the packed runtime: a few coefficients (files: `device_file`)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from bhvit.errors import InvalidInput, unknown_name

INSTRUCTION_SETS = ("avx512", "avx2", "neon", "scalar", "numpy")
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
