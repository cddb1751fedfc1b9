"""RPReLU: a PReLU whose kink each channel can move."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INITIAL_SLOPE = 0.25


class RPReLU(nn.Module):
    r"""Shifted PReLU.

    $$ y = \text{PReLU}_c(x - \text{shift\_in}_c) + \text{shift\_out}_c $$

    Source: Liu et al., ReActNet, ECCV 2020 (arXiv 2003.03488), equation 5.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift_in = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), INITIAL_SLOPE))
        self.shift_out = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Activation of `x` (..., C), or of `x + residual`."""
        y = x if residual is None else x + residual
        return F.prelu((y - self.shift_in).flatten(0, -2), self.slope).view(x.shape) + self.shift_out
