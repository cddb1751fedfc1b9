"""The frame of the families whose maps halve: stem, stages of blocks with a downsampling layer between them, head."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar, cast

from torch import Tensor, nn

from bhvit.blocks import Head
from bhvit.family_model import FamilyModel, drop_path_rates
from bhvit.layer_terms import DOWNSAMPLE, HEAD, STEM
from bhvit.layers import norm_factory
from bhvit.precision import PrecisionPlan
from bhvit.staged import HalvingArchitecture

BlockT = TypeVar("BlockT", bound=nn.Module)


class StagedModel(FamilyModel, Generic[BlockT]):
    """Stages of blocks; a family says what each of its modules is and how a batch goes through them."""

    def __init__(
        self,
        architecture: HalvingArchitecture,
        plan: PrecisionPlan,
        norm: str | None = None,
        recu: bool | None = None,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(architecture, plan, norm, recu)
        self.make_norm, rates = norm_factory(self.norm), drop_path_rates(architecture, drop_path_rate)
        self.stem = self._stem()
        self.downsamples = nn.ModuleList(self._downsample(i) for i in range(1, len(architecture.stages)))
        self.stages = nn.ModuleList(self._stage(i, rates) for i in range(len(architecture.stages)))
        self.head = self._head()

    @abstractmethod
    def _stem(self) -> nn.Module:
        """From images (B, 3, S, S) to the map (B, r_0, r_0, C_0)."""

    @abstractmethod
    def _downsample(self, i: int) -> nn.Module:
        """What leads into stage i."""

    @abstractmethod
    def _block(self, i: int, j: int, drop_path_rate: float) -> BlockT:
        """Block j of stage i."""

    @abstractmethod
    def _parts(self, block: BlockT) -> tuple[tuple[nn.Module, ...], ...]:
        """The modules of each part of a block that has a precision, in the order of `Architecture.block_parts`."""

    @abstractmethod
    def _head(self) -> Head:
        """From the last map to logits."""

    def _stage(self, i: int, rates: Iterator[float]) -> nn.ModuleList:
        return nn.ModuleList(self._block(i, j, next(rates)) for j in range(self.architecture.depths[i]))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of `images` (B, 3, S, S)."""
        return self.head(self.forward_features(images))

    @abstractmethod
    def forward_features(self, images: Tensor) -> Tensor:
        """Map (B, r_3, r_3, C_3) after the last stage; raises `InvalidInput` for images of another size."""

    @property
    def blocks(self) -> list[list[BlockT]]:
        """The blocks of each stage."""
        return [[cast(BlockT, block) for block in cast(nn.ModuleList, stage)] for stage in self.stages]

    def get_classifier(self) -> nn.Module:
        """The last linear layer (timm's name)."""
        return self.head.linear

    def modules_by_address(self) -> dict[str, tuple[nn.Module, ...]]:
        """See `FamilyModel`."""
        modules: dict[str, tuple[nn.Module, ...]] = {STEM: (self.stem,)}
        for i, blocks in enumerate(self.blocks):
            if i:
                modules[f"{DOWNSAMPLE}{i}"] = (self.downsamples[i - 1],)
            for j, block in enumerate(blocks):
                for part, its_modules in zip(self.architecture.block_parts(i), self._parts(block), strict=True):
                    modules[f"stage{i}.block{j}.{part}"] = its_modules
        return {**modules, HEAD: (self.head,)}
