"""Random legal models of every family that has closed forms: architectures, with a precision for every layer."""

from __future__ import annotations

import random
from collections.abc import Callable

from bhvit import PRECISIONS, ArchitectureConfig, PrecisionPlan
from bhvit.binaryvit.architecture import BinaryViTConfig
from bhvit.staged import PyramidArchitecture

NAMES = list(PRECISIONS)


def drawn(seed: int, family: str = "bhvit") -> tuple[PyramidArchitecture, PrecisionPlan]:
    """A random legal architecture, and a plan with a random precision for every layer."""
    draw = random.Random(seed)
    architecture = DRAWN[family](draw)
    some = draw.sample(NAMES, draw.randint(1, len(NAMES)))
    plan = PrecisionPlan.uniform(some[0])
    for address in architecture.addresses:
        plan = plan.with_layers(address, draw.choice(some))
    return architecture, plan


def _bhvit(draw: random.Random) -> ArchitectureConfig:
    image_size, window = draw.choice([(96, 1), (96, 3), (192, 1), (192, 3), (160, 1), (160, 5)])
    return ArchitectureConfig.from_lists(
        embed_dims=[4 * draw.randint(1, 6) for _ in range(4)],
        intermediate_dims=[draw.randint(1, 70) for _ in range(4)],
        depths=[draw.randint(1, 2) for _ in range(4)],
        num_heads=[1, 1, draw.choice([1, 2, 4]), draw.choice([2, 4])],
        image_size=image_size,
        window_size=window,
        num_classes=draw.randint(2, 50),
        shifts=draw.choice([(), (3,), (5,), (3, 5)]),
        downsample_form=draw.choice(["auto", "residual", "plain"]),
    )


def _binaryvit(draw: random.Random) -> BinaryViTConfig:
    image_size, heads = draw.choice([64, 96, 160]), [draw.choice([1, 2, 3]) for _ in range(4)]
    sides = [image_size // 4 // 2**i for i in range(4)]
    return BinaryViTConfig.from_lists(
        embed_dims=[h * draw.randint(1, 12) for h in heads],
        intermediate_dims=[draw.randint(1, 70) for _ in range(4)],
        depths=[draw.randint(1, 2) for _ in range(4)],
        num_heads=heads,
        image_size=image_size,
        num_classes=draw.randint(2, 50),
        reductions=[draw.choice([r for r in (1, 2, 4, 8) if side % r == 0]) for side in sides],
        pools=draw.choice([(), (3,), (5,), (3, 5)]),
        layer_scale=draw.random() < 0.5,
        downsample_form=draw.choice(["auto", "residual", "plain"]),
    )


DRAWN: dict[str, Callable[[random.Random], PyramidArchitecture]] = {"bhvit": _bhvit, "binaryvit": _binaryvit}
FAMILIES = tuple(DRAWN)
