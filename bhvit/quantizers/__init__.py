"""How each precision quantizes weights, activations and attention probabilities: one row of `QUANTIZERS` each.

A new precision is a row in `bhvit.PRECISIONS`, its quantizers (equation, gradient, shapes, source) and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from torch import Tensor, nn

from bhvit.errors import InvalidInput
from bhvit.precision import Precision
from bhvit.quantizers.binary import BinaryWeight, Sign
from bhvit.quantizers.learned_step import LearnedStep
from bhvit.quantizers.probability import LearnedStepProbability, ProbabilityDecomposition
from bhvit.quantizers.real import RealActivation, RealProbability, real_weight
from bhvit.quantizers.uniform import UniformWeight

WeightQuantizer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class QuantizerSet:
    """The quantizers of one precision.

    `weight(recu)` gives a function from latent to quantized weight (out x ...), `activation()` a module called with
    (x, shift or None), `probability(num_heads)` a module from softmax probabilities (..., H, queries, keys) to what
    multiplies the values. `recu` (rectified clamp, see `BinaryWeight`) means something to binary weights only.
    """

    weight: Callable[[bool], WeightQuantizer]
    activation: Callable[[], nn.Module]
    probability: Callable[[int], nn.Module]


def _uniform(bits: int) -> QuantizerSet:
    return QuantizerSet(
        weight=lambda recu: UniformWeight(bits),
        activation=partial(LearnedStep, bits),
        probability=partial(LearnedStepProbability, bits),
    )


_REAL = QuantizerSet(
    weight=lambda recu: real_weight,
    activation=RealActivation,
    probability=lambda num_heads: RealProbability(),
)

QUANTIZERS: Mapping[str, QuantizerSet] = MappingProxyType(
    {
        "binary": QuantizerSet(weight=BinaryWeight, activation=Sign, probability=ProbabilityDecomposition),
        "int4": _uniform(4),
        "int8": _uniform(8),
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
