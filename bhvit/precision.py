"""Number formats as values, and the plan that gives every layer of a network one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from types import MappingProxyType

from bhvit.errors import InvalidInput, unknown_name


@dataclass(frozen=True)
class Precision:
    """A number format: bits of the stored weight and of the activation it meets.

    `fp16` is real-valued in training and rounded to half when stored; `binary` is sign(weight) times a scale per
    output channel, against sign(activation); `ternary` and `int2` are weights -s, 0 and s against sign(activation) and
    against four levels (`bhvit.quantizers`).
    """

    name: str
    weight_bits: int
    activation_bits: int

    @property
    def real_valued(self) -> bool:
        """Whether layers of this precision compute with unquantized weights and activations."""
        return self.weight_bits >= 16

    @property
    def takes_signs(self) -> bool:
        """Whether activations are signs, without a step between levels."""
        return self.activation_bits == 1

    @property
    def bits(self) -> tuple[int, int]:
        """Bits of weight and activation: what precisions are ordered by."""
        return self.weight_bits, self.activation_bits

    @property
    def weight_bytes(self) -> float:
        """Bytes of one packed weight (1/8 for one bit)."""
        return self.weight_bits / 8

    @property
    def ops_per_mac(self) -> float:
        """OPs of one multiply-accumulate of a weight and an activation, see `ops_per_mac`."""
        return ops_per_mac(self.weight_bits, self.activation_bits)

    @property
    def ops_per_product(self) -> float:
        """OPs of one multiply-accumulate of two activations (the attention products)."""
        return ops_per_mac(self.activation_bits, self.activation_bits)

    def __str__(self) -> str:
        return self.name


def ops_per_mac(bits_a: int, bits_b: int) -> float:
    """OPs of one MAC of `bits_a` x `bits_b` bits: min(1, bits_a * bits_b / 64).

    Exact at both ends of the literature's convention OPs = FLOPs + BOPs / 64 (Bi-Real Net, ReActNet): 1 x 1 bit costs
    1/64, 8 x 8 bits and anything wider cost 1.
    """
    return min(1.0, bits_a * bits_b / 64)


PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        p.name: p
        for p in (
            Precision("binary", 1, 1),
            Precision("ternary", 2, 1),
            Precision("int2", 2, 2),
            Precision("int4", 4, 4),
            Precision("int8", 8, 8),
            Precision("fp16", 16, 16),
            Precision("fp32", 32, 32),
        )
    }
)


def precision_named(name: str | Precision) -> Precision:
    """The row of `PRECISIONS` with this name; raises `InvalidInput` with the legal names."""
    if isinstance(name, Precision):
        return name
    if not isinstance(name, str):
        raise InvalidInput(f"a precision must be a name, one of {', '.join(PRECISIONS)}, but it is {_kind(name)}.")
    if name in PLANS:
        raise InvalidInput(
            f"layers must have one of the precisions {', '.join(PRECISIONS)}, but {name} is a plan for whole models: "
            f"{PLANS[name]}."
        )
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    return PRECISIONS[name]


@dataclass(frozen=True)
class PrecisionPlan:
    """A precision for every layer address: a default, and glob rules of which the last match wins.

    A plan is a value independent of any architecture; `resolve` gives it meaning for one. Addresses read
    `stage0.block1.mixer`, `stage2.block4.attention`, `stage3.block0.mlp`, `downsample1`. `name` is that of the plan of
    `PLANS` that it began as, for messages.
    """

    default: Precision
    rules: tuple[tuple[str, Precision], ...] = ()
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        return ", ".join([self.default.name, *(f"{pattern} {precision}" for pattern, precision in self.rules)])

    @classmethod
    def uniform(cls, precision: str | Precision) -> PrecisionPlan:
        """The plan that gives every layer the same precision."""
        return cls(precision_named(precision))

    @classmethod
    def named(cls, name: str | Precision | PrecisionPlan) -> PrecisionPlan:
        """The plan of `PLANS`, or the uniform plan of the precision, with this name; a plan is taken as it is.

        Raises `InvalidInput` for anything else.
        """
        if isinstance(name, PrecisionPlan):
            return name
        if not isinstance(name, str) or name in PRECISIONS:
            return cls.uniform(name)
        if name not in PLANS:
            raise unknown_name("precision", name, (*PRECISIONS, *PLANS))
        return PLANS[name]

    @classmethod
    def of_layers(cls, layers: Mapping[str, Precision]) -> PrecisionPlan:
        """The shortest plan that resolves to exactly `layers` (address -> precision): most common one as default."""
        if not layers:
            raise InvalidInput("a precision plan needs at least one layer, but the mapping is empty.")
        counts: dict[Precision, int] = {}
        for precision in layers.values():
            counts[precision] = counts.get(precision, 0) + 1
        default = min(counts, key=lambda p: (-counts[p], p.bits))
        return cls(default, tuple((a, p) for a, p in layers.items() if p != default))

    def with_layers(self, pattern: str, precision: str | Precision) -> PrecisionPlan:
        """This plan with the addresses matching the glob `pattern` set to `precision`."""
        return replace(self, rules=(*self.rules, (pattern, precision_named(precision))))

    def precision_of(self, address: str) -> Precision:
        """Precision of one layer address."""
        for pattern, precision in reversed(self.rules):
            if fnmatchcase(address, pattern):
                return precision
        return self.default

    def resolve(self, addresses: Iterable[str]) -> dict[str, Precision]:
        """Precision of each of `addresses`, in their order; a rule that matches none of them is an error."""
        layers = dict.fromkeys(addresses, self.default)
        for i, (pattern, precision) in enumerate(self.rules):
            if pattern in layers:
                layers[pattern] = precision
                continue
            matches = [a for a in layers if fnmatchcase(a, pattern)]
            if not matches:
                raise self._unmatched(i, layers)
            layers.update(dict.fromkeys(matches, precision))
        return layers

    def _unmatched(self, rule: int, addresses: Iterable[str]) -> InvalidInput:
        """Error for a rule that matches no address: whoever named a plan wrote none."""
        pattern, there = self.rules[rule][0], in_short(addresses)
        if self.name and rule < len(PLANS[self.name].rules):
            return InvalidInput(
                f"the plan {self.name} ({PLANS[self.name]}) is for models with layers {pattern}, but this one has only "
                f"{there}; use a precision instead."
            )
        return InvalidInput(
            f"a precision rule must match a layer, but {pattern!r} matches none of {there}; correct the pattern."
        )


def in_short(addresses: Iterable[str]) -> str:
    """Addresses in a message, alike blocks as one: `stage0.block*.mlp, downsample1`."""
    return ", ".join(dict.fromkeys(re.sub(r"block\d+", "block*", address) for address in addresses))


def _kind(value: object) -> str:
    """What a value is that is no name, in short."""
    return f"a {type(value).__name__}" if isinstance(value, PrecisionPlan) else repr(value)


PLANS: Mapping[str, PrecisionPlan] = MappingProxyType(
    {
        plan.name: plan
        for plan in (PrecisionPlan(PRECISIONS["binary"], (("downsample*", PRECISIONS["fp16"]),), name="some_fp"),)
    }
)
"""Plans that have a name beside the uniform ones, which are named by their precision: `some_fp` is the released flag of
BHViT and BinaryViT for real-valued downsampling layers in a binary model."""


def real_width(layers: Mapping[str, Precision]) -> Precision:
    """The FP width of a resolved plan, in which stem and head are stored.

    fp32 where every layer is fp32 (the full-precision baseline), fp16 otherwise: FP layers inside a quantized model
    are stored in half precision (this is what reproduces the published memory figures).
    """
    fp32 = PRECISIONS["fp32"]
    return fp32 if all(p == fp32 for p in layers.values()) else PRECISIONS["fp16"]


def any_quantized(layers: Mapping[str, Precision]) -> bool:
    """Whether a resolved plan has at least one layer that is not real-valued."""
    return any(not p.real_valued for p in layers.values())
