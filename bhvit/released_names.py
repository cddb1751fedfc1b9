"""Parameter names and shapes of the released BHViT checkpoints, beside ours.

Released: github IMRL/BHViT and its width-scaling extension. `Released.pack` and `.unpack` translate a tensor, whose
elements are the same and whose axes may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bhvit.architecture import FIRST_ATTENTION_STAGE
from bhvit.errors import InvalidInput
from bhvit.model import BHViT


@dataclass(frozen=True)
class Layout:
    """How a released tensor holds ours: `pack` to the released shape, `unpack(released, ours)` back."""

    pack: Callable[[Tensor], Tensor]
    unpack: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Released:
    """Name and layout of a tensor in a released checkpoint."""

    name: str
    layout: Layout


def _reshaped(pack: Callable[[Tensor], Tensor]) -> Layout:
    return Layout(pack, lambda released, ours: released.reshape(ours.shape))


_SAME = Layout(lambda ours: ours, lambda released, ours: released)
_CHANNEL_MAP = _reshaped(lambda ours: ours[None, :, None, None])  # (C) as (1, C, 1, 1)
_CHANNEL_TOKEN = _reshaped(lambda ours: ours[None, None])  # (C) as (1, 1, C)
_POSITION_MAP = Layout(lambda ours: ours.permute(2, 0, 1)[None], lambda released, ours: released[0].permute(1, 2, 0))
_POSITION_TOKENS = _reshaped(lambda ours: ours.flatten(0, 1)[None])  # (r, r, C) as (1, r^2, C)
_FLAG = Layout(lambda ours: ours[None].to(torch.get_default_dtype()), lambda released, ours: released[0] != 0)

_SHIFT_KINDS = {"height": "h", "width": "w", "quarters": "ch"}


def released_names(model: BHViT) -> dict[str, Released]:
    """Our state-dict name -> released name and layout, for every tensor of `model`.

    Raises `InvalidInput` where a tensor has no released counterpart (the steps of int4 and int8 layers).
    """
    prefixes = dict(_prefixes(model))
    names: dict[str, Released] = {}
    for ours in model.state_dict():
        prefix = ours
        while prefix and prefix not in prefixes:
            prefix = prefix.rpartition(".")[0]
        if not prefix:
            raise InvalidInput(
                f"released names exist for binary, fp16 and fp32 layers only, but {ours} belongs to another precision; "
                "use bhvit.checkpoint.save_weights."
            )
        theirs = prefixes[prefix]
        names[ours] = Released(theirs.name + ours[len(prefix) :], theirs.layout)
    return names


def _prefixes(model: BHViT) -> Iterator[tuple[str, Released]]:
    """Names of ours, or their dotted beginnings where what follows is the same in both."""
    yield from _same("stem.conv", "vit.embeddings.patch_embeddings.proj")
    yield from _same("stem.norm", "vit.embeddings.patch_embeddings.norm")
    yield "stem.position", Released("vit.embeddings.position_embeddings", _POSITION_MAP)
    for i in range(len(model.downsamples)):
        yield from _downsample(f"downsamples.{i}", f"vit.encoder.patch_embed{i + 1}")
    counts = {"layerA": 0, "layerB": 0}
    for i, depth in enumerate(model.architecture.depths):
        kind, mixer = ("layerB", _attention) if i >= FIRST_ATTENTION_STAGE else ("layerA", _token_mixer)
        for j in range(depth):
            ours, theirs = f"stages.{i}.{j}", f"vit.encoder.{kind}.{counts[kind]}"
            counts[kind] += 1
            yield from mixer(f"{ours}.mixer", theirs)
            yield from _rest_of_block(ours, theirs, model.architecture.shifts)
    yield from _same("head.norm", "vit.layernorm")
    yield from _same("head.linear", "classifier")


def _same(ours: str, theirs: str) -> Iterator[tuple[str, Released]]:
    yield ours, Released(theirs, _SAME)


def _downsample(ours: str, theirs: str) -> Iterator[tuple[str, Released]]:
    yield from _same(f"{ours}.norm_in", f"{theirs}.norm0")
    yield f"{ours}.conv.shift", Released(f"{theirs}.move", _CHANNEL_MAP)
    yield from _same(f"{ours}.conv.weight", f"{theirs}.proj.weight")
    yield from _same(f"{ours}.norm", f"{theirs}.norm")
    yield from _rprelu(f"{ours}.rprelu", f"{theirs}.rprelu")
    yield f"{ours}.position", Released(f"{theirs}.position_embeddings", _POSITION_TOKENS)


def _token_mixer(ours: str, theirs: str) -> Iterator[tuple[str, Released]]:
    yield f"{ours}.shift", Released(f"{theirs}.GC.move.bias", _CHANNEL_MAP)
    for d in range(3):
        yield from _same(f"{ours}.convs.{d}.weight", f"{theirs}.GC.cov{d + 1}.weight")
        yield from _same(f"{ours}.convs.{d}.bias", f"{theirs}.GC.cov{d + 1}.bias")
        yield from _rprelu(f"{ours}.rprelus.{d}", f"{theirs}.GC.act{d + 1}")
    yield from _same(f"{ours}.norm", f"{theirs}.GC.norm")


def _attention(ours: str, theirs: str) -> Iterator[tuple[str, Released]]:
    inner = f"{theirs}.attention.attention"
    yield f"{ours}.summary.mix", Released(f"{inner}.token_FA.a1", _CHANNEL_TOKEN)
    yield f"{ours}.mix", Released(f"{inner}.parm", _CHANNEL_MAP)
    yield from _same(f"{ours}.token_norm", f"{inner}.token_FA.norm")
    for name in ("query", "key", "value"):
        project, letter = f"{ours}.{name}.project", name[0]
        yield from _same(f"{project}.linear.weight", f"{inner}.{name}.weight")
        yield from _same(f"{project}.linear.shift", f"{inner}.move{letter}")
        yield from _same(f"{project}.norm", f"{inner}.norm{letter}")
        yield from _rprelu(f"{project}.rprelu", f"{inner}.rprelu{letter}")
        yield from _same(f"{ours}.{name}.shift", f"{inner}.move{letter}2")
    yield from _same(f"{ours}.probability.alpha", f"{inner}.att_prob_quantizer.alpha")
    yield from _same(f"{ours}.probability.zero_point", f"{inner}.att_prob_quantizer.zero_point")
    yield f"{ours}.probability.first_batch.done", Released(f"{inner}.att_prob_quantizer.init_state", _FLAG)
    yield from _same(f"{ours}.norm", f"{inner}.norm_context")
    yield from _rprelu(f"{ours}.rprelu", f"{inner}.rprelu_context")
    yield from _residual_linear(f"{ours}.output", f"{theirs}.attention.output")
    yield from _layer_scale(f"{ours}.layer_scale", f"{theirs}.attention.output.layerscale")


def _rest_of_block(ours: str, theirs: str, shifts: tuple[int, ...]) -> Iterator[tuple[str, Released]]:
    yield from _same(f"{ours}.norm_before", f"{theirs}.layernorm_before")
    yield from _same(f"{ours}.norm_after", f"{theirs}.layernorm_after")
    yield from _residual_linear(f"{ours}.mlp.expand", f"{theirs}.intermediate")
    yield from _residual_linear(f"{ours}.mlp.project", f"{theirs}.output")
    yield from _layer_scale(f"{ours}.mlp.layer_scale", f"{theirs}.output.layerscale")
    for kind, letters in _SHIFT_KINDS.items():
        for shift in shifts:
            yield from _layer_scale(f"{ours}.shifts.{kind}.{shift}", f"{theirs}.layerscale_{letters}{shift}")


def _residual_linear(ours: str, theirs: str) -> Iterator[tuple[str, Released]]:
    yield from _same(f"{ours}.linear.shift", f"{theirs}.move")
    yield from _same(f"{ours}.linear.weight", f"{theirs}.dense.weight")
    yield from _same(f"{ours}.norm", f"{theirs}.norm")
    yield from _rprelu(f"{ours}.rprelu", f"{theirs}.rprelu")


def _rprelu(ours: str, theirs: str) -> Iterator[tuple[str, Released]]:
    yield from _same(f"{ours}.shift_in", f"{theirs}.move1")
    yield from _same(f"{ours}.shift_out", f"{theirs}.move2")
    yield from _same(f"{ours}.slope", f"{theirs}.prelu.weight")


def _layer_scale(ours: str, theirs: str) -> Iterator[tuple[str, Released]]:
    yield from _same(f"{ours}.alpha", f"{theirs}.alpha")
    yield from _same(f"{ours}.shift", f"{theirs}.move")
