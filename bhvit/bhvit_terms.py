"""How many weights, multiply-accumulates, parameters and element-wise operations each layer of BHViT has."""

from __future__ import annotations

from typing import Protocol

from bhvit.architecture import DILATIONS, MIXER_GROUPS, MIXER_TAPS
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


class Shape(PyramidShape, Protocol):
    """What the counts depend on."""

    @property
    def window_size(self) -> int: ...


def bhvit_terms(shape: Shape, norm: str = "batch") -> TermsOf:
    """The counts of a BHViT's layers (`docs/conventions.md`; published figures: van Loon 2026, tables 3 and 4)."""
    return pyramid_terms(shape, norm, {"mixer": _mixer, "attention": _attention})


def _mixer(s: Shape, layer: Layer) -> LayerTerms:
    """MSGDC with the norm before it and the residual after it: three grouped 3x3 convolutions, always scaled."""
    stage, p = layer.stage, layer.precision
    c, tokens = s.embed_dims[stage], s.resolutions[stage] ** 2
    branches = len(DILATIONS)
    weights = branches * MIXER_TAPS * c * (c // MIXER_GROUPS)
    branch_ops = 1 + RPRELU_OPS  # bias, RPReLU
    return LayerTerms(
        weights=weights,
        macs=tokens * weights,
        scales=branches * c,
        auxiliary=(NORM + 1 + branches * (1 + RPRELU) + NORM) * c + steps(p, branches),
        # The last 1 + 1: the released profiler counts the residual addition of a mixer twice; kept for comparability.
        elementwise=tokens * c * (NORM_OPS + 1 + branches * branch_ops + 2 + NORM_OPS + 1 + 1),
        activation_bytes=3 * REAL_BYTES * tokens * c + quantized_bytes(tokens * c, p),
    )


def _attention(s: Shape, layer: Layer) -> LayerTerms:
    """MSMHA with the norm before it and the residual after it: n windows of g^2 tokens and n summary tokens."""
    stage, p = layer.stage, layer.precision
    c, heads, side = s.embed_dims[stage], s.num_heads[stage], s.resolutions[stage]
    tokens, windows = side**2, (side // s.window_size) ** 2
    keys = s.window_size**2 + windows
    rows = windows * keys  # tokens that are projected to q, k and v
    scores = windows * heads * keys * keys
    projections = 3 * RPRELU + 3 * NORM + 3 * 2  # q, k, v: RPReLU, norm, two shifts
    context = NORM + RPRELU
    output = 1 + NORM + RPRELU + LAYER_SCALE  # shift before the binary linear layer
    mixing = 2 + NORM  # a and b, LayerNorm of the window tokens
    return LayerTerms(
        weights=4 * c * c,
        macs=(3 * rows + tokens) * c * c,
        scales=4 * c * layer.scaled,
        auxiliary=(NORM + projections + context + output + mixing) * c
        + probability_parameters(p, heads, of_signs=2 * heads)  # scale and zero a head
        + steps(p, 7),
        elementwise=tokens * c * (NORM_OPS + 2 + NORM_OPS + 1 + RPRELU_OPS + 1 + 1)
        + 3 * windows * c
        + rows * c * (NORM_OPS + 3 * (NORM_OPS + RPRELU_OPS) + NORM_OPS + 3 + RPRELU_OPS)
        + scores * (SOFTMAX_OPS + SCALE_OPS),
        activation_bytes=REAL_BYTES * (2 * tokens * c + 3 * rows * c + scores) + quantized_bytes(rows * c, p),
        score_macs=windows * keys * keys * c,
        context_macs=windows * keys * keys * c,
    )
