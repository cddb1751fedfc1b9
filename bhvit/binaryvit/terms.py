"""How many weights, multiply-accumulates, parameters and element-wise operations each layer of BinaryViT has."""

from __future__ import annotations

from typing import Protocol

from bhvit.layer_terms import (
    LAYER_SCALE,
    NORM,
    NORM_OPS,
    REAL_BYTES,
    RPRELU,
    RPRELU_OPS,
    SCALE_OPS,
    SOFTMAX_OPS,
    Layer,
    LayerTerms,
    TermsOf,
    probability_parameters,
    quantized_bytes,
    steps,
)
from bhvit.pyramid_terms import PyramidShape, pyramid_terms

LINEAR = NORM + RPRELU + 1  # parameters of a residual linear layer a channel, its weight aside: and a shift
LINEAR_OPS = NORM_OPS + 1 + RPRELU_OPS  # of a residual linear layer an output


class Shape(PyramidShape, Protocol):
    """What the counts depend on."""

    @property
    def reductions(self) -> tuple[int, ...]: ...


def binaryvit_terms(shape: Shape, norm: str = "batch") -> TermsOf:
    """The counts of a BinaryViT's layers (`docs/conventions.md`; Le & Li, CVPRW 2023, arXiv 2306.16678)."""
    return pyramid_terms(shape, norm, {"attention": _attention})


def _attention(s: Shape, layer: Layer) -> LayerTerms:
    """Global attention with the norm before it and the residual after it; keys are averages of R x R tokens."""
    stage, p = layer.stage, layer.precision
    c, heads, reduction_ratio = s.embed_dims[stage], s.num_heads[stage], s.reductions[stage]
    tokens = s.resolutions[stage] ** 2
    keys, reduces = tokens // reduction_ratio**2, reduction_ratio > 1
    layers = 4 + reduces  # query, key, value, output and the reduction
    rows = 2 * tokens + (2 + reduces) * keys  # tokens that go through them
    scores = heads * tokens * keys
    return LayerTerms(
        weights=layers * c * c,
        macs=rows * c * c,
        scales=layers * c * layer.scaled,
        # Besides: norm before, shifts of q, k and v before their quantizers, norm and RPReLU of the context.
        auxiliary=(NORM + layers * LINEAR + 3 + NORM + RPRELU + LAYER_SCALE * s.has_layer_scale) * c
        + probability_parameters(p, heads, of_signs=1)  # the level
        + steps(p, 7 + reduces),
        elementwise=rows * c * LINEAR_OPS
        + tokens * c * (NORM_OPS + reduces + NORM_OPS + 3 + RPRELU_OPS + s.has_layer_scale + 1)
        + scores * (SOFTMAX_OPS + SCALE_OPS),
        activation_bytes=REAL_BYTES * (3 * tokens * c + 2 * keys * c + scores) + quantized_bytes(tokens * c, p),
        score_macs=tokens * keys * c,
        context_macs=tokens * keys * c,
        probability_planes=1,
    )
