"""BHViT: binarized hybrid vision transformers with a precision for every layer.

Importing this package does not import torch; `bhvit.model`, `bhvit.checkpoint` and `bhvit.zoo` do.
"""

from bhvit.architecture import PRESETS, SMALL, TINY, ArchitectureConfig, StageConfig
from bhvit.cost import Cost, CostReport, LayerCost, cost_of
from bhvit.errors import InvalidInput
from bhvit.precision import PRECISIONS, Precision, PrecisionPlan

__all__ = [
    "PRECISIONS",
    "PRESETS",
    "SMALL",
    "TINY",
    "ArchitectureConfig",
    "Cost",
    "CostReport",
    "InvalidInput",
    "LayerCost",
    "Precision",
    "PrecisionPlan",
    "StageConfig",
    "cost_of",
]
