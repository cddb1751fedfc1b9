"""Small spaces for the tests of the search, one of each model family, without any of a family's own names."""

from __future__ import annotations

from typing import Any

from bhvit.families import DEFAULT_FAMILY, FAMILIES
from searcher.space import Space, parse_space

PLAIN = frozenset(("binary", "int4", "int8", "fp16", "fp32"))
FAMILY_NAMES = [f.name for f in FAMILIES.values() if f.config.stage_count > 1 and set(f.config.precisions) >= PLAIN]
"""Families that `plain_space` can be of; the contract of all of them is `test_family_contract`."""


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
