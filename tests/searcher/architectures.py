"""Small architectures of every model family, made from what the family says of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bhvit.errors import InvalidInput
from bhvit.families import DEFAULT_FAMILY, FAMILIES
from bhvit.staged import Architecture
from searcher.candidate import Candidate
from searcher.model_section import LISTS

SIDE = 96  # of an image


def first_preset(family: str = DEFAULT_FAMILY) -> Architecture:
    """The architecture that a family lists first."""
    return next(iter(FAMILIES[family].presets.values()))


def last_preset(family: str = DEFAULT_FAMILY) -> Architecture:
    """The architecture that a family lists last: its largest, where it has several."""
    return list(FAMILIES[family].presets.values())[-1]


def small_architecture(family: str = DEFAULT_FAMILY, image_size: int = SIDE, classes: int = 3) -> Architecture:
    """The first preset with an eighth of its channels, a 32nd of its intermediate ones, and one block a stage."""
    narrow = first_preset(family).scaled(1 / 8, 1 / 32)
    lists = {name: getattr(narrow, name) for name in LISTS} | {"depths": [1] * narrow.stage_count}
    options = narrow.options_at(image_size)
    return narrow.from_lists(*lists.values(), image_size=image_size, num_classes=classes, **options)


def thin_architecture(embed_dims: Sequence[int], intermediate_dims: Sequence[int], **options: Any) -> Architecture:
    """The default family's, of four stages of one block with 1, 1, 2 and 4 heads at 96 pixels."""
    config = FAMILIES[DEFAULT_FAMILY].config
    sizes = {"image_size": SIDE, "num_classes": 3, **config.options_at(SIDE)}
    return config.from_lists(embed_dims, intermediate_dims, [1] * 4, [1, 1, 2, 4], **(sizes | options))


THIN = thin_architecture([8, 16, 16, 32], [16, 16, 16, 32])


def model_of(architecture: Architecture, family: str = DEFAULT_FAMILY) -> dict[str, Any]:
    """`model:` of a space file whose base is an architecture with its family's usual options."""
    lists = {name: list(getattr(architecture, name)) for name in LISTS}
    return {"family": family, **lists, "image_size": architecture.image_size, "classes": architecture.num_classes}


def candidate_of(architecture: Architecture, plan: Any, **form: Any) -> Candidate:
    """A candidate of the default family."""
    return Candidate(DEFAULT_FAMILY, architecture, plan, **form)


def build(architecture: Architecture, plan: Any, **options: Any) -> Any:
    """The model of an architecture of the default family."""
    return FAMILIES[DEFAULT_FAMILY].build_model(architecture, plan, **options)


def address_of(architecture: Architecture, stage: int, part: int = 0, block: int = 0) -> str:
    """Address of a part of a block, of the first one."""
    return f"stage{stage}.block{block}.{architecture.block_parts(stage)[part]}"


def refused(call: Callable[[], object]) -> str | None:
    """What `call` is refused with, None where it is not."""
    try:
        call()
    except InvalidInput as error:
        return str(error)
    return None
