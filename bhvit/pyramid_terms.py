"""What the layers that all pyramids share have: weights, multiply-accumulates, parameters, element-wise operations.

A family adds what mixes its tokens (`bhvit.bhvit_terms`, `bhvit.binaryvit.terms`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from bhvit.layer_terms import (
    DOWNSAMPLE,
    GELU_OPS,
    HEAD,
    LAYER_SCALE,
    NORM,
    NORM_OPS,
    REAL_BYTES,
    RPRELU,
    RPRELU_OPS,
    STEM,
    LayerTerms,
    Shape,
    TermsOf,
    place_of,
    quantized_bytes,
    steps,
)
from bhvit.precision import Precision
from bhvit.staged import DOWNSAMPLE_TAPS, IMAGE_CHANNELS, PATCH


class PyramidShape(Shape, Protocol):
    """What the counts depend on."""

    @property
    def stem_gelu(self) -> bool: ...
    @property
    def branches(self) -> Mapping[int, int]: ...
    @property
    def branch_directions(self) -> tuple[str, ...]: ...
    @property
    def has_layer_scale(self) -> bool: ...
    def form_of_downsample(self, real_valued: bool, plan_quantizes: bool) -> str:
        """`residual` or `plain`."""


PartTerms: TypeAlias = Callable[[Any, int, Precision, bool], LayerTerms]
"""Counts of a part of a block from (shape, stage, precision, whether weight scales are stored)."""


def pyramid_terms(shape: PyramidShape, norm: str, mixers: Mapping[str, PartTerms]) -> TermsOf:
    """The counts of a pyramid's layers; `mixers` counts what mixes tokens, by the last word of its address.

    A `batch` norm takes in the weight scales of the product before it; beside a `layer` norm they are stored.
    Blocks of one stage and precision share one entry, so a whole model needs about a dozen evaluations.
    """
    scaled, parts = norm == "layer", {**mixers, "mlp": _mlp}
    known: dict[tuple[str, int, str], LayerTerms] = {}

    def terms_of(address: str, precision: Precision, plan_quantizes: bool) -> LayerTerms:
        if address == STEM:
            return _stem(shape)
        if address == HEAD:
            return _head(shape)
        stage, _, part = place_of(address)
        if part == DOWNSAMPLE:
            form = shape.form_of_downsample(precision.real_valued, plan_quantizes)
            return _downsample(shape, stage, precision, form, scaled)
        key = (part, stage, precision.name)
        if key not in known:
            known[key] = parts[part](shape, stage, precision, scaled)
        return known[key]

    return terms_of


def _mlp(s: PyramidShape, stage: int, p: Precision, scaled: bool) -> LayerTerms:
    """MLP with the norm before it, the residual after it and the branches beside it."""
    c, i, tokens = s.embed_dims[stage], s.intermediate_dims[stage], s.resolutions[stage] ** 2
    branches, layer_scale = len(s.branch_directions) * len(s.branches), s.has_layer_scale
    return LayerTerms(
        weights=2 * c * i,
        macs=2 * tokens * c * i,
        scales=(c + i) * scaled,
        auxiliary=(NORM + 1 + NORM + RPRELU + (branches + layer_scale) * LAYER_SCALE) * c
        + (NORM + RPRELU + 1) * i
        + steps(p, 2),
        elementwise=tokens * c * (NORM_OPS + NORM_OPS + 1 + RPRELU_OPS + layer_scale + 1 + 2 * branches)
        + tokens * i * (NORM_OPS + 1 + RPRELU_OPS + 1),
        activation_bytes=REAL_BYTES * tokens * (2 * c + i) + quantized_bytes(tokens * i, p),
    )


def _stem(s: PyramidShape) -> LayerTerms:
    c, tokens = s.embed_dims[0], s.resolutions[0] ** 2
    weights = IMAGE_CHANNELS * PATCH * PATCH * c
    return LayerTerms(
        weights=weights,
        macs=tokens * weights,
        auxiliary=c + NORM * c + tokens * c,  # bias, norm, position embedding
        elementwise=tokens * c * (NORM_OPS + GELU_OPS * s.stem_gelu + 1),
        activation_bytes=REAL_BYTES * (IMAGE_CHANNELS * s.image_size**2 + tokens * c),
    )


def _head(s: PyramidShape) -> LayerTerms:
    c, tokens = s.embed_dims[-1], s.resolutions[-1] ** 2
    return LayerTerms(
        weights=c * s.num_classes,
        macs=c * s.num_classes,
        auxiliary=NORM * c + s.num_classes,
        elementwise=tokens * c + c * NORM_OPS,
        activation_bytes=REAL_BYTES * tokens * c,
    )


def _downsample(s: PyramidShape, stage: int, p: Precision, form: str, scaled: bool) -> LayerTerms:
    """2x2 stride-2 convolution into `stage`; the residual form has a shift, a tiled residual and an RPReLU more."""
    c_in, c_out = s.embed_dims[stage - 1], s.embed_dims[stage]
    tokens_in, tokens = s.resolutions[stage - 1] ** 2, s.resolutions[stage] ** 2
    residual = form == "residual"
    weights = DOWNSAMPLE_TAPS * c_in * c_out
    return LayerTerms(
        weights=weights,
        macs=tokens * weights,
        scales=c_out * scaled,
        auxiliary=(NORM + residual) * c_in + (NORM + RPRELU * residual + tokens) * c_out + steps(p, 1),
        elementwise=tokens_in * c_in * NORM_OPS + tokens * c_out * (NORM_OPS + (1 + RPRELU_OPS) * residual + 1),
        activation_bytes=REAL_BYTES * (tokens_in * c_in + tokens * c_out) + quantized_bytes(tokens_in * c_in, p),
    )
