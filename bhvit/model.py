"""BHViT as a `torch.nn.Module`: from an architecture and a precision plan to logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from bhvit.architecture import FIRST_ATTENTION_STAGE, ArchitectureConfig
from bhvit.blocks import Attention, Block, Downsample, Head, Stem, TokenMixer
from bhvit.blocks.stem import IMAGE_CHANNELS
from bhvit.errors import InvalidInput
from bhvit.layer_terms import HEAD, STEM
from bhvit.layers import QuantConv2d, QuantLinear, norm_factory
from bhvit.precision import Precision, PrecisionPlan, any_quantized

WeightLayer = QuantLinear | QuantConv2d | nn.Linear | nn.Conv2d


class BHViT(nn.Module):
    """Binary hybrid vision transformer (Gao et al., CVPR 2025, arXiv 2503.02394), see `build_model`.

    Keeps what it was built from: `architecture`, `plan`, `layers` (address -> precision, in forward order), `norm`
    and `recu`. Models made by timm (`bhvit.zoo`) also have `pretrained_cfg` and `default_cfg`.
    """

    pretrained_cfg: dict[str, Any]
    default_cfg: dict[str, Any]

    def __init__(
        self, architecture: ArchitectureConfig, plan: PrecisionPlan, norm: str, recu: bool, drop_path_rate: float
    ) -> None:
        super().__init__()
        self.architecture, self.plan, self.norm, self.recu = architecture, plan, norm, recu
        self.layers = plan.resolve(architecture.addresses)
        self.num_classes, self.num_features = architecture.num_classes, architecture.embed_dims[-1]
        rates = iter(torch.linspace(0, drop_path_rate, sum(architecture.depths), device="cpu").tolist())
        make_norm = norm_factory(norm)
        self.stem = Stem(architecture.embed_dims[0], architecture.resolutions[0], make_norm)
        self.downsamples = nn.ModuleList(self._downsample(i) for i in range(1, len(architecture.stages)))
        self.stages = nn.ModuleList(self._stage(i, rates) for i in range(len(architecture.stages)))
        self.head = Head(architecture.embed_dims[-1], architecture.num_classes, make_norm)

    def _downsample(self, i: int) -> Downsample:
        a, precision = self.architecture, self.layers[f"downsample{i}"]
        form = a.form_of_downsample(precision.real_valued, any_quantized(self.layers))
        return Downsample(
            a.embed_dims[i - 1], a.embed_dims[i], a.resolutions[i], precision, form, norm_factory(self.norm)
        )

    def _stage(self, i: int, rates: Iterator[float]) -> nn.ModuleList:
        stage, norm, blocks = self.architecture.stages[i], norm_factory(self.norm), nn.ModuleList()
        for j in range(stage.depth):
            address = f"stage{i}.block{j}"
            mixer: nn.Module
            if i < FIRST_ATTENTION_STAGE:
                mixer = TokenMixer(stage.embed_dim, self.layers[f"{address}.mixer"], norm)
            else:
                mixer = Attention(
                    stage.embed_dim,
                    stage.num_heads,
                    self.architecture.window_size,
                    self.layers[f"{address}.attention"],
                    norm,
                    self.recu,
                )
            mlp_precision = self.layers[f"{address}.mlp"]
            blocks.append(Block(stage, mixer, mlp_precision, norm, self.recu, self.architecture.shifts, next(rates)))
        return blocks

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of `images` (B, 3, S, S)."""
        return self.head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Map (B, r_3, r_3, C_3) after the last stage; raises `InvalidInput` for images of another size."""
        expected = (IMAGE_CHANNELS, self.architecture.image_size, self.architecture.image_size)
        if tuple(images.shape[1:]) != expected:
            raise InvalidInput(
                f"images must be a (batch, {', '.join(map(str, expected))}) tensor for this model, but they are "
                f"{tuple(images.shape)}; resize them, or build the model with another image_size."
            )
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

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that weight decay would harm (timm's name): position embeddings and quantizer scales."""
        kinds = ("position", "alpha", "zero_point", "step")
        return {name for name, _ in self.named_parameters() if name.rpartition(".")[2] in kinds}


def build_model(
    architecture: ArchitectureConfig,
    plan: PrecisionPlan,
    norm: str = "batch",
    recu: bool = True,
    drop_path_rate: float = 0.0,
) -> BHViT:
    """A freshly initialised BHViT; call it with images (B, 3, S, S) for logits (B, classes).

    Latent weights and position embeddings start from a truncated normal of deviation 0.02, norms at the identity,
    LayerScale at 0.1 (0 in shift branches), RPReLU slopes at 0.25, every shift and bias at 0; quantizers of several
    bits and of probabilities take their scales from the first training batch. `norm` is `batch` or `layer`; `recu`
    clamps the gradient of binary linear weights as ReCU does; the rate of stochastic depth rises linearly over the
    blocks from 0 to `drop_path_rate`. Builds under `torch.device("meta")` too.
    Raises `InvalidInput` where the plan does not fit the architecture, for an unknown norm, and for a drop path rate
    outside 0 <= rate < 1.
    """
    if not 0 <= drop_path_rate < 1:
        raise InvalidInput(f"drop_path_rate must be at least 0 and below 1, but it is {drop_path_rate}; use 0 to 0.3.")
    return BHViT(architecture, plan, norm, recu, drop_path_rate)


def modules_by_address(model: BHViT) -> dict[str, tuple[nn.Module, ...]]:
    """The modules that each address, `stem` and `head` stand for, in forward order; together they are the model.

    The norm before a part belongs to the part, the shift branches to the MLP beside which they run: as in the
    cost model.
    """
    modules: dict[str, tuple[nn.Module, ...]] = {STEM: (model.stem,)}
    for i, blocks in enumerate(model.blocks):
        if i:
            modules[f"downsample{i}"] = (model.downsamples[i - 1],)
        kind = "mixer" if i < FIRST_ATTENTION_STAGE else "attention"
        for j, block in enumerate(blocks):
            modules[f"stage{i}.block{j}.{kind}"] = (block.norm_before, block.mixer)
            modules[f"stage{i}.block{j}.mlp"] = (block.norm_after, block.mlp, block.drop_path, block.shifts)
    return {**modules, HEAD: (model.head,)}


def weight_layers(model: BHViT) -> dict[str, list[WeightLayer]]:
    """The convolutions and linear layers of each address, `stem` and `head` included, in forward order."""
    return {
        address: [layer for part in parts for layer in part.modules() if isinstance(layer, WeightLayer)]
        for address, parts in modules_by_address(model).items()
    }


def weight_regularizer(model: BHViT, include_downsampling: bool = True) -> Tensor:
    """Mean over the binary layers of mean ||w| - 1|, which pulls latent weights towards -1 and 1; 0 where none is.

    The released code finds layers by name and misses the downsampling convolutions: `include_downsampling=False`
    reproduces it.
    """
    terms = [
        (layer.weight.abs() - 1).abs().mean()
        for address, layers in weight_layers(model).items()
        for layer in layers
        if _is_binary(layer) and (include_downsampling or not address.startswith("downsample"))
    ]
    return torch.stack(terms).mean() if terms else torch.zeros((), device=model.stem.position.device)


def _is_binary(layer: WeightLayer) -> bool:
    precision: Precision | None = getattr(layer, "precision", None)
    return precision is not None and precision.weight_bits == 1
