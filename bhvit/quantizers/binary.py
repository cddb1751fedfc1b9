"""One-bit quantizers: the sign of activations and the scaled sign of weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

RECU_QUANTILE = 0.92  # the quantile of a Laplacian weight distribution beyond which ReCU clamps
RECU_CLAMP = -math.log(2 - 2 * RECU_QUANTILE)  # that quantile, in units of the mean magnitude
RECU_SPREAD = 2 * math.sqrt(2)  # standard deviation to which ReCU standardises each row
VARIANCE_EPS = 1e-5


class Sign(nn.Module):
    r"""Binarized activations with the piecewise polynomial gradient of Bi-Real Net.

    $$ q(x) = \begin{cases} +1 & x \geq 0 \\ -1 & x < 0 \end{cases} \qquad
       \frac{\partial q}{\partial x} = \begin{cases} 2 - 2|x| & |x| \leq 1 \\ 0 & |x| > 1 \end{cases} $$

    The released BHViT takes sign(0) = 0; a packed bit has no third level, so here sign(0) = +1.
    Source: Liu et al., Bi-Real Net, ECCV 2018 (arXiv 1808.00278), equations 5 and 6.
    """

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """Sign of `x` (..., C) plus `shift` (C, or None for none), in the dtype of `x`."""
        return _Sign.apply(x, shift)


class _Sign(torch.autograd.Function):
    """Sign(x + shift); only `x`, which its other users keep too, is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, shift)
        return binarized(x, shift).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        x, shift = ctx.saved_tensors
        grad_x = through_sign(x.clone() if shift is None else x + shift, grad)
        grad_shift = grad_x.flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        return grad_x, grad_shift


def binarized(x: Tensor, shift: Tensor | None) -> Tensor:
    """Sign of `x` (..., C) plus `shift` (C), with sign(0) = +1, without a gradient."""
    shifted = x + (0.0 if shift is None else shift + 0.0)  # + 0.0 turns -0.0, whose sign would be -1, into 0.0
    return torch.copysign(shifted.new_ones(()), shifted, out=shifted)  # vectorised, unlike `>=`


def through_sign(shifted: Tensor, grad: Tensor) -> Tensor:
    """The backward equation of `Sign` at `shifted`, which is overwritten."""
    magnitude = shifted.abs_()
    # 2 - 2 |x + shift| is negative exactly where the gradient is 0
    slope = torch.sub(magnitude.new_full((), 2), magnitude, alpha=2, out=magnitude).clamp_min_(0)
    return slope.mul_(grad)


@dataclass(frozen=True)
class BinaryWeight:
    r"""Scaled sign of the centred latent weight W (out x fan-in; convolution kernels are flattened).

    With row mean $\mu$, scale $s = \overline{|W|}$ of each row (detached) and $V = W - \mu$:

    $$ q(W) = s \, \text{sign}(V) \qquad
       \frac{\partial q}{\partial V} = \begin{cases} 1 & |V| \leq \tau \\ 0 & |V| > \tau \end{cases} $$

    and the gradient goes on through the centring to W. With `recu`, V is first standardised to a deviation of
    $2\sqrt{2}$ in each row, $\tau = -\ln(2 - 2 \cdot 0.92) \, \overline{|V|}$ over the whole tensor (detached), and the
    gradient goes on through the standardisation; otherwise $\tau = 1$. As in the released code, the gradient is not
    multiplied by s. Without `centred`, $\mu = 0$ everywhere (BinaryViT's convolutions).

    Source: Gao et al., BHViT, CVPR 2025 (arXiv 2503.02394); ReCU: Xu et al., ICCV 2021 (arXiv 2103.12369).
    """

    recu: bool = False
    centred: bool = True

    def __call__(self, weight: Tensor) -> Tensor:
        """Quantized weight of the shape of `weight` (out, ...): two values a row, +s and -s."""
        return _BinaryWeight.apply(weight, self.recu, self.centred)

    def parts(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Levels -1 and 1 (int8, the shape of `weight`) and scales (out)."""
        values = binarized_weight(weight.detach(), self.centred)
        return torch.where(torch.signbit(values), -1, 1).to(torch.int8), values.flatten(1)[:, 0].abs()


class _BinaryWeight(torch.autograd.Function):
    """`BinaryWeight` with its gradient in closed form; only the latent weight, which lives anyway, is kept for it."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, recu: bool, centred: bool) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.form = recu, centred
        return binarized_weight(weight, centred)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return latent_gradient(weight, grad, *ctx.form), None, None


def binarized_weight(weight: Tensor, centred: bool = True) -> Tensor:
    """The forward equation of `BinaryWeight` for `weight` (out, ...), without a gradient."""
    rows = weight.flatten(1)
    scale = rows.abs().mean(1, keepdim=True)
    return torch.copysign(scale, _moved(rows, centred) + 0.0).view_as(weight)  # + 0.0: see `binarized`


def latent_gradient(weight: Tensor, grad: Tensor, recu: bool, centred: bool = True) -> Tensor:
    """The backward equation of `BinaryWeight`: from the gradient of the quantized to that of the latent weight."""
    rows = weight.flatten(1)
    values, grad_rows = _moved(rows, centred), grad.flatten(1)
    magnitude = values.abs()
    if recu:
        freedom = max(1, rows.shape[1] - 1)  # a fan-in of 1 has variance 0, not 0 / 0
        variance = values.square().sum(1, keepdim=True) / freedom
        deviation = (variance + VARIANCE_EPS).sqrt()
        spread = RECU_SPREAD / deviation
        limit = RECU_CLAMP * (magnitude.mean(1, keepdim=True) * spread).mean()
        inside = grad_rows * (magnitude.mul_(spread) <= limit)
        # d(V / deviation) = dV / deviation - V <V, dV> / ((n - 1) deviation^3), V being centred
        along = (inside * values).sum(1, keepdim=True) / (freedom * deviation.square())
        inside = torch.addcmul(inside, values, along, value=-1).mul_(spread)
    else:
        inside = grad_rows * (magnitude <= 1)
    return _moved(inside, centred).view_as(grad)


def _moved(rows: Tensor, centred: bool) -> Tensor:
    """`rows` less the mean of each, or as they are."""
    return rows - rows.mean(1, keepdim=True) if centred else rows
