"""How many weights, multiply-accumulates, parameters and element-wise operations each layer of BHViT has."""

from __future__ import annotations

from typing import Protocol

from bhvit.architecture import MIXER_GROUPS
from bhvit.layer_terms import (
    GELU_OPS,
    HEAD,
    NORM_OPS,
    RPRELU_OPS,
    SCALE_OPS,
    SOFTMAX_OPS,
    STEM,
    Count,
    LayerTerms,
    TermsOf,
)
from bhvit.precision import Precision
from bhvit.staged import PATCH

REAL_BYTES = 4  # a real-valued activation
NORM, RPRELU, LAYER_SCALE = 2, 3, 2  # parameters per channel
MIXER_BRANCHES = 3
ROLLS = 3  # height, width and channel-quarter rolls of one shift branch


class Shape(Protocol):
    """What the counts depend on; widths may be integers or integer arrays."""

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
    def window_size(self) -> int: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def shifts(self) -> tuple[int, ...]: ...
    def form_of_downsample(self, real_valued: bool, plan_quantizes: bool) -> str:
        """`residual` or `plain`."""


def bhvit_terms(shape: Shape, norm: str = "batch") -> TermsOf:
    """The counts of a BHViT's layers (`docs/conventions.md`; published figures: van Loon 2026, tables 3 and 4).

    A `batch` norm takes in the weight scales of the product before it; beside a `layer` norm they are stored.
    Blocks of one stage and precision share one entry, so a whole model needs about a dozen evaluations.
    """
    scaled = norm == "layer"
    known: dict[tuple[str, int, int, str], LayerTerms] = {}

    def terms_of(address: str, precision: Precision, plan_quantizes: bool) -> LayerTerms:
        if address == STEM:
            return _stem(shape)
        if address == HEAD:
            return _head(shape)
        if address.startswith("downsample"):
            form = shape.form_of_downsample(precision.real_valued, plan_quantizes)
            return _downsample(shape, int(address[len("downsample") :]), precision, form, scaled)
        stage, kind = int(address[len("stage") : address.index(".")]), address[address.rindex(".") + 1 :]
        key = (kind, stage, precision.activation_bits, precision.name)
        if key not in known:
            known[key] = _BLOCK_PARTS[kind](shape, stage, precision, scaled)
        return known[key]

    return terms_of


def _stem(s: Shape) -> LayerTerms:
    c, tokens = s.embed_dims[0], s.resolutions[0] ** 2
    weights = 3 * PATCH * PATCH * c
    return LayerTerms(
        weights=weights,
        macs=tokens * weights,
        auxiliary=c + NORM * c + tokens * c,  # bias, norm, position embedding
        elementwise=tokens * c * (NORM_OPS + GELU_OPS + 1),
        activation_bytes=REAL_BYTES * (3 * s.image_size**2 + tokens * c),
    )


def _head(s: Shape) -> LayerTerms:
    c, tokens = s.embed_dims[-1], s.resolutions[-1] ** 2
    return LayerTerms(
        weights=c * s.num_classes,
        macs=c * s.num_classes,
        auxiliary=NORM * c + s.num_classes,
        elementwise=tokens * c + c * NORM_OPS,
        activation_bytes=REAL_BYTES * tokens * c,
    )


