"""What packed models of each family are made of: the parts are shared, a family says which of them it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from bhvit.architecture import FIRST_ATTENTION_STAGE, ArchitectureConfig
from bhvit.binaryvit.architecture import BinaryViTConfig
from bhvit.errors import InvalidInput
from bhvit.staged import Architecture, PyramidArchitecture
from bhvit.wording import listed


class Mixing(Enum):
    """How a block mixes tokens: by convolutions, or by attention within windows or to the whole map."""

    convolutions = "convolutions"
    windows = "windows"
    everywhere = "everywhere"


@dataclass(frozen=True)
class PackedFamily:
    """A family that the packed runtime runs; functions take an architecture of type `config`.

    `mixing` is of a stage; `reduction_ratio` the side of the patches that attention to the whole map averages in it.
    """

    name: str
    config: type[PyramidArchitecture]
    mixing: Callable[[int], Mixing]
    reduction_ratio: Callable[[Any, int], int]


PACKED_FAMILIES: Mapping[str, PackedFamily] = MappingProxyType(
    {
        family.name: family
        for family in (
            PackedFamily(
                "bhvit",
                ArchitectureConfig,
                mixing=lambda stage: Mixing.windows if stage >= FIRST_ATTENTION_STAGE else Mixing.convolutions,
                reduction_ratio=lambda a, stage: 1,
            ),
            PackedFamily(
                "binaryvit",
                BinaryViTConfig,
                mixing=lambda stage: Mixing.everywhere,
                reduction_ratio=lambda a, stage: a.reductions[stage],
            ),
        )
    }
)

PACKED_TITLES = listed(family.config.title for family in PACKED_FAMILIES.values())


def packed_family_of(architecture: Architecture) -> PackedFamily:
    """The row of `PACKED_FAMILIES` of an architecture; raises `InvalidInput` where there is none."""
    for family in PACKED_FAMILIES.values():
        if type(architecture) is family.config:
            return family
    raise InvalidInput(f"models of {PACKED_TITLES} can be exported, but this one is a {architecture.title}.")
