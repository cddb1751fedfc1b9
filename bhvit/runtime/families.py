"""What packed models of each family are made of: the parts are shared, a family says which of them it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from bhvit.architecture import FIRST_ATTENTION_STAGE, SHIFT_RADII, ArchitectureConfig
from bhvit.binaryvit.architecture import POOL_RADII, BinaryViTConfig
from bhvit.errors import InvalidInput
from bhvit.staged import Architecture, PyramidArchitecture


class Mixing(Enum):
    """How a block mixes tokens: by convolutions, or by attention within windows or to the whole map."""

    convolutions = "convolutions"
    windows = "windows"
    everywhere = "everywhere"


@dataclass(frozen=True)
class PackedFamily:
    """A family that the packed runtime runs; functions take an architecture of type `config`.

    `mixing` is of a stage; `branches` gives the names of the branches beside the MLP and their radii, which have a
    scale for each of `directions` and go on at the other side of the map where `circular`; `ratio` is the side of the
    patches that attention to the whole map averages in a stage; `layer_scale` says whether attention and MLP end in
    one, `stem_gelu` whether the stem ends in a GELU.
    """

    name: str
    config: type[PyramidArchitecture]
    mixing: Callable[[int], Mixing]
    branches: Callable[[Any], Mapping[int, int]]
    directions: tuple[str, ...]
    circular: bool
    ratio: Callable[[Any, int], int]
    layer_scale: Callable[[Any], bool]
    stem_gelu: bool


PACKED_FAMILIES: Mapping[str, PackedFamily] = MappingProxyType(
    {
        family.name: family
        for family in (
            PackedFamily(
                "bhvit",
                ArchitectureConfig,
                mixing=lambda stage: Mixing.windows if stage >= FIRST_ATTENTION_STAGE else Mixing.convolutions,
                branches=lambda a: {name: SHIFT_RADII[name] for name in a.shifts},
                directions=("height", "width", "quarters"),
                circular=True,
                ratio=lambda a, stage: 1,
                layer_scale=lambda a: True,
                stem_gelu=True,
            ),
            PackedFamily(
                "binaryvit",
                BinaryViTConfig,
                mixing=lambda stage: Mixing.everywhere,
                branches=lambda a: {size: POOL_RADII[size] for size in a.pools},
                directions=("height", "width"),
                circular=False,
                ratio=lambda a, stage: a.reductions[stage],
                layer_scale=lambda a: a.layer_scale,
                stem_gelu=False,
            ),
        )
    }
)


def packed_family_of(architecture: Architecture) -> PackedFamily:
    """The row of `PACKED_FAMILIES` of an architecture; raises `InvalidInput` where there is none."""
    for family in PACKED_FAMILIES.values():
        if type(architecture) is family.config:
            return family
    titles = " and ".join(family.config.title for family in PACKED_FAMILIES.values())
    raise InvalidInput(f"models of {titles} can be exported, but this one is a {architecture.title}.")
