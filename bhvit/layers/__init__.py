"""Layers shared by the model families: all take and give tokens, channels last."""

from bhvit.layers.branches import Branches
from bhvit.layers.channels import Pool, Tile, pool_channels, tile_channels
from bhvit.layers.drop_path import DropPath
from bhvit.layers.layer_scale import LayerScale
from bhvit.layers.norm import NORMS, NormFactory, norm_factory
from bhvit.layers.quant_conv import QuantConv2d
from bhvit.layers.quant_linear import QuantLinear
from bhvit.layers.residual_linear import ResidualLinear, normed_with_residuals
from bhvit.layers.rprelu import RPReLU

__all__ = [
    "NORMS",
    "Branches",
    "DropPath",
    "LayerScale",
    "NormFactory",
    "Pool",
    "QuantConv2d",
    "QuantLinear",
    "RPReLU",
    "ResidualLinear",
    "Tile",
    "norm_factory",
    "normed_with_residuals",
    "pool_channels",
    "tile_channels",
]
