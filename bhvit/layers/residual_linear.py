"""The recurring unit of binary transformers: a quantized linear layer with a norm, a residual and an RPReLU."""

from __future__ import annotations

from torch import Tensor, nn

from bhvit import global_batch
from bhvit.layers.channels import Resize, Same
from bhvit.layers.norm import NormFactory, TokenBatchNorm
from bhvit.layers.norm_residual_rprelu import norm_residual_rprelu
from bhvit.layers.quant_linear import QuantLinear
from bhvit.layers.rprelu import RPReLU
from bhvit.precision import Precision


class ResidualLinear(nn.Module):
    """y = RPReLU(norm(QuantLinear(x)) + resize(x)).

    The residual keeps real-valued information past the quantizer; `resize` (tile or pool) fits it to the output's
    channels and may be left out where both are equal. Training with batch norm takes the memory-saving path of
    `norm_residual_rprelu`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        precision: Precision,
        norm: NormFactory,
        recu: bool,
        resize: Resize | None = None,
    ) -> None:
        super().__init__()
        self.out_features, self.resize = out_features, resize or Same()
        self.linear = QuantLinear(in_features, out_features, precision, recu)
        self.norm = norm(out_features)
        self.rprelu = RPReLU(out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., out) of tokens `x` (..., in)."""
        return normed_with_residuals(self.linear(x), (x,), self.norm, self.rprelu, self.resize)


def normed_with_residuals(
    z: Tensor, residuals: tuple[Tensor, ...], norm: nn.Module, rprelu: RPReLU, resize: Resize
) -> Tensor:
    """RPReLU(norm(z) + sum of resize(residual)): tokens (..., C) of tokens `z` (..., C)."""
    if isinstance(norm, TokenBatchNorm) and norm.training and global_batch.parts() == 1:
        return norm_residual_rprelu(z, residuals, norm, rprelu, resize)
    return rprelu(norm(z), sum(resize(r, z.shape[-1]) for r in residuals))
