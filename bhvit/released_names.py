"""Parameter names and shapes of released checkpoints, beside ours: what the families have in common.

A family states its names by prefixes (`bhvit.bhvit_names`, `bhvit.binaryvit.names`). `Layout.pack` and `.unpack`
translate a tensor, whose elements are the same and whose axes may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bhvit.errors import InvalidInput

if TYPE_CHECKING:
    from bhvit.family_model import FamilyModel

Names = tuple[str, "Released"]
"""A name of ours, or the dotted beginning of several where what follows is the same in both, and the released one."""


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


SAME = Layout(lambda ours: ours, lambda released, ours: released)
CHANNEL_MAP = _reshaped(lambda ours: ours[None, :, None, None])  # (C) as (1, C, 1, 1)
CHANNEL_TOKEN = _reshaped(lambda ours: ours[None, None])  # (C) as (1, 1, C)
POSITION_MAP = Layout(lambda ours: ours.permute(2, 0, 1)[None], lambda released, ours: released[0].permute(1, 2, 0))
POSITION_TOKENS = _reshaped(lambda ours: ours.flatten(0, 1)[None])  # (r, r, C) as (1, r^2, C)
FLAG = Layout(lambda ours: ours[None].to(torch.get_default_dtype()), lambda released, ours: released[0] != 0)


def released_names(model: FamilyModel) -> dict[str, Released]:
    """Our state-dict name -> released name and layout, for every tensor of `model`.

    Raises `InvalidInput` where a layer's precision has no released counterpart (what is neither binary nor
    real-valued), or a tensor of the family.
    """
    for address, precision in model.layers.items():
        if not precision.real_valued and precision.weight_bits > 1:
            raise InvalidInput(
                f"released names exist for binary, fp16 and fp32 layers only, but {address} is {precision}; "
                "use bhvit.checkpoint.save_weights."
            )
    prefixes = dict(model.released_prefixes())
    names: dict[str, Released] = {}
    for ours in model.state_dict():
        prefix = ours
        while prefix and prefix not in prefixes:
            prefix = prefix.rpartition(".")[0]
        if not prefix:
            raise InvalidInput(
                f"a model must have the tensors of the released one, but {ours} is none of them; "
                "use bhvit.checkpoint.save_weights."
            )
        theirs = prefixes[prefix]
        names[ours] = Released(theirs.name + ours[len(prefix) :], theirs.layout)
    return names


def same(ours: str, theirs: str) -> Iterator[Names]:
    """The same tensors in both."""
    yield ours, Released(theirs, SAME)


def downsample(ours: str, theirs: str) -> Iterator[Names]:
    """`bhvit.blocks.Downsample`."""
    yield from same(f"{ours}.norm_in", f"{theirs}.norm0")
    yield f"{ours}.conv.shift", Released(f"{theirs}.move", CHANNEL_MAP)
    yield from same(f"{ours}.conv.weight", f"{theirs}.proj.weight")
    yield from same(f"{ours}.norm", f"{theirs}.norm")
    yield from rprelu(f"{ours}.rprelu", f"{theirs}.rprelu")
    yield f"{ours}.position", Released(f"{theirs}.position_embeddings", POSITION_TOKENS)


def attention(ours: str, theirs: str) -> Iterator[Names]:
    """What all attentions have."""
    inner = f"{theirs}.attention.attention"
    for name in ("query", "key", "value"):
        project, letter = f"{ours}.{name}.project", name[0]
        yield from same(f"{project}.linear.weight", f"{inner}.{name}.weight")
        yield from same(f"{project}.linear.shift", f"{inner}.move{letter}")
        yield from same(f"{project}.norm", f"{inner}.norm{letter}")
        yield from rprelu(f"{project}.rprelu", f"{inner}.rprelu{letter}")
        yield from same(f"{ours}.{name}.shift", f"{inner}.move{letter}2")
    yield from same(f"{ours}.norm", f"{inner}.norm_context")
    yield from rprelu(f"{ours}.rprelu", f"{inner}.rprelu_context")
    yield from residual_linear(f"{ours}.output", f"{theirs}.attention.output")
    yield from layer_scale(f"{ours}.layer_scale", f"{theirs}.attention.output.layerscale")


def rest_of_block(ours: str, theirs: str, kinds: Mapping[str, str], branches: Sequence[int]) -> Iterator[Names]:
    """Norms, MLP and branches; `kinds` maps our groups of branches to the released letters."""
    yield from same(f"{ours}.norm_before", f"{theirs}.layernorm_before")
    yield from same(f"{ours}.norm_after", f"{theirs}.layernorm_after")
    yield from residual_linear(f"{ours}.mlp.expand", f"{theirs}.intermediate")
    yield from residual_linear(f"{ours}.mlp.project", f"{theirs}.output")
    yield from layer_scale(f"{ours}.mlp.layer_scale", f"{theirs}.output.layerscale")
    for kind, letters in kinds.items():
        for branch in branches:
            yield from layer_scale(f"{ours}.shifts.{kind}.{branch}", f"{theirs}.layerscale_{letters}{branch}")


def head(ours: str) -> Iterator[Names]:
    """`bhvit.blocks.Head`."""
    yield from same(f"{ours}.norm", "vit.layernorm")
    yield from same(f"{ours}.linear", "classifier")


def residual_linear(ours: str, theirs: str) -> Iterator[Names]:
    """`bhvit.layers.ResidualLinear`."""
    yield from same(f"{ours}.linear.shift", f"{theirs}.move")
    yield from same(f"{ours}.linear.weight", f"{theirs}.dense.weight")
    yield from same(f"{ours}.norm", f"{theirs}.norm")
    yield from rprelu(f"{ours}.rprelu", f"{theirs}.rprelu")


def rprelu(ours: str, theirs: str) -> Iterator[Names]:
    """`bhvit.layers.RPReLU`."""
    yield from same(f"{ours}.shift_in", f"{theirs}.move1")
    yield from same(f"{ours}.shift_out", f"{theirs}.move2")
    yield from same(f"{ours}.slope", f"{theirs}.prelu.weight")


def layer_scale(ours: str, theirs: str) -> Iterator[Names]:
    """`bhvit.layers.LayerScale`."""
    yield from same(f"{ours}.alpha", f"{theirs}.alpha")
    yield from same(f"{ours}.shift", f"{theirs}.move")
