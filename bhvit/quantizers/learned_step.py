"""Learned step size quantization (LSQ) of activations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bhvit import global_batch
from bhvit.quantizers.first_batch import FirstBatch

SMALLEST_STEP = 1e-8


class LearnedStep(nn.Module):
    r"""Signed uniform activation quantizer with one learned step s a tensor.

    With $Q_n = -2^{b-1}$, $Q_p = 2^{b-1} - 1$ and $v = x / |s|$:

    $$ q(x) = |s| \, \text{round}(\text{clamp}(v, Q_n, Q_p)) \qquad
       \frac{\partial q}{\partial x} = \begin{cases} 1 & Q_n < v < Q_p \\ 0 & \text{else} \end{cases} \qquad
       \frac{\partial q}{\partial |s|} =
       \begin{cases} \text{round}(v) - v & Q_n < v < Q_p \\ Q_n & v \leq Q_n \\ Q_p & v \geq Q_p \end{cases} $$

    The gradient of s is scaled by $1 / \sqrt{\text{numel} \cdot Q_p}$, numel counted over the whole batch
    (`bhvit.global_batch`). The first training batch sets
    $s = 2 \overline{|x|} / \sqrt{Q_p}$; until then evaluation derives s from the batch at hand and keeps nothing.
    The sign of s carries no meaning, which is why |s| is used: a step that an update carries below zero stays alive.
    Source: Esser et al., Learned Step Size Quantization, ICLR 2020 (arXiv 1902.08153), equations 1 to 5.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.lowest, self.highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        self.step = nn.Parameter(torch.ones(()))
        self.first_batch = FirstBatch()

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """Quantized `x` (..., C) plus `shift` (C, or None for none)."""
        shifted = x if shift is None else x + shift
        step = self.first_batch(self.training, lambda: self._initial(shifted), self.step)
        gradient_scale = 1 / math.sqrt(shifted.numel() * global_batch.parts() * self.highest)
        return quantize_with_step(shifted, step, self.lowest, self.highest, gradient_scale)

    def _initial(self, x: Tensor) -> tuple[Tensor]:
        return (2 * global_batch.mean(x.abs().mean()) / math.sqrt(self.highest),)


def quantize_with_step(x: Tensor, step: Tensor, lowest: int, highest: int, gradient_scale: float) -> Tensor:
    """The LSQ equations of `LearnedStep` for a `step` that broadcasts against `x` and levels `lowest`..`highest`."""
    return _QuantizeWithStep.apply(x, step, lowest, highest, gradient_scale)


class _QuantizeWithStep(torch.autograd.Function):
    """LSQ with the gradients of its paper."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, lowest: int, highest: int, gradient_scale: float) -> Tensor:
        magnitude = step.abs().clamp_min(SMALLEST_STEP)
        ratio = x / magnitude
        ctx.save_for_backward(ratio, step)
        ctx.levels, ctx.gradient_scale = (lowest, highest), gradient_scale
        return (ratio.clamp(lowest, highest).round_() * magnitude).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        ratio, step = ctx.saved_tensors
        lowest, highest = ctx.levels
        inside = (ratio > lowest) & (ratio < highest)
        level = ratio.clamp(lowest, highest).round_()
        along_step = (level - ratio * inside).mul_(grad).sum_to_size(step.shape)
        return grad * inside, along_step * torch.where(step < 0, -1, 1) * ctx.gradient_scale, None, None, None
