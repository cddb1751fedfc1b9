"""The product of a binary linear layer, with a gradient that keeps neither bits nor quantized weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from bhvit.quantizers.binary import binarized, binarized_weight, latent_gradient, through_sign


def binary_linear(x: Tensor, shift: Tensor, weight: Tensor, recu: bool) -> Tensor:
    """Tokens (..., out): sign(x + shift) q(W)^T for tokens `x` (..., in), `shift` (in), latent `weight` (out, in).

    The equations of `Sign` and `BinaryWeight`; under autocast the product is taken in autocast's number format. For
    the backward pass only `x` is kept, which is the layer's residual too: signs and quantized weights are
    computed again.
    """
    return _BinaryLinear.apply(x, shift, weight, recu)


class _BinaryLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor, weight: Tensor, recu: bool) -> Tensor:
        ctx.save_for_backward(x, shift, weight)
        ctx.recu = recu
        ctx.dtype = _product_dtype(x)
        return F.linear(binarized(x, shift).to(ctx.dtype), binarized_weight(weight).to(ctx.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, shift, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        along_weight = rows.t() @ binarized(x, shift).to(ctx.dtype).flatten(0, -2)
        along_bits = grad @ binarized_weight(weight).to(ctx.dtype)
        grad_x = through_sign(x + shift, along_bits)
        grad_weight = latent_gradient(weight, along_weight.to(weight.dtype), ctx.recu)
        return grad_x.to(x.dtype), grad_x.flatten(0, -2).sum(0), grad_weight, None


def _product_dtype(x: Tensor) -> torch.dtype:
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype
