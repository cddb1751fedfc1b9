"""Layers shared by the model families: all take and give tokens, channels last."""

from bhvit.layers.channels import pool_channels, tile_channels
from bhvit.layers.drop_path import DropPath
from bhvit.layers.layer_scale import LayerScale
from bhvit.layers.norm import NORMS, NormFactory, norm_factory
from bhvit.layers.quant_conv import QuantConv2d
from bhvit.layers.quant_linear import QuantLinear
from bhvit.layers.residual_linear import ResidualLinear
from bhvit.layers.rprelu import RPReLU
from bhvit.layers.shifts import ShiftBranches

__all__ = [
    "NORMS",
    "DropPath",
    "LayerScale",
    "NormFactory",
    "QuantConv2d",
    "QuantLinear",
    "RPReLU",
    "ResidualLinear",
    "ShiftBranches",
    "norm_factory",
    "pool_channels",
    "tile_channels",
]
