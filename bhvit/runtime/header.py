"""What a packed file says of itself: all that is not a tensor, as strict JSON (`docs/packed_format.md`)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from bhvit.architecture import SHIFT_RADII, STAGES, ArchitectureConfig
from bhvit.errors import InvalidInput, unknown_name
from bhvit.layer_terms import NORM_KINDS
from bhvit.precision import PRECISIONS, Precision, PrecisionPlan, any_quantized, real_width
from bhvit.staged import DOWNSAMPLE_FORMS

FAMILY = "bhvit"
INTERPOLATIONS = ("bicubic", "bilinear")
MAX_BLOCKS = 1024  # of a model: what follows from a header is bounded before it is computed
MAX_NAME = 200  # characters of a class name
MAX_CONSTANT = 1e6  # of mean and deviation
_NAMES = {"b": "binary", "t": "ternary", "2": "int2", "4": "int4", "8": "int8", "h": "fp16", "f": "fp32"}
LETTERS: Mapping[str, Precision] = MappingProxyType({letter: PRECISIONS[name] for letter, name in _NAMES.items()})
VERSION_1_LETTERS = "b48hf"
VERSIONS = (1, 2)  # of the format
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_LISTS = ("embed_dims", "intermediate_dims", "depths", "num_heads")
_NUMBERS = ("image_size", "window_size", "num_classes")
_KEYS = (
    *("family", *_LISTS, *_NUMBERS, "shifts", "downsample_form", "layers", "norm"),
    *("classes", "mean", "std", "crop_pct", "interpolation"),
)


@dataclass(frozen=True)
class Header:
    """A model without its tensors: architecture, one precision a layer address in forward order, norm, and its images.

    `classes` are the names of the classes, or None. An image is resized (`interpolation`) so that its shorter side is
    S / `crop_pct`, of which the centre S x S is kept; `mean` and `std` normalise values that are 1 at white, a colour
    each. Raises `InvalidInput` where a value breaks a rule.
    """

    architecture: ArchitectureConfig
    precisions: tuple[Precision, ...]
    norm: str = "batch"
    classes: tuple[str, ...] | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    crop_pct: float = 224 / 256
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        _check_counts(self.architecture.depths, len(self.precisions))
        for address, precision in self.layers.items():
            if precision not in LETTERS.values():
                known = ", ".join(p.name for p in LETTERS.values())
                raise InvalidInput(
                    f"layers of a deployed model must be {known}, but {address} is {precision}; choose one of them, "
                    f"or give {precision} a letter (CONTRIBUTING.md)."
                )
        if self.norm not in NORM_KINDS:
            raise unknown_name("norm", _short(self.norm), NORM_KINDS)
        if self.interpolation not in INTERPOLATIONS:
            raise unknown_name("interpolation", _short(self.interpolation), INTERPOLATIONS)
        if self.classes is not None:
            _check_classes(self.classes, self.architecture.num_classes)
        for name, value in (("mean", self.mean), ("std", self.std)):
            if len(value) != 3 or not all(_is_finite(v) and abs(v) <= MAX_CONSTANT for v in value):
                raise InvalidInput(f"{name} must be three finite numbers, one a colour, but it is {_short(value)}.")
        if min(self.std) <= 1 / MAX_CONSTANT:
            raise InvalidInput(f"std must be positive, but it is {list(self.std)}; use 1 for no division.")
        if not (_is_finite(self.crop_pct) and 0.01 <= self.crop_pct <= 1):
            raise InvalidInput(f"crop_pct must be between 0.01 and 1, but it is {_short(self.crop_pct)}; use 0.875.")

    @classmethod
    def of_plan(cls, architecture: ArchitectureConfig, plan: PrecisionPlan, **fields: Any) -> Header:
        """The header of a plan, resolved; `fields` are the others of a header."""
        return cls(architecture, tuple(plan.resolve(architecture.addresses).values()), **fields)

    @cached_property
    def layers(self) -> Mapping[str, Precision]:
        """Layer address -> precision, in forward order."""
        return MappingProxyType(dict(zip(self.architecture.addresses, self.precisions, strict=True)))

    @property
    def real(self) -> Precision:
        """The precision of stem and head."""
        return real_width(self.layers)

    @property
    def version(self) -> int:
        """The version of the format that a file of this model has: the first one that knows all of its precisions."""
        return 1 if set(self.precisions) <= {LETTERS[letter] for letter in VERSION_1_LETTERS} else 2

    def form_of_downsample(self, stage: int) -> str:
        """`residual` or `plain`, of the layer that leads into `stage`."""
        real_valued = self.layers[f"downsample{stage}"].real_valued
        return self.architecture.form_of_downsample(real_valued, any_quantized(self.layers))

    def to_json(self) -> bytes:
        """The JSON of a packed file: UTF-8, one line, always the same bytes for the same header."""
        a, letters = self.architecture, {p: letter for letter, p in LETTERS.items()}
        data = {
            "family": FAMILY,
            **{name: list(getattr(a, name)) for name in _LISTS},
            **{name: getattr(a, name) for name in _NUMBERS},
            "shifts": list(a.shifts),
            "downsample_form": a.downsample_form,
            "layers": "".join(letters[p] for p in self.precisions),
            "norm": self.norm,
            "classes": None if self.classes is None else list(self.classes),
            "mean": list(self.mean),
            "std": list(self.std),
            "crop_pct": self.crop_pct,
            "interpolation": self.interpolation,
        }
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Header:
        """The inverse of `to_json`; raises `InvalidInput` for anything else. Its work is bounded by len(data)."""
        fields = _object(data)
        for name in fields:
            if name not in _KEYS:
                raise unknown_name("key of a packed file's header", _short(name), _KEYS)
        missing = [name for name in _KEYS if name not in fields]
        if missing:
            raise InvalidInput(
                f"a packed file's header must have all of its keys, but {', '.join(missing)} is missing."
            )
        if fields["family"] != FAMILY:
            raise unknown_name("family of a packed file", _short(fields["family"]), (FAMILY,))
        depths, letters = _list(fields, "depths", _whole, STAGES), _text(fields, "layers")
        _check_counts(depths, len(letters))
        if unknown := [letter for letter in letters if letter not in LETTERS]:
            raise unknown_name("letter in layers", _short(unknown[0]), LETTERS)
        form = _text(fields, "downsample_form")
        if form not in DOWNSAMPLE_FORMS:
            raise unknown_name("downsample_form", _short(form), DOWNSAMPLE_FORMS)
        embed_dims, intermediate_dims, num_heads = (
            _list(fields, name, _whole, STAGES) for name in ("embed_dims", "intermediate_dims", "num_heads")
        )
        image_size, window_size, num_classes = (_whole(name, fields[name]) for name in _NUMBERS)
        shifts = _list(fields, "shifts", _whole)[: len(SHIFT_RADII) + 1]  # one too many is refused like a thousand
        return cls(
            ArchitectureConfig.from_lists(
                embed_dims, intermediate_dims, depths, num_heads, image_size, window_size, num_classes, shifts, form
            ),
            tuple(LETTERS[letter] for letter in letters),
            _text(fields, "norm"),
            None if fields["classes"] is None else tuple(_list(fields, "classes", _any)),
            _colours(fields, "mean"),
            _colours(fields, "std"),
            _number("crop_pct", fields["crop_pct"]),
            _text(fields, "interpolation"),
        )


def _object(data: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(data.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_refused_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"a packed file's header must be JSON in UTF-8, but {_short(str(error) or type(error).__name__)}; "
            "export the model again."
        ) from error
    if not isinstance(fields, dict):
        raise InvalidInput(f"a packed file's header must be a JSON object, but it is {_short(fields)}.")
    return fields


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key occurs twice")
    return fields


def _refused_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _check_counts(depths: Sequence[int], layers: int) -> None:
    """One precision a layer, checked before anything is made of every layer."""
    if sum(depths) > MAX_BLOCKS:
        raise InvalidInput(f"a packed model has at most {MAX_BLOCKS} blocks, but depths are {_short(list(depths))}.")
    expected = 2 * sum(depths) + STAGES - 1
    if layers != expected:
        raise InvalidInput(
            f"a packed model must name a precision for each of its {expected} layers (depths {list(depths)}), "
            f"but there are {layers}."
        )


def _check_classes(classes: Sequence[str], number: int) -> None:
    if len(classes) != number:
        raise InvalidInput(f"there must be a name for each of the {number} classes, but there are {len(classes)}.")
    for name in classes:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise InvalidInput(
                f"a class name must be 1 to {MAX_NAME} printable characters, but one is {_short(name)}; rename it."
            )


def _list(fields: Mapping[str, Any], name: str, item: Any, length: int | None = None) -> list[Any]:
    value = fields[name]
    if not isinstance(value, list) or length not in (None, len(value)):
        some = "a list" if length is None else f"a list of {length}"
        raise InvalidInput(f"{name} must be {some} in a packed file's header, but it is {_short(value)}.")
    return [item(name, entry) for entry in value]


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**31:
        raise InvalidInput(f"{name} must be whole and positive in a packed file's header, but it is {_short(value)}.")
    return value


def _number(name: str, value: Any) -> float:
    if not _is_finite(value):
        raise InvalidInput(f"{name} must be a finite number in a packed file's header, but it is {_short(value)}.")
    return float(value)


def _any(name: str, value: Any) -> Any:
    return value  # `_check_classes` has the rule


def _colours(fields: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    red, green, blue = _list(fields, name, _number, 3)
    return red, green, blue


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be a text in a packed file's header, but it is {_short(value)}.")
    return value


def _is_finite(value: Any) -> bool:
    """Whether `value` is a number that a float holds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 2**1023 if isinstance(value, int) else math.isfinite(value)


def _short(value: object) -> str:
    """`value` in an error message: one line, of bounded length."""
    text = ascii(value) if not isinstance(value, str) else ascii(value)[1:-1]
    return text if len(text) <= 80 else f"{text[:77]}..."
