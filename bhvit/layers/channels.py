"""Residual connections between different numbers of channels: tiling and pooling, for any ratio."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def tile_channels(x: Tensor, channels: int) -> Tensor:
    """`x` (..., C) repeated cyclically to `channels` and cut there: out[j] = x[j mod C]."""
    copies, rest = divmod(channels, x.shape[-1])
    if copies == 1 and not rest:
        return x
    # Not cat(): the gradient of an expanded dimension is one sum, not an addition a copy.
    tiled = x[..., None, :].expand(*x.shape[:-1], copies, x.shape[-1]).flatten(-2)
    return torch.cat((tiled, x[..., :rest]), dim=-1) if rest else tiled


def pool_channels(x: Tensor, channels: int) -> Tensor:
    """`x` (..., C) averaged to `channels`: out[j] = mean of x[floor(j C / channels) .. ceil((j + 1) C / channels) - 1].

    Consecutive groups where `channels` divides C; groups that share a channel at their border where it does not
    (adaptive average pooling).
    """
    size = x.shape[-1]
    if channels == size:
        return x
    if size % channels == 0:
        group = size // channels
        # Not mean(): its gradient would divide every element of x instead of every sum.
        return (x.reshape(-1, group).sum(-1) / group).view(*x.shape[:-1], channels)
    return F.adaptive_avg_pool1d(x.flatten(0, -2), channels).view(*x.shape[:-1], channels)
