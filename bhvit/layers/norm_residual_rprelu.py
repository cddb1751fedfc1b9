"""Batch norm, residual connections and RPReLU in one step, which keeps no activation of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bhvit.layers.channels import Resize
from bhvit.layers.norm import TokenBatchNorm, channels_first, channels_last
from bhvit.layers.rprelu import RPReLU, channel_sum, prelu, prelu_gradients


def norm_residual_rprelu(
    z: Tensor, residuals: tuple[Tensor, ...], norm: TokenBatchNorm, rprelu: RPReLU, resize: Resize
) -> Tensor:
    """RPReLU(norm(z) + sum of resize(residual)) of tokens `z` (..., C), in training with batch statistics.

    `residuals` are (..., C') and `resize` fits them to C. Updates the norm's running statistics. Kept for the backward
    pass are `z` and the residuals, which other layers keep anyway; what lies between is computed again
    (`benchmarks/train_step.py` measures what that costs and saves).
    """
    norm.count_batch()
    return _NormResidualRPReLU.apply(
        z,
        norm.weight,
        norm.bias,
        norm.running_mean,
        norm.running_var,
        (norm.momentum, norm.eps),
        rprelu.shift_in,
        rprelu.slope,
        rprelu.shift_out,
        resize,
        *residuals,
    )


class _NormResidualRPReLU(torch.autograd.Function):
    """With xhat = (z - mean) / deviation and u = weight xhat + (bias - shift_in) + residuals: PReLU(u) + shift_out."""

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum_and_eps: tuple[float, float],
        shift_in: Tensor,
        slope: Tensor,
        shift_out: Tensor,
        resize: Resize,
        *residuals: Tensor,
    ) -> Tensor:
        momentum, eps = momentum_and_eps
        normed, mean, inverse = torch.native_batch_norm(
            channels_first(z), weight, bias - shift_in, running_mean, running_var, True, momentum, eps
        )
        u = channels_last(normed, z).to(torch.promote_types(z.dtype, residuals[0].dtype))
        for residual in residuals:
            resize.add_(u, residual)
        ctx.save_for_backward(z, weight, bias, running_mean, running_var, mean, inverse, shift_in, slope, *residuals)
        ctx.resize, ctx.eps = resize, eps
        return prelu(u, slope).add_(shift_out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, weight, bias, running_mean, running_var, mean, inverse, shift_in, slope, *residuals = ctx.saved_tensors
        factor = weight * inverse
        u = torch.addcmul(bias - shift_in - mean * factor, z, factor)
        for residual in residuals:
            ctx.resize.add_(u, residual)
        along_u, along_slope = prelu_gradients(u, slope, grad)
        along_z, along_weight, along_bias = torch.ops.aten.native_batch_norm_backward(
            channels_first(along_u.to(z.dtype)),
            channels_first(z),
            weight,
            running_mean,
            running_var,
            mean,
            inverse,
            True,
            ctx.eps,
            [True, True, True],
        )
        along_residual = ctx.resize.gradient(along_u, residuals[0].shape[-1]).to(residuals[0].dtype)
        return (
            channels_last(along_z, z),
            along_weight,
            along_bias,
            None,
            None,
            None,
            -along_bias,
            along_slope,
            channel_sum(grad),
            None,
            *(along_residual for _ in residuals),
        )
