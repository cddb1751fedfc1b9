"""Normalisation over channels of tokens: batch statistics as in the published runs, or a statistic a token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor, nn

from bhvit.errors import unknown_name

NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1

NormFactory = Callable[[int], nn.Module]
"""From a number of channels to a module that normalises tokens (..., C)."""


class TokenBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics run over batch and tokens (Ioffe & Szegedy, arXiv 1502.03167)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPS, momentum=BATCH_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (..., C) normalised."""
        return channels_last(super().forward(channels_first(x)), x)

    def count_batch(self) -> None:
        """Count a training batch as `forward` does, for those who call the kernel themselves."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)


def channels_first(x: Tensor) -> Tensor:
    """Tokens (..., C) as a view (1, C, tokens, 1), which tells the kernels that channels come last in memory."""
    return x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)


def channels_last(y: Tensor, x: Tensor) -> Tensor:
    """The inverse of `channels_first`, in the shape of `x`."""
    return y.permute(0, 2, 3, 1).view(x.shape)


def _layer_norm(channels: int) -> nn.Module:
    return nn.LayerNorm(channels, eps=NORM_EPS)


NORMS: Mapping[str, NormFactory] = MappingProxyType({"batch": TokenBatchNorm, "layer": _layer_norm})


def norm_factory(name: str) -> NormFactory:
    """The row of `NORMS` with this name; raises `InvalidInput` with the legal names."""
    if name not in NORMS:
        raise unknown_name("norm", name, NORMS)
    return NORMS[name]
