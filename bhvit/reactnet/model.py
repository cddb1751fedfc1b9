"""ReActNet as a `torch.nn.Module`: from an architecture and a precision plan to logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from bhvit.blocks import Head
from bhvit.family_model import FamilyModel, drop_path_rates
from bhvit.layer_terms import HEAD, STEM
from bhvit.layers import norm_factory
from bhvit.precision import PrecisionPlan
from bhvit.reactnet.architecture import ReActNetConfig
from bhvit.reactnet.blocks import BasicBlock, ResNetStem, Shortcut


class ReActNet(FamilyModel):
    """ReActNet in the form of a ResNet (Liu et al., ECCV 2020, arXiv 2003.03488), see `build_model`."""

    architecture: ReActNetConfig

    def __init__(
        self, architecture: ReActNetConfig, plan: PrecisionPlan, norm: str, recu: bool, drop_path_rate: float
    ) -> None:
        super().__init__(architecture, plan, norm, recu)
        self.make_norm, rates = norm_factory(norm), drop_path_rates(architecture, drop_path_rate)
        dims = architecture.embed_dims
        self.stem = ResNetStem(dims[0], self.make_norm)
        self.downsamples = nn.ModuleList(
            Shortcut(dims[i - 1], dims[i], self.layers[f"downsample{i}"], self.make_norm, recu)
            for i in range(1, len(dims))
        )
        self.stages = nn.ModuleList(self._stage(i, rates) for i in range(len(dims)))
        self.head = Head(dims[-1], architecture.num_classes, lambda channels: nn.Identity())

    def _stage(self, i: int, rates: Iterator[float]) -> nn.ModuleList:
        return nn.ModuleList(self._block(i, j, next(rates)) for j in range(self.architecture.depths[i]))

    def _block(self, i: int, j: int, drop_path_rate: float) -> BasicBlock:
        stage, halves = self.architecture.stages[i], _halves(i, j)
        first, second = (self.layers[f"stage{i}.block{j}.{part}"] for part in self.architecture.block_parts(i))
        return BasicBlock(
            self.architecture.embed_dims[i - halves],
            stage.intermediate_dim,
            stage.embed_dim,
            2 if halves else 1,
            (first, second),
            self.make_norm,
            self.recu,
            drop_path_rate,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of `images` (B, 3, S, S)."""
        return self.head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Map (B, r_3, r_3, C_3) after the last stage; raises `InvalidInput` for images of another size."""
        self.require_images(images)
        h = self.stem(images)
        for i, blocks in enumerate(self.blocks):
            for j, block in enumerate(blocks):
                h = block(h, self.downsamples[i - 1](h) if _halves(i, j) else h)
        return h

    @property
    def blocks(self) -> list[list[BasicBlock]]:
        """The blocks of each stage."""
        return [[cast(BasicBlock, block) for block in cast(nn.ModuleList, stage)] for stage in self.stages]

    def get_classifier(self) -> nn.Module:
        """The last linear layer (timm's name)."""
        return self.head.linear

    def modules_by_address(self) -> dict[str, tuple[nn.Module, ...]]:
        """See `FamilyModel`."""
        modules: dict[str, tuple[nn.Module, ...]] = {STEM: (self.stem,)}
        for i, blocks in enumerate(self.blocks):
            if i:
                modules[f"downsample{i}"] = (self.downsamples[i - 1],)
            for j, block in enumerate(blocks):
                modules[f"stage{i}.block{j}.conv0"] = (block.conv0,)
                modules[f"stage{i}.block{j}.conv1"] = (block.conv1,)
        return {**modules, HEAD: (self.head,)}


def _halves(stage: int, block: int) -> bool:
    """Whether a block halves the side of its map: the first of every stage but the first."""
    return stage > 0 and block == 0


def build_model(
    architecture: ReActNetConfig,
    plan: PrecisionPlan,
    norm: str = "batch",
    recu: bool = False,
    drop_path_rate: float = 0.0,
) -> ReActNet:
    """A freshly initialised ReActNet; call it with images (B, 3, S, S) for logits (B, classes).

    Latent weights start from a truncated normal of deviation 0.02, the stem as in ResNet, norms at the identity, RPReLU
    slopes at 0.25, every shift and bias at 0; quantizers of several bits take their scales from the first training
    batch. The published network has real-valued `downsample*` and binary layers elsewhere. `norm` is `batch` or
    `layer`; `recu` clamps the gradient of binary weights as ReCU does, which the published training lacks; the rate of
    stochastic depth of both convolutions of a block rises linearly over the blocks from 0 to `drop_path_rate`.
    Builds under `torch.device("meta")` too.
    Raises `InvalidInput` where the plan does not fit the architecture, for an unknown norm, and for a drop path rate
    outside 0 <= rate < 1.
    """
    return ReActNet(architecture, plan, norm, recu, drop_path_rate)
