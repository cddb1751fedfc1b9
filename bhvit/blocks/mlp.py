"""The channel mixer."""

from __future__ import annotations

from torch import Tensor, nn

from bhvit.layers import LayerScale, NormFactory, Pool, ResidualLinear, Tile
from bhvit.precision import Precision


class Mlp(nn.Module):
    """LayerScale(project(expand(v))): C -> I with a tiled residual, I -> C with a pooled one.

    `layer_scale` says whether there is one at the end.

    upstream: `intermediate` and `output`.
    """

    def __init__(
        self,
        channels: int,
        intermediate: int,
        precision: Precision,
        norm: NormFactory,
        recu: bool,
        layer_scale: bool = True,
    ) -> None:
        super().__init__()
        self.expand = ResidualLinear(channels, intermediate, precision, norm, recu, Tile())
        self.project = ResidualLinear(intermediate, channels, precision, norm, recu, Pool())
        self.layer_scale = LayerScale(channels) if layer_scale else nn.Identity()

    def forward(self, v: Tensor) -> Tensor:
        """Tokens (..., C) of tokens `v` (..., C)."""
        return self.layer_scale(self.project(self.expand(v)))
