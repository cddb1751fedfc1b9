"""What training, storing and exporting know of a model, whichever family it is of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bhvit.errors import InvalidInput
from bhvit.layer_terms import DOWNSAMPLE
from bhvit.layers import QuantConv2d, QuantLinear
from bhvit.precision import Precision, PrecisionPlan
from bhvit.quantizers import QUANTIZERS
from bhvit.released_names import Names
from bhvit.staged import IMAGE_CHANNELS, Architecture, require_bool

WeightLayer = QuantLinear | QuantConv2d | nn.Linear | nn.Conv2d


class FamilyModel(nn.Module):
    """A network of any family, freshly initialised: images (B, 3, S, S) to logits (B, classes).

    `norm` is one of the family's (none: the first); `recu` clamps the gradient of binary weights, where there may be
    any, as ReCU does (none: where the released training does). A family's class also takes `drop_path_rate`, to which
    the rate of stochastic depth rises linearly over the blocks from 0. Builds under `torch.device("meta")` too.
    Keeps what it was built from: `architecture`, `plan`, `layers` (address -> precision, in forward order), `norm`
    and `recu`. Models made by timm (`bhvit.zoo`) also have `pretrained_cfg` and `default_cfg`.
    Raises `InvalidInput` where the plan does not fit the architecture, for an unknown norm, and for a drop path rate
    outside 0 <= rate < 1.
    """

    pretrained_cfg: dict[str, Any]
    default_cfg: dict[str, Any]

    def __init__(self, architecture: Architecture, plan: PrecisionPlan, norm: str | None, recu: bool | None) -> None:
        super().__init__()
        norm = architecture.norms[0] if norm is None else norm
        architecture.require_norm(norm)
        if recu is not None:
            require_bool("recu", recu)
        self.architecture, self.plan, self.norm, self.recu = architecture, plan, norm, architecture.recu_of(recu)
        self.layers: Mapping[str, Precision] = architecture.layers_of(plan)
        self.num_classes, self.num_features = architecture.num_classes, architecture.embed_dims[-1]

    @abstractmethod
    def modules_by_address(self) -> dict[str, tuple[nn.Module, ...]]:
        """The modules that each address, `stem` and `head` stand for, in forward order; together they are the model.

        The norm before a part belongs to the part: as in the cost model.
        """

    @abstractmethod
    def get_classifier(self) -> nn.Module:
        """The last linear layer (timm's name)."""

    def released_prefixes(self) -> Iterator[Names]:
        """Names in the checkpoints that were released of the family; raises `InvalidInput` where there are none."""
        raise InvalidInput(
            f"names in released checkpoints are known for some families, but not for {self.architecture.title}; use "
            "bhvit.checkpoint.save_weights and load_weights."
        )

    def require_images(self, images: Tensor) -> None:
        """Raise `InvalidInput` unless `images` are a batch of the model's size."""
        expected = (IMAGE_CHANNELS, self.architecture.image_size, self.architecture.image_size)
        if tuple(images.shape[1:]) != expected:
            raise InvalidInput(
                f"images must be a (batch, {', '.join(map(str, expected))}) tensor for this model, but they are "
                f"{tuple(images.shape)}; resize them, or build the model with another image_size."
            )

    @property
    def weight_layers(self) -> dict[str, list[WeightLayer]]:
        """The convolutions and linear layers of each address, `stem` and `head` included, in forward order."""
        return {
            address: [layer for part in parts for layer in part.modules() if isinstance(layer, WeightLayer)]
            for address, parts in self.modules_by_address().items()
        }

    def weight_regularizer(self, include_downsampling: bool = True) -> Tensor:
        """Mean over the binary layers of mean ||w| - 1|, which pulls latent weights towards -1 and 1; 0 where none is.

        The released BHViT finds layers by name and misses the downsampling convolutions: `include_downsampling=False`
        reproduces it.
        """
        terms = [
            (layer.weight.abs() - 1).abs().mean()
            for address, layers in self.weight_layers.items()
            for layer in layers
            if _is_binary(layer) and (include_downsampling or not address.startswith(DOWNSAMPLE))
        ]
        return torch.stack(terms).mean() if terms else torch.zeros((), device=next(self.parameters()).device)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that weight decay would harm (timm's name).

        Position embeddings, parameters of quantizers, and factors of LayerScales, which are called `alpha` as scales of
        BHViT's probability quantizers are; all but the first are scalars or vectors, which timm does not decay anyway.
        """
        kinds = ("position", "alpha", "zero_point", "step")
        return {name for name, _ in self.named_parameters() if name.rpartition(".")[2] in kinds}

    def quantizer_state(self) -> set[str]:
        """Names of parameters and buffers of activation and probability quantizers, which a full-precision model lacks.

        A warm start leaves them as they are: the first training batch sets them.
        """
        rows = QUANTIZERS.values()
        kinds = (
            *{type(row.activation()) for row in rows},
            *{type(row.probability(1)) for row in rows},
            *{type(row.one_plane_probability(1)) for row in rows},
        )
        return _state_names(self, kinds)

    def dropped_from(self, parent: nn.Module) -> set[str]:
        """Names of what the full-precision `parent` has and this model leaves out on purpose: none, as a rule."""
        return set()


def drop_path_rates(architecture: Architecture, last: float) -> Iterator[float]:
    """Rates of stochastic depth, which rise linearly over the blocks from 0 to `last`.

    Raises `InvalidInput` unless `last` is a number with 0 <= last < 1.
    """
    if isinstance(last, bool) or not isinstance(last, int | float) or not 0 <= last < 1:
        raise InvalidInput(f"drop_path_rate must be at least 0 and below 1, but it is {last!r}; use 0 to 0.3.")
    return iter(torch.linspace(0, last, sum(architecture.depths), device="cpu").tolist())


def _state_names(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> set[str]:
    """Names of the state of all modules of these types."""
    return {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, kinds)
        for name in module.state_dict()
    }


def _is_binary(layer: WeightLayer) -> bool:
    precision: Precision | None = getattr(layer, "precision", None)
    return precision is not None and precision.weight_bits == 1
