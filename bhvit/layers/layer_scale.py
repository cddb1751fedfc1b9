"""LayerScale with a shift."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INITIAL = 0.1  # of attention and MLP


class LayerScale(nn.Module):
    """y = x * alpha + shift per channel (Touvron et al., ICCV 2021, with the shift of BinaryViT)."""

    def __init__(self, channels: int, initial: float = INITIAL) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((channels,), initial))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """`x` (..., C) scaled and shifted."""
        return torch.addcmul(self.shift, x, self.alpha)
