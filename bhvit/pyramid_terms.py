"""What the layers that all pyramids share have: weights, multiply-accumulates, parameters, element-wise operations.

A family adds what mixes its tokens (`bhvit.bhvit_terms`, `bhvit.binaryvit.terms`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

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
    Layer,
    LayerTerms,
    PartTerms,
    Shape,
    TermsOf,
    head_terms,
    quantized_bytes,
    steps,
    terms_by_part,
)
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


def pyramid_terms(shape: PyramidShape, norm: str, mixers: Mapping[str, PartTerms]) -> TermsOf:
    """The counts of a pyramid's layers; `mixers` counts what mixes tokens, by the last word of its address."""
    return terms_by_part(shape, norm, {STEM: _stem, **mixers, "mlp": _mlp, DOWNSAMPLE: _downsample, HEAD: _head})


def _mlp(s: PyramidShape, layer: Layer) -> LayerTerms:
    """MLP with the norm before it, the residual after it and the branches beside it."""
    stage, p = layer.stage, layer.precision
    c, i, tokens = s.embed_dims[stage], s.intermediate_dims[stage], s.resolutions[stage] ** 2
    branches, layer_scale = len(s.branch_directions) * len(s.branches), s.has_layer_scale
    return LayerTerms(
        weights=2 * c * i,
        macs=2 * tokens * c * i,
        scales=(c + i) * layer.scaled,
        auxiliary=(NORM + 1 + NORM + RPRELU + (branches + layer_scale) * LAYER_SCALE) * c
        + (NORM + RPRELU + 1) * i
        + steps(p, 2),
        elementwise=tokens * c * (NORM_OPS + NORM_OPS + 1 + RPRELU_OPS + layer_scale + 1 + 2 * branches)
        + tokens * i * (NORM_OPS + 1 + RPRELU_OPS + 1),
        activation_bytes=REAL_BYTES * tokens * (2 * c + i) + quantized_bytes(tokens * i, p),
    )


def _stem(s: PyramidShape, layer: Layer) -> LayerTerms:
    c, tokens = s.embed_dims[0], s.resolutions[0] ** 2
    weights = IMAGE_CHANNELS * PATCH * PATCH * c
    return LayerTerms(
        weights=weights,
        macs=tokens * weights,
        auxiliary=c + NORM * c + tokens * c,  # bias, norm, position embedding
        elementwise=tokens * c * (NORM_OPS + GELU_OPS * s.stem_gelu + 1),
        activation_bytes=REAL_BYTES * (IMAGE_CHANNELS * s.image_size**2 + tokens * c),
    )


def _head(s: PyramidShape, layer: Layer) -> LayerTerms:
    return head_terms(s, s.resolutions[-1] ** 2)


def _downsample(s: PyramidShape, layer: Layer) -> LayerTerms:
    """2x2 stride-2 convolution into `stage`; the residual form has a shift, a tiled residual and an RPReLU more."""
    stage, p = layer.stage, layer.precision
    c_in, c_out = s.embed_dims[stage - 1], s.embed_dims[stage]
    tokens_in, tokens = s.resolutions[stage - 1] ** 2, s.resolutions[stage] ** 2
    residual = s.form_of_downsample(p.real_valued, layer.plan_quantizes) == "residual"
    weights = DOWNSAMPLE_TAPS * c_in * c_out
    return LayerTerms(
        weights=weights,
        macs=tokens * weights,
        scales=c_out * layer.scaled,
        auxiliary=(NORM + residual) * c_in + (NORM + RPRELU * residual + tokens) * c_out + steps(p, 1),
        elementwise=tokens_in * c_in * NORM_OPS + tokens * c_out * (NORM_OPS + (1 + RPRELU_OPS) * residual + 1),
        activation_bytes=REAL_BYTES * (tokens_in * c_in + tokens * c_out) + quantized_bytes(tokens_in * c_in, p),
    )
