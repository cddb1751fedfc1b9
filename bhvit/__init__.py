"""Binarized vision transformers with a precision for every layer: families, costs, models, a packed runtime.

Importing this package imports nothing but what is asked for, and torch only with `bhvit.model`, `bhvit.checkpoint`,
`bhvit.zoo` and the like.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "architecture": ("PRESETS", "SMALL", "TINY", "ArchitectureConfig"),
    "cost": ("Cost", "CostReport", "LayerCost"),
    "errors": ("InvalidInput",),
    "families": ("FAMILIES", "Family", "cost_of"),
    "precision": ("PRECISIONS", "Precision", "PrecisionPlan"),
    "staged": ("StageConfig",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"bhvit.{module}"), name)
    raise AttributeError(f"module 'bhvit' has no attribute {name!r}")
