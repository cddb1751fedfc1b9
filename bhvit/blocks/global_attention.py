"""Attention of every token to all tokens, or to averages of patches of them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bhvit.blocks.attention import Projection, QuantAttention
from bhvit.blocks.summary_tokens import upsample_nearest
from bhvit.layers import LayerScale, NormFactory, ResidualLinear, RPReLU
from bhvit.precision import Precision
from bhvit.quantizers import quantizers_of


class GlobalAttention(QuantAttention):
    """Multi-head attention whose keys and values are those of the map averaged over R x R tokens (R = 1: of the map).

    Averages go through a residual linear layer first (`reduction`), and the residuals k and v of the context are
    upsampled by R. Binary probabilities are one bit, their level one number for all heads. `layer_scale` says whether
    there is one at the end.
    upstream: `attention.attention` and `attention.output`.
    Source: Le & Li, BinaryViT, CVPRW 2023 (arXiv 2306.16678); spatial reduction: Wang et al., PVT (arXiv 2102.12122).
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        reduction_ratio: int,
        precision: Precision,
        norm: NormFactory,
        recu: bool,
        layer_scale: bool,
    ) -> None:
        super().__init__()
        self.num_heads, self.reduction_ratio = num_heads, reduction_ratio
        self.query = Projection(channels, precision, norm, recu)
        self.reduction = ResidualLinear(channels, channels, precision, norm, recu) if reduction_ratio > 1 else None
        self.key = Projection(channels, precision, norm, recu)
        self.value = Projection(channels, precision, norm, recu)
        self.probability = quantizers_of(precision).one_plane_probability(num_heads)
        self.norm = norm(channels)
        self.rprelu = RPReLU(channels)
        self.output = ResidualLinear(channels, channels, precision, norm, recu)
        self.layer_scale = LayerScale(channels) if layer_scale else nn.Identity()

    def forward(self, u: Tensor) -> Tensor:
        """Mixed map (B, r, r, C) of the normalised map `u`."""
        t = u
        if self.reduction is not None:
            t = self.reduction(F.avg_pool2d(u.permute(0, 3, 1, 2), self.reduction_ratio).permute(0, 2, 3, 1))
        (q, q_bits), (k, k_bits), (v, v_bits) = self.query(u), self.key(t), self.value(t)
        bits = (q_bits.flatten(1, 2), k_bits.flatten(1, 2), v_bits.flatten(1, 2))
        residuals = (q, upsample_nearest(k, self.reduction_ratio), upsample_nearest(v, self.reduction_ratio))
        context = self.context(bits, tuple(x.flatten(1, 2) for x in residuals))  # type: ignore[arg-type]  # three
        return self.layer_scale(self.output(context.view_as(u)))
