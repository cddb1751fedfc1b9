"""What the packed runtime does in each layer of BHViT; windows of attention take whole tiles of queries."""

from __future__ import annotations

from bhvit.architecture import DILATIONS, MIXER_GROUPS, MIXER_TAPS
from bhvit.bhvit_terms import Shape
from bhvit.layer_work import LayerWork, WorkOf, rounded_up
from bhvit.pyramid_work import pyramid_work


def bhvit_work(shape: Shape, instruction_set: str) -> WorkOf:
    """The work of a BHViT's layers, one image; layers of one stage, kind and precision share one mapping."""
    return pyramid_work(shape, instruction_set, {"mixer": _mixer, "attention": _attention})


def _mixer(work: LayerWork, s: Shape, stage: int) -> None:
    """Three dilated convolutions; those of signs read one plane of them and take half a tile of a row at a time."""
    c, side = s.embed_dims[stage], s.resolutions[stage]
    signs, lanes = work.precision.takes_signs, max(1, work.tile.tokens // 2)
    tokens = side * rounded_up(side, lanes) if signs else side**2
    padded, branches = work.padded(tokens), len(DILATIONS)
    for _ in range(branches):
        work.product(tokens, c // MIXER_GROUPS, c // MIXER_GROUPS, MIXER_TAPS, MIXER_GROUPS)
    work.operands(side**2 * c if signs else padded * branches * MIXER_TAPS * c)
    work.add("output_ns", padded * branches * c)
    work.add("element_ns", 4 * side**2 * c)


def _attention(work: LayerWork, s: Shape, stage: int) -> None:
    """Projections of all tokens and of a summary token a window; then windows of g^2 tokens that also see those."""
    c, heads, side = s.embed_dims[stage], s.num_heads[stage], s.resolutions[stage]
    tokens, windows, tile, head = side**2, (side // s.window_size) ** 2, work.tile, c // heads
    keys = s.window_size**2 + windows
    rows, tasks = rounded_up(tokens + windows, tile.tokens), windows * -(-keys // tile.tokens)
    work.product(tokens + windows, 3 * c, c)
    work.product(tokens, c, c)
    work.operands(6 * rows * c + work.padded(tokens) * c)
    work.add("output_ns", (3 * rows + work.padded(tokens) + tasks * tile.tokens) * c)
    work.add("score_ns", tasks * tile.tokens * keys * heads)
    work.add("element_ns", 11 * tokens * c)
    work.attention(windows * keys, tasks * tile.tokens, keys, heads, head, planes=2)
    if not work.precision.takes_signs:
        work.add("gather_ns", 2 * tasks * keys * c)
