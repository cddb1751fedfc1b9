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
        step = self.first_batch(self.training, lambda: self._initial(x if shift is None else x + shift), self.step)
        gradient_scale = 1 / math.sqrt(x.numel() * global_batch.parts() * self.highest)
        return quantize_with_step(x, shift, step, self.lowest, self.highest, gradient_scale)

    def _initial(self, x: Tensor) -> tuple[Tensor]:
        return (2 * global_batch.mean(x.abs().mean()) / math.sqrt(self.highest),)


def quantize_with_step(
    x: Tensor, shift: Tensor | None, step: Tensor, lowest: int, highest: int, gradient_scale: float
) -> Tensor:
    """The LSQ equations of `LearnedStep` for a `step` that broadcasts against `x` and levels `lowest`..`highest`."""
    return _QuantizeWithStep.apply(x, shift, step, lowest, highest, gradient_scale)


class _QuantizeWithStep(torch.autograd.Function):
    """LSQ with the gradients of its paper; only `x`, which its other users keep too, is kept for them."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shift: Tensor | None, step: Tensor, lowest: int, highest: int, gradient_scale: float
    ) -> Tensor:
        ctx.save_for_backward(x, shift, step)
        ctx.levels, ctx.gradient_scale = (lowest, highest), gradient_scale
        ratio, magnitude = _in_steps(x, shift, step)
        return (ratio.clamp_(lowest, highest).round_() * magnitude).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, shift, step = ctx.saved_tensors
        ratio, _ = _in_steps(x, shift, step)
        inside = torch.ops.aten.hardtanh_backward(grad.to(ratio.dtype), ratio, *ctx.levels)  # vectorised on the CPU
        along_ratio = ratio * inside
        level = ratio.clamp_(*ctx.levels).round_()
        along_step = level.mul_(grad).sub_(along_ratio).sum_to_size(step.shape)
        return (
            inside.to(x.dtype),
            inside.flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None,
            along_step * torch.where(step < 0, -1, 1) * ctx.gradient_scale,
            None,
            None,
            None,
        )


def _in_steps(x: Tensor, shift: Tensor | None, step: Tensor) -> tuple[Tensor, Tensor]:
    """(x + shift) / |step|, and |step|."""
    magnitude = step.abs().clamp_min(SMALLEST_STEP)
    return (x / magnitude if shift is None else (x + shift).div_(magnitude)), magnitude
