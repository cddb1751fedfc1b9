"""Branches beside an MLP: means over neighbours in the map, which give it a neighbourhood at no weight."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bhvit.layers.layer_scale import LayerScale

DIRECTIONS = ("height", "width", "quarters")
HEIGHT, WIDTH = 1, 2  # dimensions of a map (B, r, r, C)


class Branches(nn.Module):
    """Sum of the branches of a map, each through a LayerScale that starts at 0.

    `radii` maps the published name of a branch to its radius k. For each, and each of `directions`: `height`, the mean
    over the 2k + 1 neighbours along height; `width`, the same along width; `quarters`, the four channel quarters moved
    by +k and -k along height and by +k and -k along width. Beyond the border the map goes on at its other side where
    `circular` (BHViT's rolls), and is 0 otherwise (BinaryViT's average pooling, which divides by 2k + 1 at the border
    too).

    All of it is linear and per channel, so all branches together are two stencils a channel, one along height
    and one along width, whose taps are sums of the scales: no moved map is ever stored.
    Source: Gao et al., BHViT, CVPR 2025 (arXiv 2503.02394); Le & Li, BinaryViT, CVPRW 2023 (arXiv 2306.16678).
    """

    height_pattern: Tensor
    width_pattern: Tensor

    def __init__(self, channels: int, radii: Mapping[int, int], directions: Collection[str], *, circular: bool) -> None:
        super().__init__()
        self.radii, self.circular = {str(name): radius for name, radius in radii.items()}, circular
        self.height, self.width, self.quarters = (
            nn.ModuleDict({name: LayerScale(channels, 0.0) for name in self.radii if direction in directions})
            for direction in DIRECTIONS
        )
        height, width = _patterns(channels, tuple(self.radii.values()), "quarters" in directions)
        self.register_buffer("height_pattern", height, persistent=False)
        self.register_buffer("width_pattern", width, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Sum of all branches of the map `x` (B, r, r, C)."""
        if not self.radii:
            return torch.zeros_like(x)
        return _Stencils.apply(x, *self.taps(), self.shift(), self.circular)

    def shift(self) -> Tensor:
        """What all branches add to every token, (C)."""
        return torch.stack([scale.shift for group in self._scales() for scale in group]).sum(0)

    def taps(self) -> tuple[Tensor, Tensor]:
        """Weights (2 R + 1, C) of x[i - R] .. x[i + R] in the stencils along height and width, R the largest radius."""
        height, width, quarters = self._scales()
        rolled: list[Tensor] = [scale.alpha for scale in quarters]
        return (
            (torch.stack(self._per_roll(height) + rolled) * self.height_pattern).sum(1),
            (torch.stack(self._per_roll(width) + rolled) * self.width_pattern).sum(1),
        )

    def _per_roll(self, scales: Iterable[LayerScale]) -> list[Tensor]:
        return [scale.alpha / (2 * k + 1) for scale, k in zip(scales, self.radii.values(), strict=True)]

    def _scales(self) -> list[list[LayerScale]]:
        groups = (self.height, self.width, self.quarters)
        return [[cast(LayerScale, scale) for scale in group.values()] for group in groups]


def _patterns(channels: int, radii: Sequence[int], quarters: bool) -> tuple[Tensor, Tensor]:
    """Which taps each branch adds to along height and width: ones in (2 R + 1, branches, C), moved quarters last."""
    reach, count, quarter = max(radii, default=0), len(radii), channels // 4
    patterns = torch.zeros(2, 2 * reach + 1, (2 if quarters else 1) * count, channels)
    for i, k in enumerate(radii):
        patterns[:, reach - k : reach + k + 1, i] = 1
        for direction in range(2 if quarters else 0):  # quarters 0 and 1 move along height, 2 and 3 along width
            first = 2 * quarter * direction
            patterns[direction, reach - k, count + i, first : first + quarter] = 1  # by +k: the value k before
            patterns[direction, reach + k, count + i, first + quarter : first + 2 * quarter] = 1
    return patterns[0], patterns[1]


class _Stencils(torch.autograd.Function):
    """y[i] = shift + sum over j of height[j] x[i + j - R] along height, plus the same with `width` along width.

    Element-wise work, as the cost model counts it, on slices of maps that are continued once.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, height: Tensor, width: Tensor, shift: Tensor, circular: bool) -> Tensor:
        reach, side = height.shape[0] // 2, x.shape[HEIGHT]
        rows, columns = continued(x, HEIGHT, reach, circular), continued(x, WIDTH, reach, circular)
        ctx.save_for_backward(x, height, width)  # continuing again is cheaper than keeping two more maps
        ctx.circular = circular
        y = torch.addcmul(shift, x, height[reach] + width[reach])
        for j in _neighbours(reach):
            y.addcmul_(rows.narrow(HEIGHT, j, side), height[j])
            y.addcmul_(columns.narrow(WIDTH, j, side), width[j])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        x, height, width = ctx.saved_tensors
        reach, side = height.shape[0] // 2, grad.shape[HEIGHT]
        rows, columns = (continued(x, dim, reach, ctx.circular) for dim in (HEIGHT, WIDTH))
        grad_rows, grad_columns = (continued(grad, dim, reach, ctx.circular) for dim in (HEIGHT, WIDTH))
        grad_x = grad * (height[reach] + width[reach])
        along_height, along_width = torch.empty_like(height), torch.empty_like(width)
        along_height[reach] = along_width[reach] = _channel_dot(grad, rows.narrow(HEIGHT, reach, side))
        for j in _neighbours(reach):
            grad_x.addcmul_(grad_rows.narrow(HEIGHT, 2 * reach - j, side), height[j])
            grad_x.addcmul_(grad_columns.narrow(WIDTH, 2 * reach - j, side), width[j])
            along_height[j] = _channel_dot(grad, rows.narrow(HEIGHT, j, side))
            along_width[j] = _channel_dot(grad, columns.narrow(WIDTH, j, side))
        return grad_x, along_height, along_width, grad.flatten(0, -2).sum(0), None


def _neighbours(reach: int) -> list[int]:
    return [j for j in range(2 * reach + 1) if j != reach]


def _channel_dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(0, -2).sum(0)


def continued(x: Tensor, dim: int, reach: int, circular: bool) -> Tensor:
    """`x` with `reach` more entries before and after it along `dim`: those of its other side, or zeros."""
    size = x.shape[dim]
    if not circular:
        zeros = x.new_zeros(*x.shape[:dim], reach, *x.shape[dim + 1 :])
        return torch.cat((zeros, x, zeros), dim)
    if reach > size:
        return x.index_select(dim, torch.arange(-reach, size + reach, device=x.device) % size)
    return torch.cat((x.narrow(dim, size - reach, reach), x, x.narrow(dim, 0, reach)), dim)
