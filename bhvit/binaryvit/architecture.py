"""The shape of a BinaryViT: widths, depths, heads, spatial reductions and image size; no precision, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bhvit.errors import InvalidInput
from bhvit.staged import (
    BRANCH_RADII,
    PyramidArchitecture,
    StageConfig,
    require_bool,
    require_branches,
    require_downsample_form,
    require_heads,
    require_multiple,
    require_positive,
    require_stages,
    require_whole_list,
)


@dataclass(frozen=True)
class BinaryViTConfig(PyramidArchitecture):
    """A BinaryViT without its precisions.

    `reductions` are the sides R of the patches whose averages become keys and values, one a stage; `pools` the sizes
    of the pooling branches beside the MLP (`avg_res3`, `avg_res5`); `layer_scale` says whether attention and MLP end in
    one.
    Raises `InvalidInput` where the architecture does not allow the values.
    """

    title: ClassVar[str] = "BinaryViT"
    stem_gelu: ClassVar[bool] = False
    branch_directions: ClassVar[tuple[str, ...]] = ("height", "width")
    circular_branches: ClassVar[bool] = False

    stages: tuple[StageConfig, ...]
    image_size: int = 224
    num_classes: int = 37
    reductions: tuple[int, ...] = (8, 4, 1, 1)
    pools: tuple[int, ...] = (3, 5)
    layer_scale: bool = True
    downsample_form: str = "auto"

    def __post_init__(self) -> None:
        _validate(self)

    @property
    def branches(self) -> Mapping[int, int]:
        """The average pools."""
        return {size: BRANCH_RADII[size] for size in self.pools}

    @property
    def has_layer_scale(self) -> bool:
        """As the field says."""
        return self.layer_scale

    def block_parts(self, stage: int) -> tuple[str, ...]:
        """Attention and MLP."""
        return ("attention", "mlp")


def _validate(a: BinaryViTConfig) -> None:
    require_stages(a)
    for i in range(len(a.stages)):
        require_heads(a, i)
    require_multiple("image_size", a.image_size, a.last_stride)
    require_whole_list("reductions", a.reductions)
    if len(a.reductions) != len(a.stages):
        raise InvalidInput(
            f"reductions must have {len(a.stages)} numbers, one a stage, but they are {list(a.reductions)}."
        )
    for i, (reduction_ratio, side) in enumerate(zip(a.reductions, a.resolutions, strict=True)):
        require_positive(f"stage {i} reduction", reduction_ratio)
        if side % reduction_ratio:
            divisors = ", ".join(str(d) for d in range(1, side + 1) if side % d == 0)
            raise InvalidInput(
                f"reductions must divide the side of their stage's map, but stage {i} has {reduction_ratio} and a side "
                f"of {side}; use one of {divisors}, or another image_size."
            )
    require_branches(a, "pools")
    require_bool("layer_scale", a.layer_scale)
    require_downsample_form(a)


SMALL = BinaryViTConfig.from_lists(
    (64, 128, 256, 512), (512, 1024, 1024, 2048), depths=(3, 4, 8, 4), num_heads=(1, 2, 4, 8)
)
PRESETS = {"small": SMALL}
