"""How many weights, multiply-accumulates, parameters and element-wise operations each layer of ReActNet has."""

from __future__ import annotations

from typing import Protocol

from bhvit.layer_terms import (
    DOWNSAMPLE,
    HEAD,
    NORM,
    NORM_OPS,
    REAL_BYTES,
    RPRELU,
    RPRELU_OPS,
    STEM,
    Count,
    Layer,
    LayerTerms,
    TermsOf,
    head_terms,
    quantized_bytes,
    steps,
    terms_by_part,
)
from bhvit.layer_terms import Shape as AnyShape
from bhvit.reactnet.architecture import KERNEL, POOL_KERNEL, STEM_KERNEL
from bhvit.staged import IMAGE_CHANNELS


class Shape(AnyShape, Protocol):
    """What the counts depend on."""

    def halves(self, stage: int, block: int) -> bool:
        """Whether a block halves the side of its map."""


def reactnet_terms(shape: Shape, norm: str = "batch") -> TermsOf:
    """The counts of a ReActNet's layers (`docs/conventions.md`)."""
    parts = {STEM: _stem, "conv0": _conv0, "conv1": _conv1, DOWNSAMPLE: _downsample, HEAD: _head}
    return terms_by_part(shape, norm, parts, first_apart=True)


def _stem(s: Shape, layer: Layer) -> LayerTerms:
    c, tokens = s.embed_dims[0], s.resolutions[0] ** 2
    before_pooling = (s.image_size // 2) ** 2
    weights = IMAGE_CHANNELS * STEM_KERNEL**2 * c
    return LayerTerms(
        weights=weights,
        macs=before_pooling * weights,
        auxiliary=NORM * c,
        elementwise=before_pooling * c * NORM_OPS + tokens * c * POOL_KERNEL**2,
        activation_bytes=REAL_BYTES * (IMAGE_CHANNELS * s.image_size**2 + before_pooling * c),
    )


def _head(s: Shape, layer: Layer) -> LayerTerms:
    return head_terms(s, s.resolutions[-1] ** 2, norm=False)


def _downsample(s: Shape, layer: Layer) -> LayerTerms:
    """The shortcut into a stage: 2x2 average, 1x1 convolution, norm."""
    stage, p = layer.stage, layer.precision
    c_in, c_out = s.embed_dims[stage - 1], s.embed_dims[stage]
    tokens_in, tokens = s.resolutions[stage - 1] ** 2, s.resolutions[stage] ** 2
    return LayerTerms(
        weights=c_in * c_out,
        macs=tokens * c_in * c_out,
        scales=c_out * layer.scaled,
        auxiliary=NORM * c_out + steps(p, 1),
        elementwise=tokens_in * c_in + tokens * c_out * NORM_OPS,
        activation_bytes=REAL_BYTES * (tokens_in * c_in + tokens * c_out) + quantized_bytes(tokens * c_in, p),
    )


def _conv0(s: Shape, layer: Layer) -> LayerTerms:
    """To the intermediate channels; the first of a stage but the first halves the side of its map."""
    assert layer.block is not None
    stage, halves = layer.stage, s.halves(layer.stage, layer.block)
    c, i, tokens = s.embed_dims[stage], s.intermediate_dims[stage], s.resolutions[stage] ** 2
    c_in, tokens_in = s.embed_dims[stage - halves], s.resolutions[stage - halves] ** 2
    shortcut = tokens * c * halves  # elsewhere it is the input
    return _conv(c_in, i, tokens_in, tokens, shortcut, layer)


def _conv1(s: Shape, layer: Layer) -> LayerTerms:
    """From the intermediate channels, past which their averages go where there are not as many."""
    stage = layer.stage
    c, i, tokens = s.embed_dims[stage], s.intermediate_dims[stage], s.resolutions[stage] ** 2
    terms = _conv(i, c, tokens, tokens, 0, layer)
    return terms._replace(elementwise=terms.elementwise + tokens * i * (c != i))


def _conv(c_in: Count, c_out: Count, tokens_in: int, tokens: int, shortcut: Count, layer: Layer) -> LayerTerms:
    """3x3 convolution with the shift before it; norm, shortcut of so many elements of its own, and RPReLU after it."""
    weights = KERNEL**2 * c_in * c_out
    return LayerTerms(
        weights=weights,
        macs=tokens * weights,
        scales=c_out * layer.scaled,
        auxiliary=c_in + (NORM + RPRELU) * c_out + steps(layer.precision, 1),
        elementwise=tokens * c_out * (NORM_OPS + 1 + RPRELU_OPS),
        activation_bytes=REAL_BYTES * (tokens_in * c_in + shortcut + tokens * c_out)
        + quantized_bytes(tokens_in * c_in, layer.precision),
    )
