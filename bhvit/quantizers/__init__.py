"""How each precision quantizes weights, activations and attention probabilities: one row of `QUANTIZERS` each.

A new precision is a row in `bhvit.PRECISIONS`, its quantizers (equation, gradient, shapes, source) and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from bhvit.errors import InvalidInput
from bhvit.precision import Precision
from bhvit.quantizers.binary import BinaryWeight, Sign
from bhvit.quantizers.learned_step import LearnedStep
from bhvit.quantizers.probability import LearnedStepProbability, ProbabilityDecomposition, ProbabilityPlane
from bhvit.quantizers.real import RealActivation, RealProbability, real_weight
from bhvit.quantizers.ternary import TernaryWeight
from bhvit.quantizers.uniform import UniformWeight

WeightQuantizer = Callable[[Tensor], Tensor]


@runtime_checkable
class LevelWeight(Protocol):
    """A weight quantizer whose values are whole levels times a scale an output channel: those of few bits."""

    def __call__(self, weight: Tensor) -> Tensor:
        """Quantized weight of the shape of `weight` (out, ...), with the quantizer's gradient."""

    def parts(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Levels (int8, the shape of `weight`) and scales (out), without a gradient."""


@dataclass(frozen=True)
class QuantizerSet:
    """The quantizers of one precision.

    `weight(recu, centred)` gives a function from latent to quantized weight (out x ...), `activation()` a module
    called with (x, shift or None), `probability(num_heads)` a module from softmax probabilities (..., H, queries,
    keys) to what multiplies the values; `one_plane_probability(num_heads)` is the same where binary probabilities are
    one bit instead of two. `recu` and `centred` (see `BinaryWeight`) mean something to binary weights only.
    """

    weight: Callable[[bool, bool], WeightQuantizer]
    activation: Callable[[], nn.Module]
    probability: Callable[[int], nn.Module]
    one_plane_probability: Callable[[int], nn.Module]


def _ternary(recu: bool, centred: bool) -> WeightQuantizer:
    return TernaryWeight()


def _signs(weight: Callable[[bool, bool], WeightQuantizer]) -> QuantizerSet:
    """Activations that are signs, and probabilities of one or two planes of bits."""
    return QuantizerSet(
        weight=weight,
        activation=Sign,
        probability=ProbabilityDecomposition,
        one_plane_probability=lambda num_heads: ProbabilityPlane(),
    )


def _integer(bits: int, weight: Callable[[bool, bool], WeightQuantizer] | None = None) -> QuantizerSet:
    """Activations and probabilities of `bits`, and weights of as many where no other quantizer is given."""
    return QuantizerSet(
        weight=weight or (lambda recu, centred: UniformWeight(bits)),
        activation=partial(LearnedStep, bits),
        probability=partial(LearnedStepProbability, bits),
        one_plane_probability=partial(LearnedStepProbability, bits),
    )


_REAL = QuantizerSet(
    weight=lambda recu, centred: real_weight,
    activation=RealActivation,
    probability=lambda num_heads: RealProbability(),
    one_plane_probability=lambda num_heads: RealProbability(),
)

QUANTIZERS: Mapping[str, QuantizerSet] = MappingProxyType(
    {
        "binary": _signs(BinaryWeight),
        "ternary": _signs(_ternary),
        "int2": _integer(2, weight=_ternary),
        "int4": _integer(4),
        "int8": _integer(8),
        "fp16": _REAL,  # rounded to half where it is stored: `bhvit.checkpoint.round_to_stored_precision`
        "fp32": _REAL,
    }
)


def quantizers_of(precision: Precision) -> QuantizerSet:
    """The row of `QUANTIZERS` of a precision; raises `InvalidInput` where a precision has no quantizers."""
    if precision.name not in QUANTIZERS:
        raise InvalidInput(
            f"a precision needs a row in bhvit.quantizers.QUANTIZERS to be trained, but {precision.name!r} has none; "
            f"add it, or use one of: {', '.join(QUANTIZERS)}."
        )
    return QUANTIZERS[precision.name]
