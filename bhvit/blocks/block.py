"""One block: token mixing, then channel mixing beside the shift branches."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bhvit.architecture import StageConfig
from bhvit.blocks.mlp import Mlp
from bhvit.layers import DropPath, NormFactory, ShiftBranches
from bhvit.precision import Precision


class Block(nn.Module):
    """u = norm_before(h); h1 = h + mixer(u); v = norm_after(h1); out = h1 + DropPath(mlp(v)) + shifts(v).

    `mixer` is a `TokenMixer` or an `Attention`. upstream: `layerA.<i>` and `layerB.<i>`.
    """

    def __init__(
        self,
        stage: StageConfig,
        mixer: nn.Module,
        mlp_precision: Precision,
        norm: NormFactory,
        recu: bool,
        shifts: Sequence[int],
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        self.norm_before = norm(stage.embed_dim)
        self.mixer = mixer
        self.norm_after = norm(stage.embed_dim)
        self.mlp = Mlp(stage.embed_dim, stage.intermediate_dim, mlp_precision, norm, recu)
        self.drop_path = DropPath(drop_path_rate)
        self.shifts = ShiftBranches(stage.embed_dim, shifts)

    def forward(self, h: Tensor) -> Tensor:
        """Map of the shape of `h` (B, r, r, C)."""
        h = h + self.mixer(self.norm_before(h))
        v = self.norm_after(h)
        return h + self.drop_path(self.mlp(v)) + self.shifts(v)
