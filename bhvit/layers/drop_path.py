"""Stochastic depth."""

from __future__ import annotations

from torch import Tensor, nn

from bhvit import global_batch


class DropPath(nn.Module):
    """Drops a residual branch of each image with probability `rate` in training, and scales the kept ones up.

    Source: Huang et al., Deep Networks with Stochastic Depth, ECCV 2016 (arXiv 1603.09382).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, ...), each image whole or zero; unchanged in evaluation."""
        if self.rate == 0 or not self.training:
            return x
        keep = 1 - self.rate
        kept = global_batch.draw(x.shape[0], x.device).view(-1, *[1] * (x.dim() - 1)) < keep
        return x * (kept.to(x.dtype) / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4g}"