def _mixer(s: Shape, stage: int, p: Precision, scaled: bool) -> LayerTerms:
    """MSGDC with the norm before it and the residual after it: three grouped 3x3 convolutions, always scaled."""
    c, tokens = s.embed_dims[stage], s.resolutions[stage] ** 2
    weights = MIXER_BRANCHES * 9 * c * (c // MIXER_GROUPS)
    branch_ops = 1 + RPRELU_OPS  # bias, RPReLU
    return LayerTerms(
        weights=weights,
        macs=tokens * weights,
        scales=MIXER_BRANCHES * c,
        auxiliary=(NORM + 1 + MIXER_BRANCHES * (1 + RPRELU) + NORM) * c + _steps(p, MIXER_BRANCHES),
        # The last 1 + 1: the released profiler counts the residual addition of a mixer twice; kept for comparability.
        elementwise=tokens * c * (NORM_OPS + 1 + MIXER_BRANCHES * branch_ops + 2 + NORM_OPS + 1 + 1),
        activation_bytes=3 * REAL_BYTES * tokens * c + _bytes(tokens * c, p),
    )


def _attention(s: Shape, stage: int, p: Precision, scaled: bool) -> LayerTerms:
    """MSMHA with the norm before it and the residual after it: n windows of g^2 tokens and n summary tokens."""
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
        scales=4 * c * scaled,
        auxiliary=(NORM + projections + context + output + mixing) * c
        + _probability_parameters(p, heads)
        + _steps(p, 7),
        elementwise=tokens * c * (NORM_OPS + 2 + NORM_OPS + 1 + RPRELU_OPS + 1 + 1)
        + 3 * windows * c
        + rows * c * (NORM_OPS + 3 * (NORM_OPS + RPRELU_OPS) + NORM_OPS + 3 + RPRELU_OPS)
        + scores * (SOFTMAX_OPS + SCALE_OPS),
        activation_bytes=REAL_BYTES * (2 * tokens * c + 3 * rows * c + scores),
        score_macs=windows * keys * keys * c,
        context_macs=windows * keys * keys * c,
    )


def _mlp(s: Shape, stage: int, p: Precision, scaled: bool) -> LayerTerms:
    """MLP with the norm before it, the residual after it and the shift branches beside it."""
    c, i, tokens = s.embed_dims[stage], s.intermediate_dims[stage], s.resolutions[stage] ** 2
    branches = ROLLS * len(s.shifts)
    return LayerTerms(
        weights=2 * c * i,
        macs=2 * tokens * c * i,
        scales=(c + i) * scaled,
        auxiliary=(NORM + 1 + NORM + RPRELU + LAYER_SCALE + branches * LAYER_SCALE) * c
        + (NORM + RPRELU + 1) * i
        + _steps(p, 2),
        elementwise=tokens * c * (NORM_OPS + NORM_OPS + 1 + RPRELU_OPS + 1 + 1 + 2 * branches)
        + tokens * i * (NORM_OPS + 1 + RPRELU_OPS + 1),
        activation_bytes=REAL_BYTES * tokens * (2 * c + i),
    )


def _downsample(s: Shape, stage: int, p: Precision, form: str, scaled: bool) -> LayerTerms:
    """2x2 stride-2 convolution into `stage`; the residual form has a shift, a tiled residual and an RPReLU more."""
    c_in, c_out = s.embed_dims[stage - 1], s.embed_dims[stage]
    tokens_in, tokens = s.resolutions[stage - 1] ** 2, s.resolutions[stage] ** 2
    residual = form == "residual"
    weights = 4 * c_in * c_out
    return LayerTerms(
        weights=weights,
        macs=tokens * weights,
        scales=c_out * scaled,
        auxiliary=(NORM + residual) * c_in + (NORM + RPRELU * residual + tokens) * c_out + _steps(p, 1),
        elementwise=tokens_in * c_in * NORM_OPS + tokens * c_out * (NORM_OPS + (1 + RPRELU_OPS) * residual + 1),
        activation_bytes=REAL_BYTES * (tokens_in * c_in + tokens * c_out),
    )


_BLOCK_PARTS = {"mixer": _mixer, "attention": _attention, "mlp": _mlp}


def _steps(p: Precision, quantizers: int) -> int:
    """Learned activation steps of a layer: one a quantizer where activations have several bits (LSQ), else none."""
    return 0 if p.real_valued or p.takes_signs else quantizers


def _probability_parameters(p: Precision, heads: int) -> int:
    """Quantizer parameters of the attention probabilities: scale and zero a head (signs), scale a head (levels)."""
    if p.real_valued:
        return 0
    return 2 * heads if p.takes_signs else heads


def _bytes(elements: Count, p: Precision) -> Count:
    return elements * p.activation_bits // 8
