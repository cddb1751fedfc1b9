"""A packed network as values: what `native/core.h` describes, field for field, as numpy arrays.

Both runtimes compute from these: `native` hands pointers to the arrays to the compiled core, `numpy_forward` reads them
itself. Field names are those of the structs in `core.h`, which states what each of them means.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bhvit.precision import PRECISIONS

Floats = NDArray[np.float32]


class Kind(IntEnum):
    """Number format of a product, numbered as in `core.h`; names are those of `bhvit.PRECISIONS`."""

    binary = 0
    ternary = 1
    int2 = 2
    int4 = 3
    int8 = 4
    fp16 = 5
    fp32 = 6

    @property
    def real_valued(self) -> bool:
        """Whether activations are not quantized."""
        return PRECISIONS[self.name].real_valued

    @property
    def takes_signs(self) -> bool:
        """Whether activations are signs, and weights planes of signs."""
        return PRECISIONS[self.name].takes_signs

    @property
    def of_activations(self) -> Kind:
        """The kind of products of two such activations."""
        return Kind.binary if self.takes_signs else self

    @property
    def activation_bits(self) -> int:
        """Bits of an activation."""
        return PRECISIONS[self.name].activation_bits

    @property
    def activation_levels(self) -> tuple[int, int]:
        """Lowest and highest level of quantized activations of several bits."""
        return -(2 ** (self.activation_bits - 1)), 2 ** (self.activation_bits - 1) - 1


@dataclass(frozen=True, eq=False)
class Product:
    """Quantized activations times quantized weights; `weight` in the layout of `core.h`, panels of 16 columns.

    `weight` is (groups, panels, ...): uint32 (taps, ceil(channels / 32), 16) for binary, (2, taps, ...) for ternary;
    uint8 (ceil(K / 2), 16) for int2 and int4, int8 (ceil(K / 2), 16, 2) for int8, half or float (K, 16) for real
    values, with K = taps * channels.
    """

    kind: Kind
    groups: int
    columns: int
    taps: int
    channels: int
    step: float
    weight: NDArray[Any]
    scale: Floats | None
    bias: Floats | None
    shift: Floats | None


@dataclass(frozen=True, eq=False)
class Norm:
    """Scale and shift a channel, after standardising each token where `layer` is 1."""

    layer: int
    scale: Floats
    shift: Floats


@dataclass(frozen=True, eq=False)
class RPReLU:
    """PReLU(x - shift_in) + shift_out."""

    shift_in: Floats
    slope: Floats
    shift_out: Floats


@dataclass(frozen=True, eq=False)
class LayerScale:
    """x * alpha + shift."""

    alpha: Floats
    shift: Floats


@dataclass(frozen=True, eq=False)
class Residual:
    """RPReLU(norm(product(x)) + resize(x))."""

    product: Product
    norm: Norm
    rprelu: RPReLU


@dataclass(frozen=True, eq=False)
class Stem:
    """norm(4 x 4 patches), through a GELU where `gelu` is 1, + position."""

    image_size: int
    channels: int
    gelu: int
    classes: int
    product: Product
    norm: Norm
    position: Floats
    image_scale: Floats
    image_shift: Floats


@dataclass(frozen=True, eq=False)
class Mixer:
    """norm(sum over dilations of RPReLU(convolution)) of the normalised map, added to the map; a convolution each."""

    norm_before: Norm
    convs: tuple[Product, ...]
    rprelus: tuple[RPReLU, ...]
    norm: Norm


@dataclass(frozen=True, eq=False)
class Projection:
    """Tokens to queries, keys or values; `shift` and `step` of their quantization."""

    project: Residual
    shift: Floats
    step: float


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of `window` x `window` tokens that also see a summary of the map."""

    window: int
    summary_mix: Floats
    token_norm: Norm
    mix: Floats


@dataclass(frozen=True, eq=False)
class Attention:
    """Attention within `windows`, or of every token to averages of R x R tokens, added to the map.

    R is the `reduction_ratio`, and `reduction` what averages go through where it is above 1. Binary probabilities with
    `probability_zero` have two bits, the others one.
    """

    norm_before: Norm
    heads: int
    kind: Kind
    reduction_ratio: int
    windows: Windows | None
    reduction: Residual | None
    query: Projection
    key: Projection
    value: Projection
    probability_scale: Floats | None
    probability_zero: Floats | None
    norm: Norm
    rprelu: RPReLU
    output: Residual
    layer_scale: LayerScale | None


@dataclass(frozen=True, eq=False)
class Mlp:
    """LayerScale(project(expand(v))) + stencils(v) of the normalised map v, added to the map.

    Stencils read the other side of the map beyond its border where `circular` is 1, zeros otherwise.
    """

    norm_after: Norm
    intermediate: int
    reach: int
    circular: int
    expand: Residual
    project: Residual
    layer_scale: LayerScale | None
    height_taps: Floats
    width_taps: Floats
    branch_shift: Floats


@dataclass(frozen=True, eq=False)
class Downsample:
    """2 x 2 convolution of stride 2 into the next stage."""

    norm_in: Norm
    product: Product
    norm: Norm
    residual: int
    rprelu: RPReLU | None
    position: Floats


@dataclass(frozen=True, eq=False)
class Head:
    """Linear(mean over tokens of norm(h))."""

    norm: Norm
    product: Product


@dataclass(frozen=True, eq=False)
class Block:
    """Token mixing (one of `mixer` and `attention`), then the MLP."""

    mixer: Mixer | None
    attention: Attention | None
    mlp: Mlp


@dataclass(frozen=True, eq=False)
class Stage:
    """Blocks on maps of one side, and what leads into them."""

    downsample: Downsample | None
    side: int
    channels: int
    blocks: tuple[Block, ...]

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)


@dataclass(frozen=True, eq=False)
class Network:
    """Stem, stages and head."""

    stem: Stem
    stages: tuple[Stage, ...]
    head: Head

    @property
    def stage_count(self) -> int:
        """Number of stages."""
        return len(self.stages)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """What every layer gives, in forward order: maps (r, r, C), and at last logits (classes)."""
        shapes: list[tuple[int, ...]] = []
        for stage in self.stages:
            layers = 2 * stage.depth + 1  # the stem or a downsampling layer leads in
            shapes += [(stage.side, stage.side, stage.channels)] * layers
        return (*shapes, (self.stem.classes,))
