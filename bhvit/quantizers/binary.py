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
        shifted = x + (0.0 if shift is None else shift + 0.0)  # + 0.0 turns -0.0, whose sign would be -1, into 0.0
        return torch.copysign(shifted.new_ones(()), shifted, out=shifted).to(x.dtype)  # vectorised, unlike `>=`

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        x, shift = ctx.saved_tensors
        magnitude = x.abs() if shift is None else (x + shift).abs_()
        # 2 - 2 |x + shift| is negative exactly where the gradient is 0
        slope = torch.sub(magnitude.new_full((), 2), magnitude, alpha=2, out=magnitude).clamp_min_(0)
        grad_x = slope.mul_(grad)
        grad_shift = grad_x.flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        return grad_x, grad_shift


@dataclass(frozen=True)
class BinaryWeight:
    r"""Scaled sign of the centred latent weight W (out x fan-in; convolution kernels are flattened).

    With row mean $\mu$, scale $s = \overline{|W|}$ of each row (detached) and $V = W - \mu$:

    $$ q(W) = s \, \text{sign}(V) \qquad
       \frac{\partial q}{\partial V} = \begin{cases} 1 & |V| \leq \tau \\ 0 & |V| > \tau \end{cases} $$

    and the gradient goes on through the centring to W. With `recu`, V is first standardised to a deviation of
    $2\sqrt{2}$ in each row, $\tau = -\ln(2 - 2 \cdot 0.92) \, \overline{|V|}$ over the whole tensor (detached), and the
    gradient goes on through the standardisation; otherwise $\tau = 1$. As in the released code, the gradient is not
    multiplied by s.

    Source: Gao et al., BHViT, CVPR 2025 (arXiv 2503.02394); ReCU: Xu et al., ICCV 2021 (arXiv 2103.12369).
    """

    recu: bool = False

    def __call__(self, weight: Tensor) -> Tensor:
        """Quantized weight of the shape of `weight` (out, ...): two values a row, +s and -s."""
        return _BinaryWeight.apply(weight, self.recu)


class _BinaryWeight(torch.autograd.Function):
    """`BinaryWeight` with its gradient in closed form, so that the small tensor ops of autograd are not recorded."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, recu: bool) -> Tensor:
        rows = weight.flatten(1)
        centred = rows - rows.mean(1, keepdim=True)
        deviation = limit = None
        if recu:
            variance = centred.square().sum(1, keepdim=True) / _degrees_of_freedom(rows)
            deviation = (variance + VARIANCE_EPS).sqrt()
            standard = centred * (RECU_SPREAD / deviation)
            limit = RECU_CLAMP * standard.abs().mean()
            inside = standard.abs() <= limit
        else:
            inside = centred.abs() <= 1
        ctx.save_for_backward(inside, *(() if deviation is None else (centred, deviation)))
        scale = rows.abs().mean(1, keepdim=True)
        return torch.where(centred >= 0, scale, -scale).view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        inside, *standardisation = ctx.saved_tensors
        rows = grad.flatten(1) * inside
        if standardisation:
            centred, deviation = standardisation
            # d(V / deviation) = dV / deviation - V <V, dV> / ((n - 1) deviation^3), V being centred
            along = (rows * centred).sum(1, keepdim=True) / (_degrees_of_freedom(rows) * deviation.square())
            rows = (rows - centred * along) * (RECU_SPREAD / deviation)
        return (rows - rows.mean(1, keepdim=True)).view_as(grad), None


def _degrees_of_freedom(rows: Tensor) -> int:
    return max(1, rows.shape[1] - 1)  # a fan-in of 1 has variance 0, not 0 / 0
