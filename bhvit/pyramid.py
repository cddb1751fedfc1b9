"""The frame of the hierarchical families: stem, four stages with downsampling layers between them, head."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, cast

from torch import Tensor, nn

from bhvit.blocks import Block, Downsample, Head, Mlp, Stem
from bhvit.family_model import FamilyModel, drop_path_rates
from bhvit.layer_terms import HEAD, STEM
from bhvit.layers import Branches, norm_factory
from bhvit.precision import Precision, PrecisionPlan, any_quantized
from bhvit.staged import PyramidArchitecture


class Pyramid(FamilyModel):
    """Stages of blocks (`bhvit.blocks.Block`): a token mixer, then an MLP with branches beside it.

    A family says what mixes tokens (`_mixer`). The rate of stochastic depth rises linearly over the blocks from 0 to
    `drop_path_rate`.
    """

    centred_kernels: ClassVar[bool]  # whether binary downsampling kernels are centred (`BinaryWeight`)
    drops_mixer: ClassVar[bool]  # whether stochastic depth drops the token mixer too
    architecture: PyramidArchitecture

    def __init__(
        self, architecture: PyramidArchitecture, plan: PrecisionPlan, norm: str, recu: bool, drop_path_rate: float
    ) -> None:
        super().__init__(architecture, plan, norm, recu)
        self.make_norm, rates = norm_factory(norm), drop_path_rates(architecture, drop_path_rate)
        self.stem = Stem(
            architecture.embed_dims[0], architecture.resolutions[0], self.make_norm, architecture.stem_gelu
        )
        self.downsamples = nn.ModuleList(self._downsample(i) for i in range(1, len(architecture.stages)))
        self.stages = nn.ModuleList(self._stage(i, rates) for i in range(len(architecture.stages)))
        self.head = Head(architecture.embed_dims[-1], architecture.num_classes, self.make_norm)

    @abstractmethod
    def _mixer(self, stage: int, precision: Precision) -> nn.Module:
        """What mixes tokens in a block of this stage: from the normalised map (B, r, r, C) to one of its shape."""

    def _downsample(self, i: int) -> Downsample:
        a, precision = self.architecture, self.layers[f"downsample{i}"]
        form = a.form_of_downsample(precision.real_valued, any_quantized(self.layers))
        return Downsample(
            *(a.embed_dims[i - 1], a.embed_dims[i], a.resolutions[i], precision, form, self.make_norm),
            centred=self.centred_kernels,
        )

    def _stage(self, i: int, rates: Iterator[float]) -> nn.ModuleList:
        return nn.ModuleList(self._block(i, j, next(rates)) for j in range(self.architecture.depths[i]))

    def _block(self, i: int, j: int, drop_path_rate: float) -> Block:
        a = self.architecture
        stage, (mixing, _) = a.stages[i], a.block_parts(i)
        mixer = self._mixer(i, self.layers[f"stage{i}.block{j}.{mixing}"])
        precision = self.layers[f"stage{i}.block{j}.mlp"]
        mlp = Mlp(stage.embed_dim, stage.intermediate_dim, precision, self.make_norm, self.recu, a.has_layer_scale)
        branches = Branches(stage.embed_dim, a.branches, a.branch_directions, circular=a.circular_branches)
        return Block(
            *(stage.embed_dim, mixer, mlp, branches, self.make_norm, drop_path_rate),
            drops_mixer=self.drops_mixer,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of `images` (B, 3, S, S)."""
        return self.head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Map (B, r_3, r_3, C_3) after the last stage; raises `InvalidInput` for images of another size."""
        self.require_images(images)
        h = self.stem(images)
        for i, blocks in enumerate(self.blocks):
            if i:
                h = self.downsamples[i - 1](h)
            for block in blocks:
                h = block(h)
        return h

    @property
    def blocks(self) -> list[list[Block]]:
        """The blocks of each stage."""
        return [[cast(Block, block) for block in cast(nn.ModuleList, stage)] for stage in self.stages]

    def get_classifier(self) -> nn.Module:
        """The last linear layer (timm's name)."""
        return self.head.linear

    def modules_by_address(self) -> dict[str, tuple[nn.Module, ...]]:
        """See `FamilyModel`; branches belong to the MLP beside which they run."""
        modules: dict[str, tuple[nn.Module, ...]] = {STEM: (self.stem,)}
        for i, blocks in enumerate(self.blocks):
            if i:
                modules[f"downsample{i}"] = (self.downsamples[i - 1],)
            mixing, _ = self.architecture.block_parts(i)
            for j, block in enumerate(blocks):
                modules[f"stage{i}.block{j}.{mixing}"] = (block.norm_before, block.mixer, block.mixer_drop_path)
                modules[f"stage{i}.block{j}.mlp"] = (block.norm_after, block.mlp, block.drop_path, block.shifts)
        return {**modules, HEAD: (self.head,)}

    def dropped_from(self, parent: nn.Module) -> set[str]:
        """The residual path of downsampling layers that this model has in plain form."""
        theirs = dict(parent.named_modules())
        return {
            f"{path}.{name}"
            for path, module in self.named_modules()
            if isinstance(module, Downsample) and isinstance(theirs.get(path), Downsample)
            for name in theirs[path].state_dict().keys() - module.state_dict().keys()
        }
