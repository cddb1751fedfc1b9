"""The shape of a ReActNet: widths, depths and image size, validated; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bhvit.errors import InvalidInput
from bhvit.staged import HalvingArchitecture, StageConfig, require_multiple, require_stages

STEM_KERNEL, POOL_KERNEL, KERNEL = 7, 3, 3  # sides: of the stem's convolution and maximum, of a block's convolutions


@dataclass(frozen=True)
class ReActNetConfig(HalvingArchitecture):
    """A ReActNet in the form of a ResNet of basic blocks (Liu et al., ECCV 2020, arXiv 2003.03488).

    A block is two 3x3 convolutions, C -> I and I -> C, each with a shortcut of its own; I = C is the published one, and
    elsewhere shortcuts are tiled and averaged as beside the MLP of BHViT. There are no heads: `num_heads` is 1.
    Raises `InvalidInput` where the architecture does not allow the values.
    """

    title: ClassVar[str] = "ReActNet"

    stages: tuple[StageConfig, ...]
    image_size: int = 224
    num_classes: int = 37

    def __post_init__(self) -> None:
        require_stages(self)
        if set(self.num_heads) != {1}:
            raise InvalidInput(
                f"num_heads must be 1 in every stage of a {self.title}, which has no attention, but they are "
                f"{list(self.num_heads)}."
            )
        require_multiple("image_size", self.image_size, self.last_stride)

    def block_parts(self, stage: int) -> tuple[str, ...]:
        """The two convolutions."""
        return ("conv0", "conv1")

    def halves(self, stage: int, block: int) -> bool:
        """Whether a block halves the side of its map: the first of every stage but the first."""
        return stage > 0 and block == 0


_WIDTHS = (64, 128, 256, 512)
RESNET18 = ReActNetConfig.from_lists(_WIDTHS, _WIDTHS, depths=(2, 2, 2, 2), num_heads=(1, 1, 1, 1))
PRESETS = {"resnet18": RESNET18}
