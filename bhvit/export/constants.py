"""What exported files store instead of parameters: levels and scales of weights, steps, folded batch norms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bhvit.errors import InvalidInput
from bhvit.layers import QuantConv2d, QuantLinear
from bhvit.layers.norm import TokenBatchNorm
from bhvit.quantizers import LevelWeight
from bhvit.quantizers.first_batch import all_done
from bhvit.quantizers.learned_step import SMALLEST_STEP, LearnedStep
from bhvit.quantizers.probability import LearnedStepProbability, ProbabilityPlane

Stepped = LearnedStep | LearnedStepProbability | ProbabilityPlane


def require_trained(model: nn.Module) -> None:
    """Raise `InvalidInput` where quantizers of `model` never saw a training batch."""
    if not all_done(model):
        raise InvalidInput(
            "a model must be trained before it is exported, but some of its quantizers have no scales yet: they take "
            "them from the first training batch; train it, or load its weights."
        )


@dataclass(frozen=True)
class Weight:
    """A weight (out, ...) = `levels` times `scale` (out): int8 levels, or float64 values of a real-valued layer."""

    levels: Tensor
    scale: Tensor

    def scaled(self, gain: Tensor) -> Weight:
        """The weight times `gain` (out); integer levels turn their sign where the gain is negative."""
        sign = torch.where(gain < 0, -1, 1).view(-1, *[1] * (self.levels.dim() - 1))
        return Weight(self.levels * sign.to(self.levels.dtype), self.scale * gain.abs())

    @property
    def values(self) -> Tensor:
        """The weight in float32, with one rounding of the scale and one of the product, as DequantizeLinear has."""
        scale = self.scale.float().view(-1, *[1] * (self.levels.dim() - 1))
        if self.quantized:
            return self.levels.float() * scale
        return (self.levels * self.scale.view_as(scale)).float()

    @property
    def quantized(self) -> bool:
        """Whether the levels are integers."""
        return self.levels.dtype == torch.int8


@torch.no_grad()
def weight_of(layer: QuantLinear | QuantConv2d) -> Weight:
    """The weight that `layer` multiplies by, its signs and levels decided in float32 as in the forward pass."""
    weight, quantizer = layer.weight.detach(), layer.weight_quantizer
    if isinstance(quantizer, LevelWeight):
        levels, scale = quantizer.parts(weight)
        return Weight(levels, scale.double())
    return Weight(weight.double(), weight.new_ones(len(weight), dtype=torch.float64))


def step_of(quantizer: Stepped) -> Tensor:
    """The step between levels as it acts: its sign means nothing (`quantize_with_step`)."""
    return quantizer.step.detach().abs().clamp_min(SMALLEST_STEP)


def folded(norm: TokenBatchNorm) -> tuple[Tensor, Tensor]:
    """Scale and shift (C) of batch norm in evaluation, float64."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = norm.weight.detach().double() / (variance.double() + norm.eps).sqrt()
    return scale, norm.bias.detach().double() - scale * mean.double()
