"""The frame of BHViT and BinaryViT: blocks of a token mixer and an MLP, downsampling layers of two forms."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from bhvit.blocks import Block, Downsample, Head, Mlp, Stem
from bhvit.layers import Branches
from bhvit.precision import Precision, any_quantized
from bhvit.staged import PyramidArchitecture
from bhvit.staged_model import StagedModel


class Pyramid(StagedModel[Block]):
    """Stages of blocks (`bhvit.blocks.Block`): a token mixer, then an MLP with branches beside it.

    A family says what mixes tokens (`_mixer`).
    """

    centred_kernels: ClassVar[bool]  # whether binary downsampling kernels are centred (`BinaryWeight`)
    drops_mixer: ClassVar[bool]  # whether stochastic depth drops the token mixer too
    architecture: PyramidArchitecture
    stem: Stem

    @abstractmethod
    def _mixer(self, stage: int, precision: Precision) -> nn.Module:
        """What mixes tokens in a block of this stage: from the normalised map (B, r, r, C) to one of its shape."""

    def _stem(self) -> Stem:
        a = self.architecture
        return Stem(a.embed_dims[0], a.resolutions[0], self.make_norm, a.stem_gelu)

    def _downsample(self, i: int) -> Downsample:
        a, precision = self.architecture, self.layers[f"downsample{i}"]
        return Downsample(
            in_channels=a.embed_dims[i - 1],
            out_channels=a.embed_dims[i],
            side=a.resolutions[i],
            precision=precision,
            form=a.form_of_downsample(precision.real_valued, any_quantized(self.layers)),
            norm=self.make_norm,
            centred=self.centred_kernels,
        )

    def _block(self, i: int, j: int, drop_path_rate: float) -> Block:
        a = self.architecture
        stage, (mixing, _) = a.stages[i], a.block_parts(i)
        mixer = self._mixer(i, self.layers[f"stage{i}.block{j}.{mixing}"])
        precision = self.layers[f"stage{i}.block{j}.mlp"]
        return Block(
            channels=stage.embed_dim,
            mixer=mixer,
            mlp=Mlp(stage.embed_dim, stage.intermediate_dim, precision, self.make_norm, self.recu, a.has_layer_scale),
            branches=Branches(stage.embed_dim, a.branches, a.branch_directions, circular=a.circular_branches),
            norm=self.make_norm,
            drop_path_rate=drop_path_rate,
            drops_mixer=self.drops_mixer,
        )

    def _parts(self, block: Block) -> tuple[tuple[nn.Module, ...], ...]:
        """Branches belong to the MLP beside which they run."""
        return (
            (block.norm_before, block.mixer, block.mixer_drop_path),
            (block.norm_after, block.mlp, block.drop_path, block.shifts),
        )

    def _head(self) -> Head:
        return Head(self.architecture.embed_dims[-1], self.architecture.num_classes, self.make_norm)

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

    def dropped_from(self, parent: nn.Module) -> set[str]:
        """The residual path of downsampling layers that this model has in plain form."""
        theirs = dict(parent.named_modules())
        return {
            f"{path}.{name}"
            for path, module in self.named_modules()
            if isinstance(module, Downsample) and isinstance(theirs.get(path), Downsample)
            for name in theirs[path].state_dict().keys() - module.state_dict().keys()
        }
