"""BHViT as a `torch.nn.Module`: from an architecture and a precision plan to logits."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from bhvit.architecture import FIRST_ATTENTION_STAGE, ArchitectureConfig
from bhvit.bhvit_names import prefixes
from bhvit.blocks import TokenMixer, WindowAttention
from bhvit.precision import Precision
from bhvit.pyramid import Pyramid
from bhvit.released_names import Names


class BHViT(Pyramid):
    """Binary hybrid vision transformer (Gao et al., CVPR 2025, arXiv 2503.02394).

    Latent weights and position embeddings start from a truncated normal of deviation 0.02, norms at the identity,
    LayerScale at 0.1 (0 in shift branches), RPReLU slopes at 0.25, every shift and bias at 0; quantizers of several
    bits and of probabilities take their scales from the first training batch. ReCU acts on linear weights alone.
    Arguments and errors are those of `bhvit.family_model.FamilyModel`.
    """

    centred_kernels, drops_mixer = True, False
    architecture: ArchitectureConfig

    def _mixer(self, stage: int, precision: Precision) -> nn.Module:
        s = self.architecture.stages[stage]
        if stage < FIRST_ATTENTION_STAGE:
            return TokenMixer(s.embed_dim, precision, self.make_norm)
        window = self.architecture.window_size
        return WindowAttention(s.embed_dim, s.num_heads, window, precision, self.make_norm, self.recu)

    def released_prefixes(self) -> Iterator[Names]:
        """Names in the released checkpoints."""
        return prefixes(self.architecture)


build_model = BHViT  # the name that the README gives
