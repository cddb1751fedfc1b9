"""BHViT in timm's registry: after `import bhvit.zoo`, `timm.create_model("bhvit_tiny", precision="binary")` works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import register_model

from bhvit.architecture import SMALL, TINY, ArchitectureConfig
from bhvit.errors import InvalidInput
from bhvit.model import BHViT, build_model
from bhvit.precision import PrecisionPlan

IMAGENET_CLASSES = 1000


def _cfg(architecture: ArchitectureConfig) -> dict[str, Any]:
    size = architecture.image_size
    return {
        "num_classes": IMAGENET_CLASSES,
        "input_size": (3, size, size),
        "fixed_input_size": True,
        "crop_pct": 224 / 256,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv",
        "classifier": "head.linear",
        "license": "mit",
        "paper_ids": "arXiv:2503.02394",
    }


default_cfgs = {"bhvit_tiny": _cfg(TINY), "bhvit_small": _cfg(SMALL)}


@register_model
def bhvit_tiny(pretrained: bool = False, **kwargs: Any) -> BHViT:
    """BHViT-Tiny: C 64, 128, 256, 512, depths 2, 2, 6, 2; arguments as of `_create`."""
    return _create("bhvit_tiny", TINY, pretrained, **kwargs)


@register_model
def bhvit_small(pretrained: bool = False, **kwargs: Any) -> BHViT:
    """BHViT-Small: the widths of Tiny, depths 3, 4, 8, 4; arguments as of `_create`."""
    return _create("bhvit_small", SMALL, pretrained, **kwargs)


def _create(
    name: str,
    preset: ArchitectureConfig,
    pretrained: bool,
    *,
    num_classes: int = IMAGENET_CLASSES,
    precision: str = "binary",
    layers: Mapping[str, str] | None = None,
    img_size: int | None = None,
    window_size: int | None = None,
    norm: str = "batch",
    recu: bool = True,
    drop_path_rate: float = 0.0,
    pretrained_cfg: object = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    cache_dir: object = None,
) -> BHViT:
    """A preset with another head, image size, norm or precision plan.

    `precision` is the precision of every layer, `layers` maps globs of layer addresses to other ones, the last match
    winning (`{"downsample*": "fp16"}`). timm itself passes the last three arguments; they say where pretrained weights
    come from, and there are none. Raises `InvalidInput` for `pretrained=True` and for impossible shapes.
    """
    if pretrained or pretrained_cfg is not None:
        raise InvalidInput(
            f"no weights of {name} are published in timm's form, but pretrained weights were asked for; create the "
            "model without them and load a file with bhvit.checkpoint.load_weights or load_reference_state_dict."
        )
    architecture = replace(
        preset,
        num_classes=num_classes,
        image_size=preset.image_size if img_size is None else img_size,
        window_size=preset.window_size if window_size is None else window_size,
    )
    plan = PrecisionPlan.uniform(precision)
    for pattern, layer_precision in (layers or {}).items():
        plan = plan.with_layers(pattern, layer_precision)
    model = build_model(architecture, plan, norm, recu, drop_path_rate)
    size = architecture.image_size
    cfg = {**default_cfgs[name], "num_classes": num_classes, "input_size": (3, size, size), "architecture": name}
    model.pretrained_cfg = model.default_cfg = cfg | dict(pretrained_cfg_overlay or {})  # read by timm.data
    return model
