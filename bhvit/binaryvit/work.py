"""What the packed runtime does in each layer of BinaryViT; every token sees keys that are the same for all of them."""

from __future__ import annotations

from bhvit.binaryvit.terms import Shape
from bhvit.layer_work import LayerWork, WorkOf, rounded_up
from bhvit.pyramid_work import pyramid_work

ONE_BIT = 0.2  # of a score: the work of one with two bits, in a window whose keys are gathered for every tile


def binaryvit_work(shape: Shape, instruction_set: str) -> WorkOf:
    """The work of a BinaryViT's layers, one image; layers of one stage, kind and precision share one mapping."""
    return pyramid_work(shape, instruction_set, {"attention": _attention})


def _attention(work: LayerWork, s: Shape, stage: int) -> None:
    """Projections of all tokens to queries, of averages of patches to keys and values; then tiles of queries."""
    c, heads, reduction_ratio, tile = s.embed_dims[stage], s.num_heads[stage], s.reductions[stage], work.tile
    side, head = s.resolutions[stage], c // heads
    tokens, keys = side**2, (side // reduction_ratio) ** 2
    rows, seen, padded = rounded_up(tokens, tile.tokens), rounded_up(keys, tile.tokens), work.padded(tokens)
    work.product(tokens, c, c)
    work.product(keys, 2 * c, c)
    work.product(tokens, c, c)
    work.operands((2 * rows + 4 * seen + padded) * c)
    work.add("output_ns", (rows + 2 * seen + 2 * padded) * c)
    work.add("element_ns", 6 * tokens * c)
    if reduction_ratio > 1:
        work.product(keys, c, c)
        work.operands(seen * c)
        work.add("output_ns", seen * c)
    work.add("score_ns", padded * keys * heads * (ONE_BIT if work.precision.takes_signs else 1))
    work.attention(tokens, padded, keys, heads, head, planes=1)
    if not work.precision.takes_signs:
        work.add("gather_ns", 2 * keys * c)
