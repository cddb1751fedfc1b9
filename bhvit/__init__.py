"""BHViT: binarized hybrid vision transformers with a precision for every layer.

Importing this package does not import torch; `bhvit.model`, `bhvit.checkpoint` and `bhvit.zoo` do.
"""

from bhvit.architecture import PRESETS, SMALL, TINY, ArchitectureConfig
from bhvit.cost import Cost, CostReport, LayerCost
from bhvit.errors import InvalidInput
from bhvit.families import FAMILIES, Family, cost_of
from bhvit.precision import PRECISIONS, Precision, PrecisionPlan
from bhvit.staged import StageConfig

__all__ = [
    "FAMILIES",
    "PRECISIONS",
    "PRESETS",
    "SMALL",
    "TINY",
    "ArchitectureConfig",
    "Cost",
    "CostReport",
    "Family",
    "InvalidInput",
    "LayerCost",
    "Precision",
    "PrecisionPlan",
    "StageConfig",
    "cost_of",
]
