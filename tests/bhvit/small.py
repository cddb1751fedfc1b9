"""Models small enough to build in every test."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bhvit import ArchitectureConfig, PrecisionPlan
from bhvit.binaryvit.architecture import BinaryViTConfig
from bhvit.families import family_of
from bhvit.staged import PyramidArchitecture

SMALLEST = ArchitectureConfig.from_lists(
    embed_dims=(8, 8, 16, 16),
    intermediate_dims=(16, 16, 32, 32),
    depths=(1, 1, 1, 1),
    num_heads=(1, 1, 2, 4),
    image_size=64,
    window_size=1,
    num_classes=5,
)

SMALLEST_OF = {
    "bhvit": SMALLEST,
    "binaryvit": BinaryViTConfig.from_lists(
        embed_dims=(8, 8, 16, 16),
        intermediate_dims=(16, 16, 32, 32),
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 2, 4),
        image_size=64,
        num_classes=5,
        reductions=(4, 2, 1, 1),
    ),
}


def small_model(precision: str = "binary", architecture: PyramidArchitecture = SMALLEST, **options) -> Any:
    torch.manual_seed(0)
    return family_of(architecture).build_model(architecture, PrecisionPlan.uniform(precision), **options)


def images(architecture: PyramidArchitecture = SMALLEST, batch: int = 2) -> Tensor:
    size = architecture.image_size
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))
