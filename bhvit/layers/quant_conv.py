"""A convolution of any precision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhvit.layers.quant_linear import WEIGHT_STD
from bhvit.precision import Precision
from bhvit.quantizers import quantizers_of


class QuantConv2d(nn.Module):
    """Square convolution of Q_a(x + shift) with Q_w(W), on maps whose channels come last.

    `weight` is the latent weight (out, in / groups, k, k). Zero padding comes after the activation quantizer, so a
    padded position contributes 0, not sign(0). ReCU acts in linear layers only, as in the released code, unless `recu`
    says otherwise; `centred` is of binary weights, too (`bhvit.quantizers.BinaryWeight`). `shift` (in) is a learned
    offset before the quantizer, `bias` (out) one after the product.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        precision: Precision,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        shift: bool = False,
        recu: bool = False,
        centred: bool = True,
    ) -> None:
        super().__init__()
        quantizers = quantizers_of(precision)
        self.precision = precision
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.shift = nn.Parameter(torch.zeros(in_channels)) if shift else None
        self.weight_quantizer = quantizers.weight(recu, centred)
        self.activation = quantizers.activation()
        nn.init.trunc_normal_(self.weight, std=WEIGHT_STD)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, r', r', out) of map `x` (B, r, r, in)."""
        return self.product(self.activation(x, self.shift))

    def product(self, quantized: Tensor) -> Tensor:
        """The same from what the activation quantizer gave."""
        image, weight = quantized.permute(0, 3, 1, 2), self.quantized_weight()
        y = F.conv2d(image, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return y.permute(0, 2, 3, 1)

    def quantized_weight(self) -> Tensor:
        """The weight (out, in / groups, k, k) as the layer multiplies by it."""
        return self.weight_quantizer(self.weight)

    def extra_repr(self) -> str:
        out_channels, in_channels, kernel_size, _ = self.weight.shape
        return f"in={in_channels * self.groups}, out={out_channels}, kernel={kernel_size}, precision={self.precision}"
