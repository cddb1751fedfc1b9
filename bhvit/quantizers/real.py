"""The quantizers of real-valued precisions: the identity."""

from __future__ import annotations

from torch import Tensor, nn


def real_weight(weight: Tensor) -> Tensor:
    """The weight itself."""
    return weight


class RealActivation(nn.Module):
    r"""Identity after a shift.

    $$ q(x) = x + \text{shift} \qquad \partial q / \partial x = 1 $$
    """

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """`x` (..., C) plus `shift` (C)."""
        return x if shift is None else x + shift


class RealProbability(nn.Module):
    """Identity on attention probabilities."""

    def forward(self, probabilities: Tensor) -> Tensor:
        """`probabilities` unchanged."""
        return probabilities
