"""Attention within windows that also see a summary of the whole map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bhvit.blocks.attention import Projection, QuantAttention
from bhvit.blocks.summary_tokens import MIX_INITIAL, SummaryTokens, upsample_nearest
from bhvit.blocks.windows import join_windows, split_windows
from bhvit.layers import LayerScale, NormFactory, ResidualLinear, RPReLU
from bhvit.layers.norm import NORM_EPS
from bhvit.precision import Precision
from bhvit.quantizers import quantizers_of


class WindowAttention(QuantAttention):
    """Multi-head attention over windows of g x g tokens with n summary tokens of the map (n windows an image).

    Output: b * window part + (1 - b) * summary part (averaged over the windows and upsampled), then
    LayerScale(ResidualLinear).
    upstream: `attention.attention` and `attention.output`, the paper's multi-scale multi-head attention (MSMHA).
    Source: Gao et al., BHViT, CVPR 2025 (arXiv 2503.02394).
    """

    def __init__(
        self, channels: int, num_heads: int, window: int, precision: Precision, norm: NormFactory, recu: bool
    ) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        self.summary = SummaryTokens(channels, window)
        self.token_norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.query = Projection(channels, precision, norm, recu)
        self.key = Projection(channels, precision, norm, recu)
        self.value = Projection(channels, precision, norm, recu)
        self.probability = quantizers_of(precision).probability(num_heads)
        self.norm = norm(channels)
        self.rprelu = RPReLU(channels)
        self.mix = nn.Parameter(torch.full((channels,), MIX_INITIAL))
        self.output = ResidualLinear(channels, channels, precision, norm, recu)
        self.layer_scale = LayerScale(channels)

    def forward(self, u: Tensor) -> Tensor:
        """Mixed map (B, r, r, C) of the normalised map `u`."""
        t = self._tokens(u)
        (q, q_bits), (k, k_bits), (v, v_bits) = self.query(t), self.key(t), self.value(t)
        context = self.context((q_bits, k_bits, v_bits), (q, k, v))
        local, summary = context.split((self.window**2, context.shape[2] - self.window**2), dim=2)
        windows = u.shape[1] // self.window
        overview = summary.mean(1).unflatten(1, (windows, windows))
        mixed = torch.lerp(upsample_nearest(overview, self.window), join_windows(local, self.window), self.mix)
        return self.layer_scale(self.output(mixed))

    def _tokens(self, u: Tensor) -> Tensor:
        """Windows with their summary tokens (B, n, g^2 + n, C), normalised."""
        summary = self.token_norm(self.summary(u))
        local = split_windows(self.token_norm(u), self.window)
        return torch.cat((local, summary[:, None].expand(-1, local.shape[1], -1, -1)), dim=2)
