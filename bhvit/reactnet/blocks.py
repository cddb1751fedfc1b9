"""The parts of a ReActNet; maps have their channels last."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhvit.layers import DropPath, NormFactory, Pool, QuantConv2d, RPReLU, Tile
from bhvit.layers.channels import Resize
from bhvit.precision import Precision
from bhvit.reactnet.architecture import KERNEL, POOL_KERNEL, STEM_KERNEL
from bhvit.staged import IMAGE_CHANNELS


class ResNetStem(nn.Module):
    """Max pooling (3x3, stride 2) of norm(conv 7x7, stride 2); always real-valued, and without a ReLU."""

    def __init__(self, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.conv = nn.Conv2d(IMAGE_CHANNELS, channels, STEM_KERNEL, 2, STEM_KERNEL // 2, bias=False)
        self.norm = norm(channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, r, r, C) of `images` (B, 3, S, S), r = S / 4."""
        image = images.contiguous(memory_format=torch.channels_last)  # so is the convolution's output
        y = self.norm(self.conv(image).permute(0, 2, 3, 1))
        return F.max_pool2d(y.permute(0, 3, 1, 2), POOL_KERNEL, 2, POOL_KERNEL // 2).permute(0, 2, 3, 1)


class ResidualConv(nn.Module):
    """RPReLU(DropPath(norm(conv 3x3 of Q(x + shift))) + resize(shortcut)).

    Source: Liu et al., ReActNet, ECCV 2020 (arXiv 2003.03488), figure 4: RSign, convolution, batch norm, shortcut,
    RPReLU. Binary kernels are not centred, as released.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        precision: Precision,
        norm: NormFactory,
        recu: bool,
        resize: Resize,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        self.resize = resize
        self.conv = QuantConv2d(
            in_channels,
            out_channels,
            KERNEL,
            precision,
            stride=stride,
            padding=KERNEL // 2,
            shift=True,
            recu=recu,
            centred=False,
        )
        self.norm = norm(out_channels)
        self.drop_path = DropPath(drop_path_rate)
        self.rprelu = RPReLU(out_channels)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """Map (B, r', r', C') of the map `x` (B, r, r, C) and a `shortcut` (B, r', r', any number of channels)."""
        y = self.drop_path(self.norm(self.conv(x)))
        return self.rprelu(y, self.resize(shortcut, y.shape[-1]))


class BasicBlock(nn.Module):
    """Two `ResidualConv`s: to the intermediate channels with a tiled shortcut, and from them with a pooled one.

    `precisions` are those of the two; the first has the `stride`.
    """

    def __init__(
        self,
        in_channels: int,
        intermediate: int,
        channels: int,
        stride: int,
        precisions: tuple[Precision, Precision],
        norm: NormFactory,
        recu: bool,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        first, second = precisions
        self.conv0 = ResidualConv(in_channels, intermediate, stride, first, norm, recu, Tile(), drop_path_rate)
        self.conv1 = ResidualConv(intermediate, channels, 1, second, norm, recu, Pool(), drop_path_rate)

    def forward(self, h: Tensor, shortcut: Tensor) -> Tensor:
        """Map (B, r', r', C) of the map `h` (B, r, r, C_in), past which goes `shortcut` (B, r', r', C)."""
        u = self.conv0(h, shortcut)
        return self.conv1(u, u)


class Shortcut(nn.Module):
    """norm(conv 1x1 of Q(2x2 average)): what goes past the first convolution of a stage."""

    def __init__(
        self, in_channels: int, out_channels: int, precision: Precision, norm: NormFactory, recu: bool
    ) -> None:
        super().__init__()
        self.conv = QuantConv2d(in_channels, out_channels, 1, precision, recu=recu, centred=False)
        self.norm = norm(out_channels)

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, r / 2, r / 2, C') of the map `h` (B, r, r, C)."""
        return self.norm(self.conv(F.avg_pool2d(h.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)))
