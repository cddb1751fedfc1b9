"""The presets of all families in timm's registry: import this module, then call timm's `create_model`.

`timm.create_model("bhvit_tiny", precision="binary")`, `timm.create_model("binaryvit_small", precision="some_fp")`: a
name is that of the family and that of the preset (`bhvit.FAMILIES`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import register_model
from torch import nn

from bhvit.errors import InvalidInput, renamed
from bhvit.families import FAMILIES, Family, unknown_option
from bhvit.family_model import FamilyModel
from bhvit.precision import PrecisionPlan
from bhvit.staged import WRITTEN, Architecture

_TIMM_ONLY = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")  # where weights come from: there are none
_MODEL = ("norm", "recu", "drop_path_rate")
_OTHERS = ("precision", "layers", "hidden", "intermediate")
_NAMES = {**WRITTEN, "image_size": "img_size"}  # field of a configuration -> timm's name


def _register(family: Family, preset: str) -> str:
    """Make a preset known to timm, under the name that is given back."""
    name, architecture = f"{family.name}_{preset}", family.presets[preset]

    def create(pretrained: bool = False, **options: Any) -> FamilyModel:
        return _create(family, name, architecture, pretrained, options)

    create.__name__ = create.__qualname__ = name
    default = architecture.precisions[0]
    create.__doc__ = f"{architecture.title}, preset {preset}; {default} unless `precision` says so, see `_create`."
    globals()[name] = register_model(create)
    return name


def _create(
    family: Family, name: str, preset: Architecture, pretrained: bool, options: Mapping[str, Any]
) -> FamilyModel:
    """Build from timm's arguments.

    `precision` is that of all layers, a plan, or the name of one (`bhvit.precision.PLANS`), `layers` a mapping from
    globs over addresses to precisions, `hidden` and `intermediate` the width factors; `img_size`, `num_classes` and the
    other options of the family's configuration, `norm`, `recu` and `drop_path_rate` as in its `build_model`. Raises
    `InvalidInput` for anything else, and for `pretrained`.
    """
    if pretrained:
        raise InvalidInput(
            f"{name} has no pretrained weights to download; build it with pretrained=False and load some with "
            "bhvit.checkpoint."
        )
    fields = {_NAMES.get(field, field): field for field in preset.option_names}
    for option in options:
        if option not in (*fields, *_MODEL, *_OTHERS, *_TIMM_ONLY):
            known = (*fields, *_MODEL, *_OTHERS)
            raise unknown_option(family, option, f"option of {name}:", known, _NAMES)
    changes = {field: options[option] for option, field in fields.items() if option in options}
    with renamed(_NAMES):
        architecture = preset.with_options(**changes).scaled(options.get("hidden", 1), options.get("intermediate", 1))
    plan = PrecisionPlan.named(options.get("precision", preset.precisions[0]))
    layers = options.get("layers", {})
    if not isinstance(layers, Mapping):
        raise InvalidInput(f"layers must be a mapping from globs over addresses to precisions, but it is {layers!r}.")
    for pattern, precision in layers.items():
        plan = plan.with_layers(pattern, precision)
    model: FamilyModel = family.build_model(
        architecture, plan, **{option: options[option] for option in _MODEL if option in options}
    )
    model.pretrained_cfg = model.default_cfg = _data_cfg(name, model)
    return model


def _data_cfg(name: str, model: FamilyModel) -> dict[str, Any]:
    """What `timm.data.resolve_model_data_config` reads: how images are prepared for the model."""
    size = model.architecture.image_size
    names = {module: path for path, module in model.named_modules()}
    return {
        "architecture": name,
        "input_size": (3, size, size),
        "fixed_input_size": True,
        "num_classes": model.num_classes,
        "crop_pct": 224 / 256,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": next(names[m] for m in model.modules() if isinstance(m, nn.Conv2d)),
        "classifier": names[model.get_classifier()],
    }


NAMES = tuple(_register(family, preset) for family in FAMILIES.values() for preset in family.presets)
