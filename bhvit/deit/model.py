"""DeiT as a `torch.nn.Module`: timm's vision transformer in the frame of the families."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from bhvit import released_names as names
from bhvit.deit.architecture import PATCH, DeiTConfig
from bhvit.family_model import FamilyModel, drop_path_rates
from bhvit.layer_terms import HEAD, STEM
from bhvit.layers import DropPath
from bhvit.precision import PrecisionPlan
from bhvit.released_names import Names


class ClassTokenStem(nn.Module):
    """A class token before the embedded patches, plus a position embedding (1, 1 + r * r, C)."""

    def __init__(self, network: VisionTransformer) -> None:
        super().__init__()
        assert network.cls_token is not None
        assert network.pos_embed is not None
        self.patches, self.class_token, self.position = network.patch_embed, network.cls_token, network.pos_embed

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (B, 1 + r * r, C) of `images` (B, 3, S, S)."""
        patches = self.patches(images)
        return torch.cat((self.class_token.expand(len(patches), -1, -1), patches), dim=1) + self.position


class ClassTokenHead(nn.Module):
    """Linear(norm(class token))."""

    def __init__(self, network: VisionTransformer) -> None:
        super().__init__()
        self.norm, self.linear = network.norm, network.head

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, classes) of `tokens` (B, 1 + r * r, C)."""
        return self.linear(self.norm(tokens[:, 0]))


class DeiT(FamilyModel):
    """DeiT without distillation token (Touvron et al., ICML 2021, arXiv 2012.12877).

    Initial values are timm's, which are the released ones; `recu` has nothing to act on, and a plan that quantizes does
    not fit. Arguments and errors are those of `bhvit.family_model.FamilyModel`.
    """

    architecture: DeiTConfig

    def __init__(
        self,
        architecture: DeiTConfig,
        plan: PrecisionPlan,
        norm: str | None = None,
        recu: bool | None = None,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(architecture, plan, norm, recu)
        (stage,) = architecture.stages
        network = VisionTransformer(
            img_size=architecture.image_size,
            patch_size=PATCH,
            num_classes=architecture.num_classes,
            embed_dim=stage.embed_dim,
            depth=stage.depth,
            num_heads=stage.num_heads,
            mlp_ratio=(stage.intermediate_dim + 0.5) / stage.embed_dim,  # timm rounds the product down
        )
        self.stem, self.head = ClassTokenStem(network), ClassTokenHead(network)
        self.blocks: nn.Sequential = network.blocks
        for block, rate in zip(self.blocks, drop_path_rates(architecture, drop_path_rate), strict=True):
            block.drop_path1, block.drop_path2 = DropPath(rate), DropPath(rate)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of `images` (B, 3, S, S); raises `InvalidInput` for images of another size."""
        self.require_images(images)
        return self.head(self.blocks(self.stem(images)))

    def get_classifier(self) -> nn.Module:
        """The last linear layer (timm's name)."""
        return self.head.linear

    def no_weight_decay(self) -> set[str]:
        """Also the class token, as in timm."""
        return super().no_weight_decay() | {"stem.class_token"}

    def modules_by_address(self) -> dict[str, tuple[nn.Module, ...]]:
        """See `FamilyModel`."""
        modules: dict[str, tuple[nn.Module, ...]] = {STEM: (self.stem,)}
        for j, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            modules[f"stage0.block{j}.attention"] = (block.norm1, block.attn, block.ls1, block.drop_path1)
            modules[f"stage0.block{j}.mlp"] = (block.norm2, block.mlp, block.ls2, block.drop_path2)
        return {**modules, HEAD: (self.head,)}

    def released_prefixes(self) -> Iterator[Names]:
        """Names in the released checkpoints, which are timm's."""
        yield from names.same("stem.patches", "patch_embed")
        yield from names.same("stem.class_token", "cls_token")
        yield from names.same("stem.position", "pos_embed")
        yield from names.same("blocks", "blocks")
        yield from names.same("head.norm", "norm")
        yield from names.same("head.linear", "head")
