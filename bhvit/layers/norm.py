"""Normalisation over channels of tokens: batch statistics as in the published runs, or a statistic a token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bhvit import global_batch
from bhvit.errors import unknown_name

NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1

NormFactory = Callable[[int], nn.Module]
"""From a number of channels to a module that normalises tokens (..., C)."""


class TokenBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics run over batch and tokens (Ioffe & Szegedy, arXiv 1502.03167).

    In training with several processes they run over the whole batch (`bhvit.global_batch`), in every process the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPS, momentum=BATCH_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (..., C) normalised."""
        if self.training and global_batch.parts() > 1:
            return self._over_all_parts(x)
        return channels_last(super().forward(channels_first(x)), x)

    def count_batch(self) -> None:
        """Count a training batch as `forward` does, for those who call the kernel themselves."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)

    @torch.compiler.disable
    def _over_all_parts(self, x: Tensor) -> Tensor:
        y, mean, variance = _NormOverAllParts.apply(x.flatten(0, -2), self.weight, self.bias, self.eps)
        count = x.numel() // x.shape[-1] * global_batch.parts()
        with torch.no_grad():
            cast(Tensor, self.num_batches_tracked).add_(1)
            running_mean, running_var = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
            running_mean.lerp_(mean.to(running_mean.dtype), BATCH_NORM_MOMENTUM)
            running_var.lerp_(variance.to(running_var.dtype) * (count / (count - 1)), BATCH_NORM_MOMENTUM)
        return y.view(x.shape)


class _NormOverAllParts(torch.autograd.Function):
    """Batch norm of tokens (n, C) with the statistics of all parts, each of n tokens; also gives mean and variance.

    One exchange in each direction: the moments of every part (their mean and the variance between the parts are
    stable), and the two sums of the gradient. Gradients of weight and bias are those of this part, to be averaged.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        moments = torch.stack(torch.var_mean(wide, 0, correction=0)[::-1])
        means, variances = global_batch.gathered(moments).unbind(1)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        scale = (variance + eps).rsqrt()
        normal = (wide - mean).mul_(scale)
        ctx.save_for_backward(normal, weight, scale)
        ctx.mark_non_differentiable(mean, variance)
        return torch.addcmul(bias, normal, weight).to(x.dtype), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        normal, weight, scale = ctx.saved_tensors
        wide = grad.to(normal.dtype)
        along_weight, along_bias = (wide * normal).sum(0), wide.sum(0)
        sums = torch.stack((along_weight, along_bias))
        mean_weight, mean_bias = global_batch.total(sums) / (len(normal) * global_batch.parts())
        grad_x = (wide - mean_bias - normal * mean_weight) * (weight * scale)
        return grad_x.to(grad.dtype), along_weight, along_bias, None


def channels_first(x: Tensor) -> Tensor:
    """Tokens (..., C) as a view (1, C, tokens, 1), which tells the kernels that channels come last in memory."""
    return x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)


def channels_last(y: Tensor, x: Tensor) -> Tensor:
    """The inverse of `channels_first`, in the shape of `x`."""
    return y.permute(0, 2, 3, 1).view(x.shape)


def _layer_norm(channels: int) -> nn.Module:
    return nn.LayerNorm(channels, eps=NORM_EPS)


NORMS: Mapping[str, NormFactory] = MappingProxyType({"batch": TokenBatchNorm, "layer": _layer_norm})


def norm_factory(name: str) -> NormFactory:
    """The row of `NORMS` with this name; raises `InvalidInput` with the legal names."""
    if name not in NORMS:
        raise unknown_name("norm", name, NORMS)
    return NORMS[name]
