"""The shape of a BHViT: widths, depths, heads and image size, validated; nothing here knows precision or torch.

Letters as in `docs/conventions.md`; g is the window side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bhvit.errors import InvalidInput
from bhvit.staged import (
    BRANCH_RADII,
    PyramidArchitecture,
    StageConfig,
    require_branches,
    require_downsample_form,
    require_heads,
    require_positive,
    require_stages,
)

MIXER_GROUPS = 4  # groups of the MSGDC convolutions; the channel-quarter shifts need the same divisibility
DILATIONS = (1, 3, 5)  # of the MSGDC convolutions, one branch each
MIXER_TAPS = 9  # of their kernels, 3 x 3
FIRST_ATTENTION_STAGE = 2
WINDOWS = (7, 5, 3, 1)  # sides to choose from, best first: 7 is the published one


@dataclass(frozen=True)
class ArchitectureConfig(PyramidArchitecture):
    """A BHViT without its precisions (Gao et al., CVPR 2025).

    `shifts` names the shift branches that exist (3: radius 1, 5: radius 2). `downsample_form` is `residual`, `plain`
    or `auto` (see `form_of_downsample`).
    Raises `InvalidInput` where the architecture does not allow the values.
    """

    title: ClassVar[str] = "BHViT"
    stem_gelu: ClassVar[bool] = True
    branch_directions: ClassVar[tuple[str, ...]] = ("height", "width", "quarters")
    circular_branches: ClassVar[bool] = True
    released_with_recu: ClassVar[bool] = True

    stages: tuple[StageConfig, ...]
    image_size: int = 224
    window_size: int = 7
    num_classes: int = 37
    shifts: tuple[int, ...] = (3, 5)
    downsample_form: str = "auto"

    def __post_init__(self) -> None:
        _validate(self)

    @classmethod
    def options_at(cls, image_size: int) -> dict[str, Any]:
        """The largest of `WINDOWS` that the image size allows (224 -> 7, 160 -> 5, 96 -> 3, 64 -> 1)."""
        return {"window_size": _fitting(image_size)[0]}

    @property
    def branches(self) -> Mapping[int, int]:
        """The shift branches."""
        return {name: BRANCH_RADII[name] for name in self.shifts}

    def block_parts(self, stage: int) -> tuple[str, ...]:
        """Token mixer or attention, and MLP."""
        return ("attention" if stage >= FIRST_ATTENTION_STAGE else "mixer", "mlp")

    def width_step(self, stage: int) -> int:
        """lcm(4, H_i), which groups and heads need."""
        return math.lcm(MIXER_GROUPS, self.stages[stage].num_heads)


def _fitting(image_size: int) -> list[int]:
    """The `WINDOWS` into which the last map falls, best first."""
    side = image_size // ArchitectureConfig.last_stride
    return [window for window in WINDOWS if side % window == 0]


def _validate(a: ArchitectureConfig) -> None:
    require_stages(a)
    for i, s in enumerate(a.stages):
        if s.embed_dim % MIXER_GROUPS:
            raise InvalidInput(
                f"embed_dim must be a multiple of {MIXER_GROUPS} (convolution groups, channel quarters), but stage {i} "
                f"has embed_dim={s.embed_dim}; use {MIXER_GROUPS * max(1, round(s.embed_dim / MIXER_GROUPS))}."
            )
        if i >= FIRST_ATTENTION_STAGE:
            require_heads(a, i)
    require_positive("window_size", a.window_size)
    if a.window_size % 2 == 0:
        fitting = ", ".join(str(window) for window in sorted(_fitting(a.image_size)))
        raise InvalidInput(f"window_size must be odd, but it is {a.window_size}; use one of {fitting}.")
    unit = a.last_stride * a.window_size
    if a.image_size % unit:
        nearest = unit * max(1, round(a.image_size / unit))
        raise InvalidInput(
            f"image_size must be a multiple of 32 * window_size = {unit}, but it is {a.image_size}; "
            f"use {nearest}, or another window_size (image_size / 32 / window_size must be whole)."
        )
    require_branches(a, "shifts")
    require_downsample_form(a)


_TINY_WIDTHS = ((64, 128, 256, 512), (512, 1024, 1024, 2048))
TINY = ArchitectureConfig.from_lists(*_TINY_WIDTHS, depths=(2, 2, 6, 2), num_heads=(1, 1, 4, 8))
SMALL = ArchitectureConfig.from_lists(*_TINY_WIDTHS, depths=(3, 4, 8, 4), num_heads=(1, 1, 4, 8))
PRESETS = {"tiny": TINY, "small": SMALL}
