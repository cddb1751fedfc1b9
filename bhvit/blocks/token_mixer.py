"""Token mixer of the first two stages: grouped convolutions at three dilations."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from bhvit.architecture import DILATIONS, MIXER_GROUPS
from bhvit.layers import NormFactory, QuantConv2d, RPReLU
from bhvit.precision import Precision


class TokenMixer(nn.Module):
    """norm(sum over dilations 1, 3, 5 of RPReLU(3x3 convolution in 4 groups of (u + shift))).

    upstream: `GC`, the paper's multi-scale grouped dilated convolution (MSGDC).
    Source: Gao et al., BHViT, CVPR 2025 (arXiv 2503.02394).
    """

    def __init__(self, channels: int, precision: Precision, norm: NormFactory) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.convs = nn.ModuleList(
            QuantConv2d(channels, channels, 3, precision, padding=d, dilation=d, groups=MIXER_GROUPS, bias=True)
            for d in DILATIONS
        )
        self.rprelus = nn.ModuleList(RPReLU(channels) for _ in DILATIONS)
        self.norm = norm(channels)

    def forward(self, u: Tensor) -> Tensor:
        """Mixed map (B, r, r, C) of the normalised map `u`."""
        branches = [rprelu(y) for y, rprelu in zip(self._convolved(u), self.rprelus, strict=True)]
        return self.norm(branches[0] + branches[1] + branches[2])

    def _convolved(self, u: Tensor) -> list[Tensor]:
        convs = [cast(QuantConv2d, conv) for conv in self.convs]
        if any(True for _ in convs[0].activation.parameters()):
            x = u + self.shift
            return [conv(x) for conv in convs]
        quantized = convs[0].activation(u, self.shift)  # a quantizer that learns nothing is the same in all branches
        return [conv.product(quantized) for conv in convs]
