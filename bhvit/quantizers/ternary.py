"""Weights of three levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bhvit.quantizers.straight_through import straight_through

THRESHOLD = 0.7  # of the mean magnitude of a row


@dataclass(frozen=True)
class TernaryWeight:
    r"""Three-level weights with a threshold and a scale an output channel (W: out x fan-in; kernels are flattened).

    $$ \Delta = 0.7 \, \overline{|W|} \qquad s = \overline{|W|}_{|W| > \Delta} \qquad
       q(W) = \begin{cases} s & W > \Delta \\ 0 & |W| \leq \Delta \\ -s & W < -\Delta \end{cases} \qquad
       \frac{\partial q}{\partial W} = 1 $$

    The threshold is the paper's approximation of the one with the smallest squared error; s is the scale of smallest
    error for it. A channel of zeros stays zeros. The weights of `int2` are these too: levels -1, 0, 1 in steps of
    max|W|, as `UniformWeight` has them, would make most weights 0.
    Source: Li, Zhang, Liu: Ternary Weight Networks, arXiv 1605.04711, applied to each output channel.
    """

    def __call__(self, weight: Tensor) -> Tensor:
        """Quantized weight of the shape of `weight` (out, ...)."""
        levels, scale = self.parts(weight)
        return straight_through(weight, (levels.flatten(1) * scale[:, None]).view_as(weight))

    def parts(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Levels -1, 0, 1 (int8, the shape of `weight`) and scales (out)."""
        rows = weight.detach().flatten(1)
        magnitude = rows.abs().to(torch.promote_types(weight.dtype, torch.float32))  # sums in fp16 overflow
        above = magnitude > THRESHOLD * magnitude.mean(1, keepdim=True)
        scale = (magnitude * above).sum(1) / above.sum(1).clamp_min(1)
        return (rows.sign() * above).to(torch.int8).view_as(weight), scale.to(weight.dtype)
