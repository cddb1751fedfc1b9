"""The counts of one layer, and the interface by which a model family states them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeAlias

from bhvit.precision import Precision

Count: TypeAlias = Any
"""A whole number, or an integer array with one entry a combination of widths."""

STEM, HEAD = "stem", "head"  # the two layers without an address of their own: always real-valued
DOWNSAMPLE = "downsample"  # what the address of a downsampling layer starts with
NORM_KINDS = ("batch", "layer")

# Element-wise operations per element, as the released profiler prices them.
NORM_OPS, RPRELU_OPS, GELU_OPS, SOFTMAX_OPS, SCALE_OPS = 8, 3, 8, 4, 1
NORM, RPRELU, LAYER_SCALE = 2, 3, 2  # parameters a channel
REAL_BYTES = 4  # a real-valued activation
AUXILIARY_BYTES = 4  # everything that is not a convolution or linear weight is stored in fp32


class Shape(Protocol):
    """What the counts of every family depend on; widths may be integers or integer arrays."""

    @property
    def embed_dims(self) -> tuple[Count, ...]: ...
    @property
    def intermediate_dims(self) -> tuple[Count, ...]: ...
    @property
    def num_heads(self) -> tuple[int, ...]: ...
    @property
    def resolutions(self) -> tuple[int, ...]: ...
    @property
    def image_size(self) -> int: ...
    @property
    def num_classes(self) -> int: ...


class Place(NamedTuple):
    """Where a layer is: a part of a block of a stage, or the downsampling layer (no block) that leads into it.

    Stem and head have no block either; the stage is the first and the last.
    """

    stage: int
    block: int | None
    part: str


@lru_cache(maxsize=2**12)
def place_of(address: str) -> Place:
    """The place of a layer: of an address, `stem` or `head`."""
    if address in (STEM, HEAD):
        return Place(0 if address == STEM else -1, None, address)
    if address.startswith(DOWNSAMPLE):
        return Place(int(address.removeprefix(DOWNSAMPLE)), None, DOWNSAMPLE)
    stage, block, part = address.split(".")
    return Place(int(stage.removeprefix("stage")), int(block.removeprefix("block")), part)


class LayerTerms(NamedTuple):
    """Closed-form counts of one layer address, batch 1.

    `weights`: elements of convolution and linear weights; `macs`: multiply-accumulates of those weights;
    `score_macs`, `context_macs`: of the two attention products (activation x activation); `auxiliary`: parameters that
    are not weights; `elementwise`: element-wise operations; `activation_bytes`: what is live while the layer runs
    (`docs/conventions.md` lists the tensors); `scales`: weight scales that a quantized layer stores because no batch
    norm follows to absorb them; `probability_planes`: bit planes of attention probabilities where activations have
    one bit.
    """

    weights: Count
    macs: Count
    auxiliary: Count
    elementwise: Count
    activation_bytes: Count
    score_macs: Count = 0
    context_macs: Count = 0
    scales: Count = 0
    probability_planes: int = 2


class TermsOf(Protocol):
    """Counts of one layer of a shape."""

    def __call__(self, address: str, precision: Precision, plan_quantizes: bool) -> LayerTerms:
        """`LayerTerms` of `address` (or of "stem", "head") at `precision`, in a plan that quantizes or not."""


TermsFunction: TypeAlias = Callable[[Any, str], TermsOf]
"""From a shape (an architecture, or a grid of widths over one) and the model's norm to the counts of its layers."""


class Layer(NamedTuple):
    """A layer that is counted: where it is, and what else its counts depend on.

    `block`: None where blocks of a stage count alike; `scaled`: whether it stores weight scales where it is quantized:
    a `batch` norm takes in those of the product before it, a `layer` norm cannot.
    """

    stage: int
    block: int | None
    precision: Precision
    plan_quantizes: bool
    scaled: bool


PartTerms: TypeAlias = Callable[[Any, Layer], LayerTerms]
"""Counts of a layer of a shape."""


def terms_by_part(shape: Any, norm: str, parts: Mapping[str, PartTerms], *, first_apart: bool = False) -> TermsOf:
    """The counts of all layers of a shape: `parts` counts each kind of them, by the last word of its address.

    Blocks of one stage and precision share one entry, so a whole model needs about a dozen evaluations; with
    `first_apart` the first of a stage has one of its own (block 0), the others are counted as block 1.
    """
    known: dict[tuple[str, int, int | None, str, bool], LayerTerms] = {}

    def terms_of(address: str, precision: Precision, plan_quantizes: bool) -> LayerTerms:
        stage, block, part = place_of(address)
        block = min(block, 1) if first_apart and block is not None else None
        key = (part, stage, block, precision.name, plan_quantizes)
        if key not in known:
            known[key] = parts[part](shape, Layer(stage, block, precision, plan_quantizes, norm == "layer"))
        return known[key]

    return terms_of


def head_terms(s: Shape, tokens: int, *, norm: bool = True, averages: bool = True) -> LayerTerms:
    """The linear layer to the classes, of one token or of what `averages` the last map's `tokens`; perhaps a norm."""
    c = s.embed_dims[-1]
    return LayerTerms(
        weights=c * s.num_classes,
        macs=c * s.num_classes,
        auxiliary=NORM * c * norm + s.num_classes,
        elementwise=tokens * c * averages + c * NORM_OPS * norm,
        activation_bytes=REAL_BYTES * tokens * c,
    )


def steps(precision: Precision, quantizers: int) -> int:
    """Learned activation steps of a layer: one a quantizer where activations have several bits (LSQ), else none."""
    return quantizers if 1 < precision.activation_bits < 16 else 0


def probability_parameters(precision: Precision, heads: int, of_signs: int) -> int:
    """Quantizer parameters of attention probabilities: `of_signs` beside signs, a step a head beside levels (LSQ)."""
    if precision.real_valued:
        return 0
    return of_signs if precision.takes_signs else heads


def quantized_bytes(elements: Count, precision: Precision) -> Count:
    """Bytes of so many activations as the layer's products take them: packed bits, halves or floats."""
    return -(-elements * precision.activation_bits // 8)
