"""Residual connections between different numbers of channels: tiling and pooling, for any ratio."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Resize(Protocol):
    """How a residual (..., C') is fitted to another number of channels C."""

    def __call__(self, x: Tensor, channels: int) -> Tensor:
        """`x` with `channels` channels."""

    def add_(self, y: Tensor, x: Tensor) -> None:
        """Add the resized `x` to `y` in place, without a gradient."""

    def gradient(self, grad: Tensor, channels: int) -> Tensor:
        """From the gradient of the resized tensor to that of one with `channels` channels."""


class Same:
    """No resizing: both have the same number of channels."""

    def __call__(self, x: Tensor, channels: int) -> Tensor:
        return x

    def add_(self, y: Tensor, x: Tensor) -> None:
        y.add_(x)

    def gradient(self, grad: Tensor, channels: int) -> Tensor:
        return grad


class Tile(Same):
    """`tile_channels`; its sum is written without the tiled copy where the ratio is whole."""

    def __call__(self, x: Tensor, channels: int) -> Tensor:
        return tile_channels(x, channels)

    def add_(self, y: Tensor, x: Tensor) -> None:
        whole = y.shape[-1] // x.shape[-1] * x.shape[-1]
        y[..., :whole].unflatten(-1, (-1, x.shape[-1])).add_(x[..., None, :])
        y[..., whole:].add_(x[..., : y.shape[-1] - whole])

    def gradient(self, grad: Tensor, channels: int) -> Tensor:
        whole = grad.shape[-1] // channels * channels
        total = grad[..., :whole].unflatten(-1, (-1, channels)).sum(-2)
        total[..., : grad.shape[-1] - whole] += grad[..., whole:]
        return total


class Pool(Same):
    """`pool_channels`."""

    def __call__(self, x: Tensor, channels: int) -> Tensor:
        return pool_channels(x, channels)

    def add_(self, y: Tensor, x: Tensor) -> None:
        y.add_(pool_channels(x, y.shape[-1]))

    def gradient(self, grad: Tensor, channels: int) -> Tensor:
        group, rest = divmod(channels, grad.shape[-1])
        if not rest:
            return (grad / group)[..., None].expand(*grad.shape, group).flatten(-2)
        shares = pool_channels(torch.eye(channels, dtype=grad.dtype, device=grad.device), grad.shape[-1])
        return grad @ shares.t()


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
