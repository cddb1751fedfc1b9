"""Parameter names of the released BinaryViT checkpoints (github Phuoc-Hoan-Le/BinaryViT), beside ours."""

from __future__ import annotations

from collections.abc import Iterator

from bhvit import released_names as names
from bhvit.binaryvit.architecture import BinaryViTConfig
from bhvit.released_names import Names, Released

_POOLS = {"height": "h", "width": "w"}


def prefixes(a: BinaryViTConfig) -> Iterator[Names]:
    """All names of a model of this architecture."""
    yield from names.same("stem.conv", "vit.embeddings.patch_embeddings.projection")
    yield from names.same("stem.norm", "vit.embeddings.norm")
    yield "stem.position", Released("vit.embeddings.position_embeddings", names.POSITION_TOKENS)
    for i in range(1, len(a.stages)):
        yield from names.downsample(f"downsamples.{i - 1}", f"vit.encoder.patch_embed{i}")
    blocks = [f"stages.{i}.{j}" for i, depth in enumerate(a.depths) for j in range(depth)]
    for number, ours in enumerate(blocks):
        theirs = f"vit.encoder.layer.{number}"
        yield from _attention(f"{ours}.mixer", theirs)
        yield from names.rest_of_block(ours, theirs, _POOLS, a.pools)
    yield from names.head("head")


def _attention(ours: str, theirs: str) -> Iterator[Names]:
    inner = f"{theirs}.attention.attention"
    yield from names.attention(ours, theirs)
    yield from names.same(f"{ours}.reduction.linear.weight", f"{inner}.reduction.weight")
    yield from names.same(f"{ours}.reduction.linear.shift", f"{inner}.mover")
    yield from names.same(f"{ours}.reduction.norm", f"{inner}.norm_r")
    yield from names.rprelu(f"{ours}.reduction.rprelu", f"{inner}.rprelur")
    yield from names.same(f"{ours}.probability.step", f"{inner}.att_prob_clip")
