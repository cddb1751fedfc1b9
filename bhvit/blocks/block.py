"""One block: token mixing, then channel mixing beside the shift branches."""

from __future__ import annotations

from torch import Tensor, nn

from bhvit.blocks.mlp import Mlp
from bhvit.layers import Branches, DropPath, NormFactory


class Block(nn.Module):
    """u = norm_before(h); h1 = h + mixer(u); v = norm_after(h1); out = h1 + DropPath(mlp(v)) + shifts(v).

    `mixer` is a `TokenMixer` or an attention; `shifts` are the branches beside the MLP, which in BinaryViT are average
    pools (weight files have the name of BHViT's). With `drops_mixer` stochastic depth drops the mixer's part too.
    upstream: `layerA.<i>` and `layerB.<i>` (BHViT), `vit.encoder.layer.<n>` with n counted over the blocks of all
    stages (BinaryViT).
    """

    def __init__(
        self,
        channels: int,
        mixer: nn.Module,
        mlp: Mlp,
        branches: Branches,
        norm: NormFactory,
        drop_path_rate: float,
        drops_mixer: bool = False,
    ) -> None:
        super().__init__()
        self.norm_before = norm(channels)
        self.mixer = mixer
        self.norm_after = norm(channels)
        self.mlp = mlp
        self.drop_path = DropPath(drop_path_rate)
        self.mixer_drop_path = DropPath(drop_path_rate if drops_mixer else 0)
        self.shifts = branches

    def forward(self, h: Tensor) -> Tensor:
        """Map of the shape of `h` (B, r, r, C)."""
        h = h + self.mixer_drop_path(self.mixer(self.norm_before(h)))
        v = self.norm_after(h)
        return h + self.drop_path(self.mlp(v)) + self.shifts(v)
