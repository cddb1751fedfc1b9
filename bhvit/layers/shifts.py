"""Shift branches: means of circular rolls of the map, which give a binary MLP a neighbourhood at no weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bhvit.architecture import SHIFT_RADII
from bhvit.layers.layer_scale import LayerScale


class ShiftBranches(nn.Module):
    """Sum of the shift branches of a map, each through a LayerScale that starts at 0.

    For a branch of radius k: mean over the rolls -k..k along height; the same along width; and the four channel
    quarters rolled by +k and -k along height and by +k and -k along width. Rolls are circular.
    Source: Gao et al., BHViT, CVPR 2025 (arXiv 2503.02394).
    """

    def __init__(self, channels: int, shifts: Sequence[int]) -> None:
        super().__init__()
        self.radii = {str(name): SHIFT_RADII[name] for name in shifts}
        self.height = nn.ModuleDict({name: LayerScale(channels, 0.0) for name in self.radii})
        self.width = nn.ModuleDict({name: LayerScale(channels, 0.0) for name in self.radii})
        self.quarters = nn.ModuleDict({name: LayerScale(channels, 0.0) for name in self.radii})

    def forward(self, x: Tensor) -> Tensor:
        """Sum of all branches of the map `x` (B, r, r, C)."""
        total = torch.zeros_like(x)
        for name, radius in self.radii.items():
            rolls = range(-radius, radius + 1)
            mean_height = torch.stack([x.roll(k, 1) for k in rolls]).mean(0)
            mean_width = torch.stack([x.roll(k, 2) for k in rolls]).mean(0)
            up, down, left, right = x.chunk(4, dim=-1)
            quarters = torch.cat(
                (up.roll(radius, 1), down.roll(-radius, 1), left.roll(radius, 2), right.roll(-radius, 2)), dim=-1
            )
            total = total + self.height[name](mean_height) + self.width[name](mean_width)
            total = total + self.quarters[name](quarters)
        return total
