"""Symmetric uniform weights of several bits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bhvit.quantizers.straight_through import straight_through


@dataclass(frozen=True)
class UniformWeight:
    r"""Symmetric uniform weight quantizer with one scale an output channel.

    $$ s = \max|W| / (2^{b-1} - 1) \qquad q(W) = s \, \text{round}(W / s) \qquad \partial q / \partial W = 1 $$

    The maximum is taken over the fan-in of each output channel, so nothing is ever clipped and the levels are
    $-(2^{b-1}-1) .. 2^{b-1}-1$.
    Source: Krishnamoorthi, arXiv 1806.08342, section 2.2 (per channel, symmetric).
    """

    bits: int

    def __call__(self, weight: Tensor) -> Tensor:
        """Quantized weight of the shape of `weight` (out, ...)."""
        rows, scale = weight.detach().flatten(1), self._scale(weight)
        return straight_through(weight, ((rows / scale).round_() * scale).view_as(weight))

    def parts(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Levels (int8, the shape of `weight`) and scales (out)."""
        scale = self._scale(weight)
        return (weight.detach().flatten(1) / scale).round_().view_as(weight).to(torch.int8), scale[:, 0]

    def _scale(self, weight: Tensor) -> Tensor:
        """Step between levels, one an output channel (out, 1); a channel of zeros gets the smallest normal number."""
        largest = weight.detach().flatten(1).abs().amax(1, keepdim=True)
        return (largest / (2 ** (self.bits - 1) - 1)).clamp_min(torch.finfo(weight.dtype).tiny)
