"""Image to tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhvit.layers import NormFactory
from bhvit.layers.quant_linear import WEIGHT_STD
from bhvit.staged import IMAGE_CHANNELS, PATCH


class Stem(nn.Module):
    """norm(conv 4x4, stride 4), through a GELU if `gelu`, plus a learned position embedding; always real-valued.

    upstream: `vit.embeddings`.
    """

    def __init__(self, channels: int, side: int, norm: NormFactory, gelu: bool) -> None:
        super().__init__()
        self.gelu = gelu
        self.conv = nn.Conv2d(IMAGE_CHANNELS, channels, PATCH, PATCH)
        self.norm = norm(channels)
        self.position = nn.Parameter(torch.empty(side, side, channels))
        nn.init.trunc_normal_(self.conv.weight, std=WEIGHT_STD)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        nn.init.trunc_normal_(self.position, std=WEIGHT_STD)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, r, r, C) of `images` (B, 3, S, S), r = S / 4."""
        # Patches do not overlap, so the convolution is one matrix product whose output already has channels last.
        side = self.position.shape[0]
        patches = images.unflatten(3, (side, PATCH)).unflatten(2, (side, PATCH)).permute(0, 2, 4, 1, 3, 5).flatten(3)
        y = F.linear(patches, self.conv.weight.flatten(1), self.conv.bias)
        y = self.norm(y)
        return (F.gelu(y) if self.gelu else y) + self.position
