"""The recurring unit of binary transformers: a quantized linear layer with a norm, a residual and an RPReLU."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from bhvit.layers.norm import NormFactory
from bhvit.layers.quant_linear import QuantLinear
from bhvit.layers.rprelu import RPReLU
from bhvit.precision import Precision


class ResidualLinear(nn.Module):
    """y = RPReLU(norm(QuantLinear(x)) + resize(x)).

    The residual keeps real-valued information past the quantizer; `resize` (tile or pool) fits it to the output's
    channels and may be left out where both are equal.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        precision: Precision,
        norm: NormFactory,
        recu: bool,
        resize: Callable[[Tensor, int], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.out_features, self.resize = out_features, resize
        self.linear = QuantLinear(in_features, out_features, precision, recu)
        self.norm = norm(out_features)
        self.rprelu = RPReLU(out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., out) of tokens `x` (..., in)."""
        residual = x if self.resize is None else self.resize(x, self.out_features)
        return self.rprelu(self.norm(self.linear(x)), residual)
