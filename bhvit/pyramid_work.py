"""What the packed runtime does in the layers that all pyramids share; a family adds what mixes its tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from bhvit.layer_terms import DOWNSAMPLE, HEAD, STEM, Place, place_of
from bhvit.layer_work import TILES, LayerWork, Tile, Work, WorkOf
from bhvit.precision import Precision
from bhvit.pyramid_terms import PyramidShape
from bhvit.staged import DOWNSAMPLE_TAPS, IMAGE_CHANNELS, PATCH

PartWork: TypeAlias = Callable[[LayerWork, Any, int], None]
"""Adds the work of a part of a block of a stage (work, shape, stage)."""


def pyramid_work(shape: PyramidShape, instruction_set: str, mixers: Mapping[str, PartWork]) -> WorkOf:
    """The work of a pyramid's layers, one image; `mixers` adds that of what mixes tokens, by its address's last word.

    Layers of one stage, kind and precision share one mapping.
    """
    known, tile = dict[tuple[str, int, str, bool], Work](), TILES[instruction_set]

    def work_of(address: str, precision: Precision, plan_quantizes: bool) -> Work:
        place = place_of(address)
        key = (place.part, place.stage, precision.name, plan_quantizes)
        if key not in known:
            known[key] = _work(shape, place, precision, plan_quantizes, tile, {**mixers, "mlp": _mlp})
        return known[key]

    return work_of


def _mlp(work: LayerWork, s: PyramidShape, stage: int) -> None:
    """An MLP and the branches beside it, whose time follows from the widest radius."""
    reach = max(s.branches.values(), default=0)
    c, i, tokens = s.embed_dims[stage], s.intermediate_dims[stage], s.resolutions[stage] ** 2
    work.product(tokens, i, c)
    work.product(tokens, c, i)
    outputs = work.padded(tokens) * (c + i)
    work.operands(outputs)
    work.add("output_ns", outputs)
    work.add("uneven_ns", work.padded(tokens) * i * (i % c != 0))
    work.add("element_ns", (3 + reach) * tokens * c)


def _work(
    s: PyramidShape, place: Place, p: Precision, plan_quantizes: bool, tile: Tile, parts: Mapping[str, PartWork]
) -> Work:
    work = LayerWork(p, tile)
    if place.part == STEM:
        _stem(work, s)
    elif place.part == HEAD:
        _head(work, s)
    elif place.part == DOWNSAMPLE:
        _downsample(work, s, place.stage, s.form_of_downsample(p.real_valued, plan_quantizes) == "residual")
    else:
        parts[place.part](work, s, place.stage)
    return work.counts


def _stem(work: LayerWork, s: PyramidShape) -> None:
    c, tokens = s.embed_dims[0], s.resolutions[0] ** 2
    work.product(tokens, c, IMAGE_CHANNELS * PATCH**2)
    work.add("pixel_ns", tokens * IMAGE_CHANNELS * PATCH**2)
    work.add("output_ns", tokens * c)
    work.add("element_ns", tokens * c)


def _head(work: LayerWork, s: PyramidShape) -> None:
    c, tokens = s.embed_dims[-1], s.resolutions[-1] ** 2
    work.product(1, s.num_classes, c)
    work.add("element_ns", 2 * tokens * c)


def _downsample(work: LayerWork, s: PyramidShape, stage: int, residual: bool) -> None:
    c_in, c, tokens = s.embed_dims[stage - 1], s.embed_dims[stage], s.resolutions[stage] ** 2
    padded = work.padded(tokens)
    work.product(tokens, c, c_in, taps=DOWNSAMPLE_TAPS)
    work.operands(padded * DOWNSAMPLE_TAPS * c_in)
    work.add("output_ns", padded * c)
    work.add("element_ns", tokens * (DOWNSAMPLE_TAPS * c_in * (2 if residual else 1) + c))
