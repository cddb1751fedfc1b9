"""How many weights, multiply-accumulates, parameters and element-wise operations each layer of DeiT has."""

from __future__ import annotations

from bhvit.deit.architecture import PATCH
from bhvit.layer_terms import (
    GELU_OPS,
    HEAD,
    NORM,
    NORM_OPS,
    REAL_BYTES,
    SCALE_OPS,
    SOFTMAX_OPS,
    STEM,
    Layer,
    LayerTerms,
    Shape,
    TermsOf,
    head_terms,
    quantized_bytes,
    terms_by_part,
)
from bhvit.staged import IMAGE_CHANNELS


def deit_terms(shape: Shape, norm: str = "layer") -> TermsOf:
    """The counts of a DeiT's layers (`docs/conventions.md`)."""
    return terms_by_part(shape, norm, {STEM: _stem, "attention": _attention, "mlp": _mlp, HEAD: _head})


def _tokens(s: Shape) -> int:
    """Patches and the class token."""
    return s.resolutions[0] ** 2 + 1


def _stem(s: Shape, layer: Layer) -> LayerTerms:
    c, tokens = s.embed_dims[0], _tokens(s)
    weights = IMAGE_CHANNELS * PATCH * PATCH * c
    return LayerTerms(
        weights=weights,
        macs=(tokens - 1) * weights,
        auxiliary=c + c + tokens * c,  # bias, class token, position embedding
        elementwise=tokens * c,
        activation_bytes=REAL_BYTES * (IMAGE_CHANNELS * s.image_size**2 + tokens * c),
    )


def _head(s: Shape, layer: Layer) -> LayerTerms:
    """The norm and the classifier of the class token alone."""
    return head_terms(s, _tokens(s), averages=False)


def _attention(s: Shape, layer: Layer) -> LayerTerms:
    """Attention of all tokens with the norm before it and the residual after it; its four linear layers have biases."""
    c, tokens = s.embed_dims[0], _tokens(s)
    scores = s.num_heads[0] * tokens * tokens
    return LayerTerms(
        weights=4 * c * c,
        macs=4 * tokens * c * c,
        auxiliary=(NORM + 4) * c,
        elementwise=tokens * c * (NORM_OPS + 4 + 1) + scores * (SOFTMAX_OPS + SCALE_OPS),
        activation_bytes=REAL_BYTES * (5 * tokens * c + scores) + quantized_bytes(tokens * c, layer.precision),
        score_macs=tokens * tokens * c,
        context_macs=tokens * tokens * c,
    )


def _mlp(s: Shape, layer: Layer) -> LayerTerms:
    """Two linear layers with biases and a GELU between them, the norm before and the residual after."""
    c, i, tokens = s.embed_dims[0], s.intermediate_dims[0], _tokens(s)
    return LayerTerms(
        weights=2 * c * i,
        macs=2 * tokens * c * i,
        auxiliary=(NORM + 1) * c + i,
        elementwise=tokens * c * (NORM_OPS + 1 + 1) + tokens * i * (1 + GELU_OPS),
        activation_bytes=REAL_BYTES * tokens * (2 * c + i) + quantized_bytes(tokens * i, layer.precision),
    )
