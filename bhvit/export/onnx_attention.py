"""Attention as ONNX nodes: within windows, and to the whole map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bhvit.blocks import GlobalAttention, WindowAttention
from bhvit.blocks.attention import Projection, QuantAttention
from bhvit.blocks.summary_tokens import SummaryTokens
from bhvit.export.constants import step_of
from bhvit.export.onnx_layers import TO_CHANNELS_FIRST, TO_CHANNELS_LAST, Layers, Value, folded_or_identity
from bhvit.layers.norm import TokenBatchNorm
from bhvit.quantizers.probability import (
    PLANES_LEVEL,
    LearnedStepProbability,
    ProbabilityDecomposition,
    ProbabilityPlane,
)

INTO_HEADS = [0, 1, 3, 2, 4]  # (B, n, tokens, H, d) <-> (B, n, H, tokens, d)
KEYS_INTO_HEADS = [0, 1, 3, 4, 2]  # (B, n, tokens, H, d) -> (B, n, H, d, tokens)
INTO_WINDOWS = [0, 1, 3, 2, 4, 5]  # (B, w, g, w, g, C) <-> (B, w, w, g, g, C)
ALL_TOKENS = [0, 0, 0]  # the first dimensions of (B, n, tokens, C), as Reshape takes them
Projected = tuple[Value, str, Tensor]  # P, the levels of its quantizer, and their step


class Attentions(Layers):
    """Adds the attention of a model to a graph."""

    def window_attention(self, attention: WindowAttention, u: Value, side: int) -> Value:
        """Attention within windows and their summary tokens."""
        with self.nodes.scope(self.names[attention]):
            t = Value(self._tokens(attention, u, side))
        projected = [self._projected(p, t) for p in (attention.query, attention.key, attention.value)]
        context = self._context(attention, projected, [p for p, *_ in projected], [ALL_TOKENS] * 3, ALL_TOKENS)
        window, across = attention.window, side // attention.window
        with self.nodes.scope(self.names[attention]):
            mixed = self._mixed(attention, self.settled(context), window, across)
        return self.layer_scale(attention.layer_scale, self.residual_linear(attention.output, Value(mixed)))

    def global_attention(self, attention: GlobalAttention, u: Value, side: int) -> Value:
        """Attention of every token to the map, or to averages of patches of it."""
        reduction_ratio, t = attention.reduction_ratio, u
        across = side // reduction_ratio
        if attention.reduction is not None:
            with self.nodes.scope(self.names[attention]):
                t = Value(self.pooled(u.name, "AveragePool", reduction_ratio), u.offset)
            t = self.residual_linear(attention.reduction, t)
        q, k, v = (self._projected(p, x) for p, x in ((attention.query, u), (attention.key, t), (attention.value, t)))
        with self.nodes.scope(self.names[attention]):
            seen = [Value(self._upsampled(p.name, across, reduction_ratio), p.offset) for p, *_ in (k, v)]
        queries, keys = [0, 1, side**2], [0, 1, across**2]
        context = self._context(attention, (q, k, v), (q[0], *seen), (queries, keys, keys), [0, side, side])
        return self.layer_scale(attention.layer_scale, self.residual_linear(attention.output, context))

    def _projected(self, projection: Projection, t: Value) -> Projected:
        """P, the levels of its quantizer, and their step."""
        p = self.residual_linear(projection.project, t)
        with self.nodes.scope(self.names[projection]):
            return p, *self.quantized(projection.activation, p, projection.shift)

    def _context(
        self,
        attention: QuantAttention,
        projected: Sequence[Projected],
        residuals: Sequence[Value],
        into: Sequence[list[int]],
        back: list[int],
    ) -> Value:
        """RPReLU(norm(context) + residuals) of queries, keys and values.

        `into` are the first dimensions (B, n, tokens) in which each of them attends, `back` those of the context.
        """
        heads, channels = attention.num_heads, len(attention.rprelu.slope)
        width = channels // heads
        (_, q_levels, q_step), (_, k_levels, k_step), (_, v_levels, v_step) = projected
        with self.nodes.scope(self.names[attention]):
            per_head = [
                self.nodes.op("Reshape", x, [*shape, heads, width])
                for x, shape in zip((q_levels, k_levels, v_levels), into, strict=True)
            ]
            orders = (INTO_HEADS, KEYS_INTO_HEADS, INTO_HEADS)
            q_heads, k_heads, v_heads = (self.transposed(x, o) for x, o in zip(per_head, orders, strict=True))
            scale = q_step * k_step / math.sqrt(width)
            scores = self.nodes.op("Mul", self.nodes.op("MatMul", q_heads, k_heads), scale)
            probabilities, factor = self._probabilities(
                attention.probability, self.nodes.op("Softmax", scores, axis=-1)
            )
            context = self.transposed(self.nodes.op("MatMul", probabilities, v_heads), INTO_HEADS)
            context = self.nodes.op("Reshape", context, [*back, channels])
            gain = (factor.expand(heads) * v_step).repeat_interleave(width)
            value = self._scaled_norm(attention.norm, context, gain)
            for residual in residuals:
                value = self.added(value, residual)
        return self.rprelu(attention.rprelu, value)

    def _scaled_norm(self, norm: nn.Module, x: str, gain: Tensor) -> Value:
        """`norm` of x times `gain` (C)."""
        if isinstance(norm, TokenBatchNorm):
            scale, shift = folded_or_identity(norm, len(gain))
            return Value(self.nodes.op("Mul", x, scale * gain), shift)
        one = bool((gain == 1).all())
        return self.norm(norm, Value(x if one else self.nodes.op("Mul", x, gain)))

    def _probabilities(self, quantizer: nn.Module, probabilities: str) -> tuple[str, Tensor]:
        """Levels of attention probabilities, and their step a head (H), or one for all."""
        if isinstance(quantizer, ProbabilityDecomposition):
            alpha, zero = quantizer.alpha[:, None, None], quantizer.zero_point[:, None, None]
            scaled = self.nodes.op("Add", self.nodes.op("Mul", probabilities, PLANES_LEVEL / alpha), zero)
            return self._rounded(scaled, PLANES_LEVEL), quantizer.alpha.double()
        if isinstance(quantizer, ProbabilityPlane):
            step = step_of(quantizer)
            return self.nodes.op("Where", self.nodes.op("Greater", probabilities, step / 2), 1.0, 0.0), step.double()
        if isinstance(quantizer, LearnedStepProbability):
            step = step_of(quantizer)
            scaled = self.nodes.op("Div", probabilities, step[:, None, None])
            return self._rounded(scaled, quantizer.highest), step.double()
        return probabilities, torch.ones((), dtype=torch.float64)

    def _rounded(self, x: str, highest: int) -> str:
        return self.nodes.op("Round", self.nodes.op("Clip", x, 0.0, float(highest)))

    def _tokens(self, attention: WindowAttention, u: Value, side: int) -> str:
        """Normalised windows with the summary tokens (B, n, g^2 + n, C)."""
        x, window, across = self.settled(u), attention.window, side // attention.window
        channels, windows = len(attention.mix), across**2
        summary = self.layer_norm(attention.token_norm, self._summary(attention.summary, x))
        split = self.nodes.op(
            "Reshape", self.layer_norm(attention.token_norm, x), [0, across, window, across, window, channels]
        )
        local = self.nodes.op("Reshape", self.transposed(split, INTO_WINDOWS), [0, windows, window**2, channels])
        summary = self.nodes.op("Reshape", summary, [0, 1, windows, channels])
        everywhere = self.nodes.op("Expand", summary, [1, windows, windows, channels])
        return self.nodes.op("Concat", local, everywhere, axis=2)

    def _summary(self, summary: SummaryTokens, x: str) -> str:
        """Summary tokens as a map (B, r / g, r / g, C)."""
        window, mix = summary.window, summary.mix.double()
        largest, average = (self.pooled(x, kind, window, window // 2) for kind in ("MaxPool", "AveragePool"))
        return self.nodes.op("Add", self.nodes.op("Mul", largest, mix), self.nodes.op("Mul", average, 1 - mix))

    def _mixed(self, attention: WindowAttention, context: str, window: int, across: int) -> str:
        """B * window part + (1 - b) * summary part, as a map."""
        channels, mix, tokens = len(attention.mix), attention.mix.double(), window**2
        local = self.nodes.op("Slice", context, [0], [tokens], [2])
        split = self.nodes.op("Reshape", local, [0, across, across, window, window, channels])
        side = across * window
        joined = self.nodes.op("Reshape", self.transposed(split, INTO_WINDOWS), [0, side, side, channels])
        summary = self.nodes.op("Slice", context, [tokens], [tokens + across**2], [2])
        overview = self.nodes.op(
            "Reshape", self.nodes.op("ReduceMean", summary, [1], keepdims=0), [0, across, across, channels]
        )
        share = self._upsampled(self.nodes.op("Mul", overview, 1 - mix), across, window)
        return self.nodes.op("Add", self.nodes.op("Mul", joined, mix), share)

    def _upsampled(self, x: str, side: int, ratio: int) -> str:
        """The map `x` of this side, every token repeated."""
        if ratio == 1:
            return x
        repeated = np.repeat(np.arange(side), ratio).tolist()
        return self.nodes.op("Gather", self.nodes.op("Gather", x, repeated, axis=1), repeated, axis=2)

    def pooled(self, x: str, kind: str, window: int, padding: int = 0) -> str:
        """The map `x` pooled (`kind` of ONNX) over windows; the average counts the padding as 0."""
        options: dict[str, Any] = {"kernel_shape": [window] * 2, "strides": [window] * 2, "pads": [padding] * 4}
        if kind == "AveragePool":
            options["count_include_pad"] = 1
        return self.transposed(self.nodes.op(kind, self.transposed(x, TO_CHANNELS_FIRST), **options), TO_CHANNELS_LAST)
