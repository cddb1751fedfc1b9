"""The shape of a DeiT: width, depth, heads and image size, validated; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bhvit.staged import Architecture, StageConfig, require_heads, require_multiple, require_stages

PATCH = 16


@dataclass(frozen=True)
class DeiTConfig(Architecture):
    """A DeiT without distillation token (Touvron et al., ICML 2021, arXiv 2012.12877).

    One stage of tokens from patches of 16 x 16 pixels, behind a class token. A width factor keeps the number of heads.
    Its layers are real-valued and its norm is a layer norm.
    Raises `InvalidInput` where the architecture does not allow the values.
    """

    title: ClassVar[str] = "DeiT"
    stage_count: ClassVar[int] = 1
    norms: ClassVar[tuple[str, ...]] = ("layer",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16")

    stages: tuple[StageConfig, ...]
    image_size: int = 224
    num_classes: int = 37

    def __post_init__(self) -> None:
        require_stages(self)
        require_heads(self, 0)
        require_multiple("image_size", self.image_size, PATCH)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Patches a side."""
        return (self.image_size // PATCH,)

    def block_parts(self, stage: int) -> tuple[str, ...]:
        """Attention and MLP."""
        return ("attention", "mlp")


TINY = DeiTConfig.from_lists([192], [768], [12], [3])
SMALL = DeiTConfig.from_lists([384], [1536], [12], [6])
PRESETS = {"tiny": TINY, "small": SMALL}
