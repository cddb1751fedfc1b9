"""RPReLU: a PReLU whose kink each channel can move."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

INITIAL_SLOPE = 0.25


class RPReLU(nn.Module):
    r"""Shifted PReLU.

    $$ y = \text{PReLU}_c(x - \text{shift\_in}_c) + \text{shift\_out}_c $$

    Source: Liu et al., ReActNet, ECCV 2020 (arXiv 2003.03488), equation 5.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift_in = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), INITIAL_SLOPE))
        self.shift_out = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Activation of `x` (..., C), or of `x + residual`."""
        return _RPReLU.apply(x, residual, self.shift_in, self.slope, self.shift_out)


class _RPReLU(torch.autograd.Function):
    """RPReLU(x + residual) that keeps one tensor for its gradient: m = min(0, x + residual - shift_in).

    With u = x + residual - shift_in, PReLU(u) = u + (slope - 1) m, and m < 0 says on which side u lies. Only operations
    with a vectorised kernel are used; on the CPU, comparisons and the gradient of `prelu` have none.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, shift_in: Tensor, slope: Tensor, shift_out: Tensor
    ) -> Tensor:
        u = x - shift_in if residual is None else (x + residual).sub_(shift_in)
        below = u.clamp_max(0)
        ctx.save_for_backward(below, slope)
        ctx.has_residual = residual is not None
        return u.addcmul_(below, slope - 1).add_(shift_out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
        below, slope = ctx.saved_tensors
        grad_below = torch.ops.aten.hardtanh_backward(grad, below, -math.inf, 0)  # grad where below < 0, else 0
        along_shift_out = _channel_sum(grad)
        along_x = along_shift_out - (1 - slope) * _channel_sum(grad_below)
        grad_x = torch.addcmul(grad, grad_below, slope - 1)
        along_slope = _channel_sum(grad_below.mul_(below))
        return grad_x, grad_x if ctx.has_residual else None, -along_x, along_slope, along_shift_out


def _channel_sum(x: Tensor) -> Tensor:
    return x.flatten(0, -2).sum(0)
