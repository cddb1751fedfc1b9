"""Attention within windows that also see a summary of the whole map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bhvit.blocks.summary_tokens import SummaryTokens, upsample_nearest
from bhvit.blocks.windows import join_windows, split_windows
from bhvit.layers import LayerScale, NormFactory, ResidualLinear, RPReLU, normed_with_residuals
from bhvit.layers.channels import Same
from bhvit.layers.norm import NORM_EPS
from bhvit.precision import Precision
from bhvit.quantizers import quantizers_of

LAYER_SCALE_INITIAL = 0.1
MIX_INITIAL = 0.5


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


class Attention(nn.Module):
    """Multi-head attention over windows of g x g tokens with n summary tokens of the map (n windows an image).

    Queries, keys, values and probabilities are quantized as `precision` says. The context keeps the unquantized
    queries, keys and values as residuals. Output: b * window part + (1 - b) * summary part (averaged over the windows
    and upsampled), then LayerScale(ResidualLinear).
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
        self.layer_scale = LayerScale(channels, LAYER_SCALE_INITIAL)

    def forward(self, u: Tensor) -> Tensor:
        """Mixed map (B, r, r, C) of the normalised map `u`."""
        context = self._context(self._tokens(u))
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

    def _context(self, t: Tensor) -> Tensor:
        """Attention of the tokens `t` (B, n, g^2 + n, C) to those of their window."""
        (q, q_bits), (k, k_bits), (v, v_bits) = self.query(t), self.key(t), self.value(t)
        context = self.attend(
            *(x.unflatten(-1, (self.num_heads, -1)).transpose(2, 3) for x in (q_bits, k_bits, v_bits))
        )
        return normed_with_residuals(context.transpose(2, 3).flatten(-2), (q, k, v), self.norm, self.rprelu, Same())

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Quantized softmax(q k^T / sqrt(C / H)) times v, all (B, n, H, tokens, C / H)."""
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        return self.probability(scores.softmax(-1)) @ v
