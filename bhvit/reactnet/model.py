"""ReActNet as a `torch.nn.Module`: from an architecture and a precision plan to logits."""

from __future__ import annotations

from torch import Tensor, nn

from bhvit.blocks import Head
from bhvit.reactnet.architecture import ReActNetConfig
from bhvit.reactnet.blocks import BasicBlock, ResNetStem, Shortcut
from bhvit.staged_model import StagedModel


class ReActNet(StagedModel[BasicBlock]):
    """ReActNet in the form of a ResNet (Liu et al., ECCV 2020, arXiv 2003.03488).

    Latent weights start from a truncated normal of deviation 0.02, the stem as in ResNet, norms at the identity, RPReLU
    slopes at 0.25, every shift and bias at 0; quantizers of several bits take their scales from the first training
    batch. The published network has real-valued `downsample*` and binary layers elsewhere, and its training no ReCU.
    Both convolutions of a block are dropped at its rate of stochastic depth.
    Arguments and errors are those of `bhvit.family_model.FamilyModel`.
    """

    architecture: ReActNetConfig

    def _stem(self) -> ResNetStem:
        return ResNetStem(self.architecture.embed_dims[0], self.make_norm)

    def _downsample(self, i: int) -> Shortcut:
        dims, precision = self.architecture.embed_dims, self.layers[f"downsample{i}"]
        return Shortcut(dims[i - 1], dims[i], precision, self.make_norm, self.recu)

    def _block(self, i: int, j: int, drop_path_rate: float) -> BasicBlock:
        stage, halves = self.architecture.stages[i], self.architecture.halves(i, j)
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

    def _parts(self, block: BasicBlock) -> tuple[tuple[nn.Module, ...], ...]:
        return (block.conv0,), (block.conv1,)

    def _head(self) -> Head:
        return Head(self.architecture.embed_dims[-1], self.architecture.num_classes, lambda channels: nn.Identity())

    def forward_features(self, images: Tensor) -> Tensor:
        """Map (B, r_3, r_3, C_3) after the last stage; raises `InvalidInput` for images of another size."""
        self.require_images(images)
        h = self.stem(images)
        for i, blocks in enumerate(self.blocks):
            for j, block in enumerate(blocks):
                h = block(h, self.downsamples[i - 1](h) if self.architecture.halves(i, j) else h)
        return h
