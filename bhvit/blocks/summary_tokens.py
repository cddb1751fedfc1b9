"""A few tokens that summarise the whole map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIX_INITIAL = 0.5


class SummaryTokens(nn.Module):
    """a * maxpool + (1 - a) * avgpool, kernel and stride g, padding g // 2; a per channel.

    The padding offsets the pools from the windows by half a window and the last rows and columns of a map of side 2g
    are never seen; that is how the released models are trained. The average counts the padding.
    upstream: `token_FA`.
    """

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.mix = nn.Parameter(torch.full((channels,), MIX_INITIAL))

    def forward(self, u: Tensor) -> Tensor:
        """Summary tokens (B, n, C) of the map `u` (B, r, r, C), n = (r / g)^2."""
        image, padding = u.permute(0, 3, 1, 2), self.window // 2
        largest = F.max_pool2d(image, self.window, self.window, padding)
        average = F.avg_pool2d(image, self.window, self.window, padding)
        return torch.lerp(average.permute(0, 2, 3, 1), largest.permute(0, 2, 3, 1), self.mix).flatten(1, 2)


def upsample_nearest(x: Tensor, factor: int) -> Tensor:
    """Map (B, r * factor, r * factor, C) of the map `x` (B, r, r, C), every token repeated."""
    b, rows, columns, c = x.shape
    grown = x[:, :, None, :, None].expand(b, rows, factor, columns, factor, c)
    return grown.reshape(b, rows * factor, columns * factor, c)
