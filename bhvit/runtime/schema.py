"""The tensors of a packed model: they follow from its header alone, so no table of offsets can lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bhvit.architecture import DILATIONS, MIXER_GROUPS, MIXER_TAPS
from bhvit.precision import Precision
from bhvit.runtime.families import Mixing
from bhvit.runtime.header import Header
from bhvit.staged import DOWNSAMPLE_TAPS, IMAGE_CHANNELS, PATCH

__all__ = ["ITEMS", "ITEM_OF", "Header", "Tensor", "random_arrays", "tensors_of"]

ITEMS = ("f32", "f16", "int8", "int4", "int2", "planes", "bits")  # the sections of a file, in this order
ITEM_OF: Mapping[str, str] = MappingProxyType(
    {
        "binary": "bits",
        "ternary": "planes",
        "int2": "int2",
        "int4": "int4",
        "int8": "int8",
        "fp16": "f16",
        "fp32": "f32",
    }
)


@dataclass(frozen=True)
class Tensor:
    """One tensor: its name, what its items are (of `ITEMS`) and its natural shape.

    Weights of products have four dimensions, (groups, columns, taps, channels); everything else is f32 and has fewer.
    """

    name: str
    item: str
    shape: tuple[int, ...]

    @property
    def is_weight(self) -> bool:
        """Whether this is the weight of a product."""
        return len(self.shape) == 4

    @property
    def size(self) -> int:
        """Items."""
        return math.prod(self.shape)


def tensors_of(header: Header) -> tuple[Tensor, ...]:
    """The tensors of a model, in forward order; names as in the state dict of the torch model (`bhvit.pyramid`).

    Every norm is `.scale` and `.shift`. A product whose scale no batch norm takes in has a `.scale`.
    """
    return tuple(_tensors(header))


def _tensors(h: Header) -> Iterator[Tensor]:
    a = h.architecture
    c, side = a.embed_dims[0], a.resolutions[0]
    yield _weight("stem.conv", h.real, (1, c, 1, IMAGE_CHANNELS * PATCH**2))
    yield Tensor("stem.conv.bias", "f32", (c,))
    yield from _norm("stem.norm", c)
    yield Tensor("stem.position", "f32", (side, side, c))
    for i, stage in enumerate(a.stages):
        if i:
            yield from _downsample(h, i)
        (part, _), mixing = a.block_parts(i), _MIXING[h.family.mixing(i)]
        for j in range(stage.depth):
            block, address = f"stages.{i}.{j}", f"stage{i}.block{j}"
            yield from _norm(f"{block}.norm_before", stage.embed_dim)
            yield from mixing(f"{block}.mixer", h, h.layers[f"{address}.{part}"], i)
            yield from _mlp(block, h, h.layers[f"{address}.mlp"], stage.embed_dim, stage.intermediate_dim)
    c = a.embed_dims[-1]
    yield from _norm("head.norm", c)
    yield _weight("head.linear", h.real, (1, a.num_classes, 1, c))
    yield Tensor("head.linear.bias", "f32", (a.num_classes,))


def _downsample(h: Header, stage: int) -> Iterator[Tensor]:
    a, name, precision = h.architecture, f"downsamples.{stage - 1}", h.layers[f"downsample{stage}"]
    c_in, c_out, side = a.embed_dims[stage - 1], a.embed_dims[stage], a.resolutions[stage]
    residual = h.form_of_downsample(stage) == "residual"
    yield from _norm(f"{name}.norm_in", c_in)
    if residual:
        yield Tensor(f"{name}.conv.shift", "f32", (c_in,))
    yield from _step(f"{name}.conv", precision)
    yield _weight(f"{name}.conv", precision, (1, c_out, DOWNSAMPLE_TAPS, c_in))
    yield from _scale(f"{name}.conv", precision, c_out, h.norm == "batch")
    yield from _norm(f"{name}.norm", c_out)
    if residual:
        yield from _rprelu(f"{name}.rprelu", c_out)
    yield Tensor(f"{name}.position", "f32", (side, side, c_out))


def _mixer(name: str, h: Header, precision: Precision, stage: int) -> Iterator[Tensor]:
    c = h.architecture.embed_dims[stage]
    yield Tensor(f"{name}.shift", "f32", (c,))
    per_group = c // MIXER_GROUPS
    for k in range(len(DILATIONS)):
        conv = f"{name}.convs.{k}"
        yield from _step(conv, precision)
        yield _weight(conv, precision, (MIXER_GROUPS, per_group, MIXER_TAPS, per_group))
        yield from _scale(conv, precision, c, folded=False)
        yield Tensor(f"{conv}.bias", "f32", (c,))
        yield from _rprelu(f"{name}.rprelus.{k}", c)
    yield from _norm(f"{name}.norm", c)


def _window_attention(name: str, h: Header, precision: Precision, stage: int) -> Iterator[Tensor]:
    c, heads = h.architecture.embed_dims[stage], h.architecture.num_heads[stage]
    yield Tensor(f"{name}.summary.mix", "f32", (c,))
    yield from _norm(f"{name}.token_norm", c)
    for part in ("query", "key", "value"):
        yield from _projection(f"{name}.{part}", h, precision, c)
    if precision.takes_signs:
        yield Tensor(f"{name}.probability.alpha", "f32", (heads,))
        yield Tensor(f"{name}.probability.zero_point", "f32", (heads,))
    elif not precision.real_valued:
        yield Tensor(f"{name}.probability.step", "f32", (heads,))
    yield from _norm(f"{name}.norm", c)
    yield from _rprelu(f"{name}.rprelu", c)
    yield Tensor(f"{name}.mix", "f32", (c,))
    yield from _attention_output(name, h, precision, c)


def _global_attention(name: str, h: Header, precision: Precision, stage: int) -> Iterator[Tensor]:
    c, heads = h.architecture.embed_dims[stage], h.architecture.num_heads[stage]
    yield from _projection(f"{name}.query", h, precision, c)
    if h.family.reduction_ratio(h.architecture, stage) > 1:
        yield from _residual_linear(f"{name}.reduction", h, precision, c, c)
    for part in ("key", "value"):
        yield from _projection(f"{name}.{part}", h, precision, c)
    if not precision.real_valued:  # binary probabilities are one bit of a level that all heads share
        yield Tensor(f"{name}.probability.step", "f32", () if precision.takes_signs else (heads,))
    yield from _norm(f"{name}.norm", c)
    yield from _rprelu(f"{name}.rprelu", c)
    yield from _attention_output(name, h, precision, c)


_MIXING: Mapping[Mixing, Callable[[str, Header, Precision, int], Iterator[Tensor]]] = MappingProxyType(
    {
        Mixing.convolutions: _mixer,
        Mixing.windows: _window_attention,
        Mixing.everywhere: _global_attention,
    }
)


def _projection(name: str, h: Header, precision: Precision, c: int) -> Iterator[Tensor]:
    yield from _residual_linear(f"{name}.project", h, precision, c, c)
    yield Tensor(f"{name}.shift", "f32", (c,))
    yield from _step(name, precision)


def _attention_output(name: str, h: Header, precision: Precision, c: int) -> Iterator[Tensor]:
    yield from _residual_linear(f"{name}.output", h, precision, c, c)
    if h.architecture.has_layer_scale:
        yield from _layer_scale(f"{name}.layer_scale", c)


def _mlp(block: str, h: Header, precision: Precision, c: int, intermediate: int) -> Iterator[Tensor]:
    yield from _norm(f"{block}.norm_after", c)
    yield from _residual_linear(f"{block}.mlp.expand", h, precision, c, intermediate)
    yield from _residual_linear(f"{block}.mlp.project", h, precision, intermediate, c)
    if h.architecture.has_layer_scale:
        yield from _layer_scale(f"{block}.mlp.layer_scale", c)
    for direction in h.architecture.branch_directions:
        for branch in h.architecture.branches:
            yield from _layer_scale(f"{block}.shifts.{direction}.{branch}", c)


def _residual_linear(name: str, h: Header, precision: Precision, c_in: int, c_out: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}.linear.shift", "f32", (c_in,))
    yield from _step(f"{name}.linear", precision)
    yield _weight(f"{name}.linear", precision, (1, c_out, 1, c_in))
    yield from _scale(f"{name}.linear", precision, c_out, h.norm == "batch")
    yield from _norm(f"{name}.norm", c_out)
    yield from _rprelu(f"{name}.rprelu", c_out)


def _weight(layer: str, precision: Precision, shape: tuple[int, int, int, int]) -> Tensor:
    return Tensor(f"{layer}.weight", ITEM_OF[precision.name], shape)


def _scale(layer: str, precision: Precision, columns: int, folded: bool) -> Iterator[Tensor]:
    if not precision.real_valued and not folded:
        yield Tensor(f"{layer}.scale", "f32", (columns,))


def _step(layer: str, precision: Precision) -> Iterator[Tensor]:
    if not (precision.real_valued or precision.takes_signs):
        yield Tensor(f"{layer}.activation.step", "f32", ())


def _norm(name: str, channels: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}.scale", "f32", (channels,))
    yield Tensor(f"{name}.shift", "f32", (channels,))


def _rprelu(name: str, channels: int) -> Iterator[Tensor]:
    for part in ("shift_in", "slope", "shift_out"):
        yield Tensor(f"{name}.{part}", "f32", (channels,))


def _layer_scale(name: str, channels: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}.alpha", "f32", (channels,))
    yield Tensor(f"{name}.shift", "f32", (channels,))


# The largest level of an item; levels are symmetric.
LEVELS: Mapping[str, int] = MappingProxyType({"int8": 127, "int4": 7, "int2": 1, "planes": 1})


def random_arrays(header: Header, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Plausible tensors of a model in their natural shapes, for files that are only to be run and timed.

    Weights: signs and levels as int8, halves as float16, the rest float32; maps stay of the order of 1.
    """
    random = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    gain = 1.0  # of the product before, which the next scale takes back
    for tensor in tensors_of(header):
        kind = tensor.name.rpartition(".")[2]
        if tensor.is_weight:
            arrays[tensor.name], gain = _random_weight(tensor, random)
            continue
        centre, spread = _PLAUSIBLE.get(kind, (0.0, 0.1))
        values = centre + spread * random.uniform(-1, 1, tensor.shape)
        if kind == "scale":
            values, gain = values * gain, 1.0
        arrays[tensor.name] = values.astype(np.float32)
    return arrays


_PLAUSIBLE = {"scale": (1, 0.1), "slope": (0.25, 0.05), "step": (0.1, 0.02), "alpha": (0.1, 0.02), "mix": (0.5, 0.1)}


def _random_weight(tensor: Tensor, random: np.random.Generator) -> tuple[NDArray[Any], float]:
    """A weight, and what its products are to be multiplied by."""
    fan_in = tensor.shape[2] * tensor.shape[3]
    if tensor.item == "bits":
        return random.integers(0, 2, tensor.shape, np.int8) * np.int8(2) - np.int8(1), fan_in**-0.5
    if tensor.item in LEVELS:
        largest = LEVELS[tensor.item]
        weight = random.integers(-largest, largest + 1, tensor.shape, np.int8)
        return weight, _PLAUSIBLE["step"][0] / (0.6 * largest * fan_in**0.5)
    weight = random.standard_normal(tensor.shape, np.float32) * np.float32(fan_in**-0.5)
    return (weight.astype(np.float16) if tensor.item == "f16" else weight), 1.0
