"""Between two stages: half the side, more channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhvit.layers import NormFactory, QuantConv2d, RPReLU, tile_channels
from bhvit.layers.quant_linear import WEIGHT_STD
from bhvit.precision import Precision

FACTOR = 2


class Downsample(nn.Module):
    """2x2 convolution of stride 2 with a learned position embedding, in one of two forms.

    With x = norm_in(h), `residual`: RPReLU(norm(conv(x + shift)) + tile(avgpool(x))) + position; `plain`:
    norm(conv(x)) + position. `centred` is of binary kernels (`bhvit.quantizers.BinaryWeight`).
    upstream: `patch_embed1` to `patch_embed3`; plain is its `some_fp`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        side: int,
        precision: Precision,
        form: str,
        norm: NormFactory,
        centred: bool = True,
    ) -> None:
        super().__init__()
        residual = form == "residual"
        self.norm_in = norm(in_channels)
        self.conv = QuantConv2d(
            in_channels, out_channels, FACTOR, precision, stride=FACTOR, shift=residual, centred=centred
        )
        self.norm = norm(out_channels)
        self.rprelu = RPReLU(out_channels) if residual else None
        self.position = nn.Parameter(torch.empty(side, side, out_channels))
        nn.init.trunc_normal_(self.position, std=WEIGHT_STD)

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, r / 2, r / 2, C_next) of the map `h` (B, r, r, C)."""
        x = self.norm_in(h)
        y = self.norm(self.conv(x))
        if self.rprelu is not None:
            pooled = F.avg_pool2d(x.permute(0, 3, 1, 2), FACTOR).permute(0, 2, 3, 1)
            y = self.rprelu(y, tile_channels(pooled, y.shape[-1]))
        return y + self.position
