"""A linear layer of any precision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhvit.layers.binary_linear import binary_linear
from bhvit.precision import Precision
from bhvit.quantizers import quantizers_of
from bhvit.quantizers.binary import BinaryWeight, Sign
from bhvit.quantizers.real import RealActivation

WEIGHT_STD = 0.02  # of the truncated normal from which latent weights start


class QuantLinear(nn.Module):
    """y = Q_a(x + shift) Q_w(W)^T without bias, quantized as its `precision` says.

    `weight` is the latent weight (out, in), `shift` (in) a learned offset before the quantizer. `recu` acts on binary
    weights only (`bhvit.quantizers.BinaryWeight`).
    """

    def __init__(self, in_features: int, out_features: int, precision: Precision, recu: bool) -> None:
        super().__init__()
        quantizers = quantizers_of(precision)
        self.precision = precision
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.shift = nn.Parameter(torch.zeros(in_features))
        self.weight_quantizer = quantizers.weight(recu, True)
        self.activation = quantizers.activation()
        nn.init.trunc_normal_(self.weight, std=WEIGHT_STD)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., out) of tokens `x` (..., in)."""
        if self.training and isinstance(self.activation, RealActivation):  # W (x + s) = W x + W s: keeps no x + s
            return F.linear(x, self.weight, F.linear(self.shift, self.weight))
        if isinstance(self.activation, Sign) and isinstance(self.weight_quantizer, BinaryWeight):
            return binary_linear(x, self.shift, self.weight, self.weight_quantizer.recu)
        return F.linear(self.activation(x, self.shift), self.quantized_weight())

    def quantized_weight(self) -> Tensor:
        """The weight (out, in) as the layer multiplies by it."""
        return self.weight_quantizer(self.weight)

    def extra_repr(self) -> str:
        out_features, in_features = self.weight.shape
        return f"in={in_features}, out={out_features}, precision={self.precision}"
