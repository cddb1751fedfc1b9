"""Shift branches: means of circular rolls of the map, which give a binary MLP a neighbourhood at no weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhvit.architecture import SHIFT_RADII
from bhvit.layers.layer_scale import LayerScale


class ShiftBranches(nn.Module):
    """Sum of the shift branches of a map, each through a LayerScale that starts at 0.

    For a branch of radius k: mean over the rolls -k..k along height; the same along width; and the four channel
    quarters rolled by +k and -k along height and by +k and -k along width. Rolls are circular.

    Rolls and scales are linear and per channel, so all branches together are two stencils a channel, one along height
    and one along width, whose taps are sums of the scales: two depthwise convolutions instead of six rolled maps.
    Source: Gao et al., BHViT, CVPR 2025 (arXiv 2503.02394).
    """

    height_pattern: Tensor
    width_pattern: Tensor

    def __init__(self, channels: int, shifts: Sequence[int]) -> None:
        super().__init__()
        self.channels = channels
        self.radii = {str(name): SHIFT_RADII[name] for name in shifts}
        self.height = nn.ModuleDict({name: LayerScale(channels, 0.0) for name in self.radii})
        self.width = nn.ModuleDict({name: LayerScale(channels, 0.0) for name in self.radii})
        self.quarters = nn.ModuleDict({name: LayerScale(channels, 0.0) for name in self.radii})
        height, width = _patterns(channels, tuple(self.radii.values()))
        self.register_buffer("height_pattern", height, persistent=False)
        self.register_buffer("width_pattern", width, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Sum of all branches of the map `x` (B, r, r, C)."""
        if not self.radii:
            return torch.zeros_like(x)
        along_height, along_width = self.taps()
        reach = along_height.shape[1] // 2
        shift = torch.stack([m.shift for m in self.modules() if isinstance(m, LayerScale)]).sum(0)
        rows = wrapped(x, 1, reach).permute(0, 3, 1, 2)
        columns = wrapped(x, 2, reach).permute(0, 3, 1, 2)
        y = F.conv2d(rows, along_height[:, None, :, None], shift, groups=self.channels)
        y = y + F.conv2d(columns, along_width[:, None, None, :], groups=self.channels)
        return y.permute(0, 2, 3, 1)

    def taps(self) -> tuple[Tensor, Tensor]:
        """Weights (C, 2 R + 1) of x[i - R] .. x[i + R] in the stencils along height and width, R the largest radius."""
        rolled = [scale.alpha for scale in self.quarters.values()]
        height = [scale.alpha / (2 * k + 1) for scale, k in zip(self.height.values(), self.radii.values(), strict=True)]
        width = [scale.alpha / (2 * k + 1) for scale, k in zip(self.width.values(), self.radii.values(), strict=True)]
        return (
            (torch.stack(height + rolled)[..., None] * self.height_pattern).sum(0),
            (torch.stack(width + rolled)[..., None] * self.width_pattern).sum(0),
        )


def _patterns(channels: int, radii: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Which taps each branch adds to along height and width: ones in (2 branches, C, 2 R + 1), rolled quarters last."""
    reach, count, quarter = max(radii, default=0), len(radii), channels // 4
    patterns = torch.zeros(2, 2 * count, channels, 2 * reach + 1)
    for i, k in enumerate(radii):
        patterns[:, i, :, reach - k : reach + k + 1] = 1
        for direction in range(2):  # quarters 0 and 1 move along height, 2 and 3 along width
            first = 2 * quarter * direction
            patterns[direction, count + i, first : first + quarter, reach - k] = 1  # by +k: the value k before
            patterns[direction, count + i, first + quarter : first + 2 * quarter, reach + k] = 1
    return patterns[0], patterns[1]


def wrapped(x: Tensor, dim: int, reach: int) -> Tensor:
    """`x` with its last `reach` entries along `dim` repeated before it and its first ones after it."""
    size = x.shape[dim]
    if reach > size:
        return x.index_select(dim, torch.arange(-reach, size + reach, device=x.device) % size)
    return torch.cat((x.narrow(dim, size - reach, reach), x, x.narrow(dim, 0, reach)), dim)
