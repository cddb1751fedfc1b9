"""Multi-head attention of quantized queries, keys, values and probabilities: what both kinds of attention share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bhvit.layers import LayerScale, NormFactory, ResidualLinear, RPReLU, normed_with_residuals
from bhvit.layers.channels import Same
from bhvit.precision import Precision
from bhvit.quantizers import quantizers_of


class Projection(nn.Module):
    """Tokens to queries, keys or values: P = RPReLU(norm(QuantLinear(t)) + t), quantized after another shift."""

    def __init__(self, channels: int, precision: Precision, norm: NormFactory, recu: bool) -> None:
        super().__init__()
        self.project = ResidualLinear(channels, channels, precision, norm, recu)
        self.shift = nn.Parameter(torch.zeros(channels))
        self.activation = quantizers_of(precision).activation()

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """P and the quantized P + shift, both of the shape of `t` (..., C)."""
        p = self.project(t)
        return p, self.activation(p, self.shift)


class QuantAttention(nn.Module):
    """The frame of `WindowAttention` and `GlobalAttention`, which say which tokens see which.

    Queries, keys, values and probabilities are quantized. The context keeps the unquantized queries, keys and values
    as residuals: RPReLU(norm(context) + q + k + v).
    """

    num_heads: int
    probability: nn.Module
    norm: nn.Module
    rprelu: RPReLU
    output: ResidualLinear
    layer_scale: LayerScale | nn.Identity

    def context(self, bits: tuple[Tensor, Tensor, Tensor], residuals: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Context (..., queries, C) of quantized queries, keys and values `bits` (..., tokens, C) with `residuals`."""
        context = self.attend(*(x.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2) for x in bits))
        return normed_with_residuals(context.transpose(-3, -2).flatten(-2), residuals, self.norm, self.rprelu, Same())

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Quantized softmax(q k^T / sqrt(C / H)) times v, all (..., H, tokens, C / H)."""
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        return self.probability(scores.softmax(-1)) @ v
