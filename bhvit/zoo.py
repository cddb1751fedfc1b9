"""BHViT in timm's registry: import this module, then `timm.create_model("bhvit_tiny", precision="binary")`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import register_model

from bhvit.architecture import SMALL, TINY, ArchitectureConfig
from bhvit.errors import InvalidInput, unknown_name
from bhvit.model import BHViT, build_model
from bhvit.precision import PrecisionPlan

__all__ = ["bhvit_small", "bhvit_tiny"]

_TIMM_ONLY = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")  # where weights come from: there are none
_ARCHITECTURE = {"img_size": "image_size", "window_size": "window_size", "num_classes": "num_classes"}
_MODEL = ("norm", "recu", "drop_path_rate")
_OPTIONS = (*_ARCHITECTURE, *_MODEL, "precision", "layers", "hidden", "intermediate")


@register_model
def bhvit_tiny(pretrained: bool = False, **options: Any) -> BHViT:
    """BHViT-Tiny (Gao et al., CVPR 2025), binary unless `precision` says otherwise; options as in `_create`."""
    return _create("bhvit_tiny", TINY, pretrained, options)


@register_model
def bhvit_small(pretrained: bool = False, **options: Any) -> BHViT:
    """BHViT-Small (Gao et al., CVPR 2025), binary unless `precision` says otherwise; options as in `_create`."""
    return _create("bhvit_small", SMALL, pretrained, options)


def _create(name: str, preset: ArchitectureConfig, pretrained: bool, options: Mapping[str, Any]) -> BHViT:
    """Build from timm's arguments.

    `precision` is that of all layers, `layers` a mapping from globs over addresses to precisions, `hidden` and
    `intermediate` the width factors; `img_size`, `window_size`, `num_classes`, `norm`, `recu` and `drop_path_rate` as
    in `build_model`. Raises `InvalidInput` for anything else, and for `pretrained`.
    """
    if pretrained:
        raise InvalidInput(
            f"{name} has no pretrained weights to download; build it with pretrained=False and load a released "
            "checkpoint with bhvit.checkpoint.load_reference_state_dict."
        )
    for option in options:
        if option not in (*_OPTIONS, *_TIMM_ONLY):
            raise unknown_name(f"option of {name}:", option, _OPTIONS)
    changes = {field: options[option] for option, field in _ARCHITECTURE.items() if option in options}
    architecture = replace(preset, **changes).scaled(options.get("hidden", 1), options.get("intermediate", 1))
    plan = PrecisionPlan.uniform(options.get("precision", "binary"))
    for pattern, precision in options.get("layers", {}).items():
        plan = plan.with_layers(pattern, precision)
    model = build_model(architecture, plan, **{option: options[option] for option in _MODEL if option in options})
    model.pretrained_cfg = model.default_cfg = _data_cfg(name, architecture)
    return model


def _data_cfg(name: str, architecture: ArchitectureConfig) -> dict[str, Any]:
    """What `timm.data.resolve_model_data_config` reads: how images are prepared for the model."""
    size = architecture.image_size
    return {
        "architecture": name,
        "input_size": (3, size, size),
        "fixed_input_size": True,
        "num_classes": architecture.num_classes,
        "crop_pct": 224 / 256,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv",
        "classifier": "head.linear",
    }
