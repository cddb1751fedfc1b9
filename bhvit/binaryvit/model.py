"""BinaryViT as a `torch.nn.Module`: from an architecture and a precision plan to logits."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from bhvit.binaryvit.architecture import BinaryViTConfig
from bhvit.binaryvit.names import prefixes
from bhvit.blocks import GlobalAttention
from bhvit.precision import Precision
from bhvit.pyramid import Pyramid
from bhvit.released_names import Names


class BinaryViT(Pyramid):
    """BinaryViT (Le & Li, CVPR Workshops 2023, arXiv 2306.16678).

    Arguments, initial values and errors are those of `bhvit.model.BHViT`, but for the level of one-bit probabilities,
    which starts at 0.005, as released, and is set by no batch. The released code has no ReCU, and leaves weights at
    PyTorch's defaults.
    """

    centred_kernels, drops_mixer = False, True
    architecture: BinaryViTConfig

    def _mixer(self, stage: int, precision: Precision) -> nn.Module:
        a, s = self.architecture, self.architecture.stages[stage]
        return GlobalAttention(
            channels=s.embed_dim,
            num_heads=s.num_heads,
            reduction_ratio=a.reductions[stage],
            precision=precision,
            norm=self.make_norm,
            recu=self.recu,
            layer_scale=a.layer_scale,
        )

    def released_prefixes(self) -> Iterator[Names]:
        """Names in the released checkpoints."""
        return prefixes(self.architecture)
