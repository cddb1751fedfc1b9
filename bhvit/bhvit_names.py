"""Parameter names of the released BHViT checkpoints (github IMRL/BHViT and an extension of it), beside ours."""

from __future__ import annotations

from collections.abc import Iterator

from bhvit import released_names as names
from bhvit.architecture import FIRST_ATTENTION_STAGE, ArchitectureConfig
from bhvit.released_names import Names, Released

_SHIFT_KINDS = {"height": "h", "width": "w", "quarters": "ch"}


def prefixes(a: ArchitectureConfig) -> Iterator[Names]:
    """All names of a model of this architecture."""
    yield from names.same("stem.conv", "vit.embeddings.patch_embeddings.proj")
    yield from names.same("stem.norm", "vit.embeddings.patch_embeddings.norm")
    yield "stem.position", Released("vit.embeddings.position_embeddings", names.POSITION_MAP)
    for i in range(1, len(a.stages)):
        yield from names.downsample(f"downsamples.{i - 1}", f"vit.encoder.patch_embed{i}")
    counts = {"layerA": 0, "layerB": 0}
    for i, depth in enumerate(a.depths):
        kind, mixer = ("layerB", _attention) if i >= FIRST_ATTENTION_STAGE else ("layerA", _token_mixer)
        for j in range(depth):
            ours, theirs = f"stages.{i}.{j}", f"vit.encoder.{kind}.{counts[kind]}"
            counts[kind] += 1
            yield from mixer(f"{ours}.mixer", theirs)
            yield from names.rest_of_block(ours, theirs, _SHIFT_KINDS, a.shifts)
    yield from names.head("head")


def _token_mixer(ours: str, theirs: str) -> Iterator[Names]:
    yield f"{ours}.shift", Released(f"{theirs}.GC.move.bias", names.CHANNEL_MAP)
    for d in range(3):
        yield from names.same(f"{ours}.convs.{d}.weight", f"{theirs}.GC.cov{d + 1}.weight")
        yield from names.same(f"{ours}.convs.{d}.bias", f"{theirs}.GC.cov{d + 1}.bias")
        yield from names.rprelu(f"{ours}.rprelus.{d}", f"{theirs}.GC.act{d + 1}")
    yield from names.same(f"{ours}.norm", f"{theirs}.GC.norm")


def _attention(ours: str, theirs: str) -> Iterator[Names]:
    inner = f"{theirs}.attention.attention"
    yield f"{ours}.summary.mix", Released(f"{inner}.token_FA.a1", names.CHANNEL_TOKEN)
    yield f"{ours}.mix", Released(f"{inner}.parm", names.CHANNEL_MAP)
    yield from names.same(f"{ours}.token_norm", f"{inner}.token_FA.norm")
    yield from names.attention(ours, theirs)
    yield from names.same(f"{ours}.probability.alpha", f"{inner}.att_prob_quantizer.alpha")
    yield from names.same(f"{ours}.probability.zero_point", f"{inner}.att_prob_quantizer.zero_point")
    yield f"{ours}.probability.first_batch.done", Released(f"{inner}.att_prob_quantizer.init_state", names.FLAG)
