"""Tokens to logits."""

from __future__ import annotations

from torch import Tensor, nn

from bhvit.layers import NormFactory
from bhvit.layers.quant_linear import WEIGHT_STD


class Head(nn.Module):
    """Linear(mean over tokens of norm(h)); always real-valued. upstream: `vit.layernorm` and `classifier`."""

    def __init__(self, channels: int, num_classes: int, norm: NormFactory) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.linear = nn.Linear(channels, num_classes)
        nn.init.trunc_normal_(self.linear.weight, std=WEIGHT_STD)
        nn.init.zeros_(self.linear.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Logits (B, classes) of the map `h` (B, r, r, C)."""
        return self.linear(self.features(h))

    def features(self, h: Tensor) -> Tensor:
        """The vector (B, C) that is classified."""
        return self.norm(h).mean((1, 2))
