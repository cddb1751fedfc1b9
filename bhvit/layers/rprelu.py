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
    """RPReLU(x + residual) that keeps one tensor for its gradient: u = x + residual - shift_in."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, shift_in: Tensor, slope: Tensor, shift_out: Tensor
    ) -> Tensor:
        u = x - shift_in if residual is None else (x + residual).sub_(shift_in)
        ctx.save_for_backward(u, slope)
        ctx.has_residual = residual is not None
        return prelu(u, slope).add_(shift_out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
        u, slope = ctx.saved_tensors
        grad_x, along_slope = prelu_gradients(u, slope, grad)
        return grad_x, grad_x if ctx.has_residual else None, -channel_sum(grad_x), along_slope, channel_sum(grad)


def prelu(u: Tensor, slope: Tensor) -> Tensor:
    """PReLU of `u` (..., C) with a slope a channel, in the dtype of `u`."""
    return torch.ops.aten._prelu_kernel(u, slope.to(u.dtype))


def prelu_gradients(u: Tensor, slope: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of PReLU at `u` (..., C) along `u` and `slope` (C).

    Only operations with a vectorised kernel are used; on the CPU, comparisons and the gradient of `prelu` have none.
    """
    grad_below = torch.ops.aten.hardtanh_backward(grad, u, -math.inf, 0)  # grad where u < 0, else 0
    along_u = torch.addcmul(grad, grad_below, slope - 1)
    return along_u, channel_sum(grad_below.mul_(u))


def channel_sum(x: Tensor) -> Tensor:
    """Sum of `x` (..., C) over all tokens, (C)."""
    return x.flatten(0, -2).sum(0)
