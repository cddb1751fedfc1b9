"""Small spaces for the tests of the search, without any of a family's own names."""

from __future__ import annotations

from typing import Any

from bhvit.families import DEFAULT_FAMILY, FAMILIES
from searcher.space import Space, parse_space
from tests.searcher.architectures import model_of, small_architecture

PLAIN = frozenset(("binary", "int4", "int8", "fp16", "fp32"))
FAMILY_NAMES = [f.name for f in FAMILIES.values() if f.config.stage_count > 1 and set(f.config.precisions) >= PLAIN]
"""Families that `plain_space` can be of: of several stages, whose layers may have all these precisions.

`mixed_models` are of every family, and `test_family_contract` is the contract of all.
"""


def plain_space(family: str = DEFAULT_FAMILY, **sections: Any) -> dict[str, Any]:
    """Plain data of a space with 2 widths x 2 widths x 3 precisions ^ 2 = 36 configurations; `sections` replace."""
    preset = sorted(FAMILIES[family].presets)[-1]
    return {
        "model": {"family": family, "preset": preset},
        "widths": {"hidden": {"choices": [1, 2]}, "intermediate": {"choices": [1, 0.5]}},
        "precision": {
            "groups": [
                {"layers": "stage0*", "choices": ["binary", "int8", "fp16"]},
                {"layers": "stage1*", "choices": ["binary", "int4", "fp32"]},
            ]
        },
        **sections,
    }


def small_space(family: str = DEFAULT_FAMILY, **sections: Any) -> Space:
    """`plain_space`, read."""
    return parse_space(plain_space(family, **sections), "small")


def mixed_models() -> list[dict[str, Any]]:
    """Alternatives of a mixed space: every family, with own widths or precisions here and there.

    Those of one family differ in norm or ReCU, so that no candidate is one of two of them.
    """
    models = [{"name": family, **_model_of_family(family)} for family in FAMILIES]
    first = plain_space(FAMILY_NAMES[0])["model"]
    layer = small_space(FAMILY_NAMES[0]).base.addresses[0]
    own = {"groups": [{"layers": layer, "choices": ["binary", "int4", "fp16"]}]}
    config = FAMILIES[FAMILY_NAMES[0]].config
    return [
        {**first, "name": "one_layer", "precision": own, "norm": config.norms[-1]},
        *models,
        {**first, "name": "float", "widths": {}, "precision": {"default": "fp32"}},
        {
            **first,
            "name": "stages",
            "widths": {"hidden": {"choices": [1, 1.5], "per_stage": True}},
            "recu": not config.released_with_recu,
        },
    ]


def _model_of_family(family: str) -> dict[str, Any]:
    """A preset of a family; where it lacks the precisions of `plain_mixed`, with a choice among those that it has."""
    model, precisions = plain_space(family)["model"], FAMILIES[family].config.precisions
    if family in FAMILY_NAMES:
        return model
    return {**model, "precision": {"groups": [{"layers": "*", "choices": list(precisions)}]}}


def plain_mixed(*names: str, **sections: Any) -> dict[str, Any]:
    """Plain data of a space that chooses among the `mixed_models` of these names, by default the first three."""
    models = {model["name"]: model for model in mixed_models()}
    return {
        "model": [models[name] for name in names or list(models)[:3]],
        "widths": {"hidden": {"choices": [1, 2]}},
        "precision": {"groups": [{"layers": "*", "choices": ["binary", "int8"]}]},
        **sections,
    }


def mixed_space(*names: str, **sections: Any) -> Space:
    """`plain_mixed`, read."""
    return parse_space(plain_mixed(*names, **sections), "mixed")


def every_model() -> list[dict[str, Any]]:
    """A small model of every family, and one of the first whose every layer is fp32."""
    models = []
    for name, family in FAMILIES.items():
        whole = {"precision": {"default": "fp32"}} if set(family.config.precisions) < PLAIN else {}
        models.append({"name": name, **model_of(small_architecture(name), name), **whole})
    return [*models, {**models[0], "name": "float", "widths": {}, "precision": {"default": "fp32"}}]
