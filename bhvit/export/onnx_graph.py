"""BHViT in evaluation mode as an ONNX graph, part by part.

Written out node by node and not traced: the product's layers have gradients of their own and memory-saving paths for
training, none of which belongs into a deployed graph, and a traced graph has about five times as many nodes.
Per-channel additions are folded into thresholds, weights and norms (`onnx_layers.Value`).
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from bhvit.blocks import Block, Downsample, Head, Mlp, Stem, TokenMixer, WindowAttention
from bhvit.blocks.attention import Projection
from bhvit.blocks.summary_tokens import SummaryTokens
from bhvit.export.constants import step_of
from bhvit.export.onnx_layers import TO_CHANNELS_FIRST, TO_CHANNELS_LAST, Layers, Value, folded_or_identity
from bhvit.export.onnx_nodes import Nodes, float_info
from bhvit.layers import Branches, LayerScale, QuantConv2d, RPReLU, Tile
from bhvit.layers.norm import TokenBatchNorm
from bhvit.pyramid import Pyramid
from bhvit.quantizers.probability import PLANES_LEVEL, LearnedStepProbability, ProbabilityDecomposition

INPUT, OUTPUT, BATCH = "images", "logits", "batch"
INTO_HEADS = [0, 1, 3, 2, 4]  # (B, n, tokens, H, d) <-> (B, n, H, tokens, d)
INTO_WINDOWS = [0, 1, 3, 2, 4, 5]  # (B, w, g, w, g, C) <-> (B, w, w, g, g, C)


@torch.no_grad()
def onnx_graph(model: Pyramid, int8_weights: bool = False) -> onnx.ModelProto:
    """The graph from `images` (batch, 3, S, S), float32 and normalised, to `logits` (batch, classes)."""
    graph, a = Parts(Nodes(), model, int8_weights), model.architecture
    h = graph.stem(model.stem)
    for i, blocks in enumerate(model.blocks):
        if i:
            h = graph.downsample(cast(Downsample, model.downsamples[i - 1]), h)
        for block in blocks:
            h = graph.block(block, h, a.resolutions[i])
    graph.head(model.head, h)
    images = float_info(INPUT, [BATCH, 3, a.image_size, a.image_size])
    return graph.nodes.model([images], [float_info(OUTPUT, [BATCH, a.num_classes])], "BHViT")


class Parts(Layers):
    """Adds the parts of a model to a graph."""

    def stem(self, stem: Stem) -> Value:
        """GELU(norm(conv)) plus the position embedding."""
        with self.nodes.scope("stem"):
            gain, shift = folded_or_identity(stem.norm, len(stem.conv.weight))
            assert stem.conv.bias is not None
            weight, bias = stem.conv.weight.double() * gain[:, None, None, None], stem.conv.bias.double() * gain + shift
            constants = self.nodes.constant(weight, "weight"), self.nodes.constant(bias, "bias")
            side = stem.conv.kernel_size[0]
            y = self.nodes.op("Conv", "images", *constants, kernel_shape=[side, side], strides=[side, side])
            y = self.transposed(y, TO_CHANNELS_LAST)
            if isinstance(stem.norm, nn.LayerNorm):
                y = self.layer_norm(stem.norm, y)
            return Value(self.nodes.op("Add", self.nodes.op("Gelu", y), stem.position))

    def block(self, block: Block, h: Value, side: int) -> Value:
        """One block on maps of this side."""
        u = self.norm(block.norm_before, h)
        if isinstance(block.mixer, TokenMixer):
            mixed = self.mixer(block.mixer, u)
        else:
            mixed = self.attention(cast(WindowAttention, block.mixer), u, side)
        h = self.added(h, mixed)
        v = self.norm(block.norm_after, h)
        h = self.added(h, self.mlp(block.mlp, v))
        return self.added(h, self.shifts(block.shifts, v, side)) if block.shifts.radii else h

    def mixer(self, mixer: TokenMixer, u: Value) -> Value:
        """Three dilated convolutions; a quantizer that learns nothing is shared by them."""
        convs = [cast(QuantConv2d, conv) for conv in mixer.convs]
        shared = not any(True for _ in convs[0].activation.parameters())
        rprelus = [cast(RPReLU, rprelu) for rprelu in mixer.rprelus]
        branches, levels, step = list[str](), "", torch.ones((), dtype=torch.float64)
        for i, (conv, rprelu) in enumerate(zip(convs, rprelus, strict=True)):
            with self.nodes.scope(self.names[conv]):
                if not (shared and i):
                    levels, step = self.quantized(conv.activation, u, mixer.shift)
                    levels = self.transposed(levels, TO_CHANNELS_FIRST)
                assert conv.bias is not None
                bias = conv.bias.double() - rprelu.shift_in.double()
                y = self.conv(conv, levels, step.expand(len(bias)), bias)
                branches.append(self.prelu(y, rprelu.slope[:, None, None]))
        offset = torch.stack([rprelu.shift_out.double() for rprelu in rprelus]).sum(0)
        with self.nodes.scope(self.names[mixer]):
            total = self.transposed(self.nodes.op("Sum", *branches), TO_CHANNELS_LAST)
        return self.norm(mixer.norm, Value(total, offset))

    def mlp(self, mlp: Mlp, v: Value) -> Value:
        """The channel mixer."""
        return self.layer_scale(
            cast(LayerScale, mlp.layer_scale), self.residual_linear(mlp.project, self.residual_linear(mlp.expand, v))
        )

    def shifts(self, shifts: Branches, v: Value, side: int) -> Value:
        """All shift branches as one depthwise convolution of the map that is continued circularly."""
        height, width = (taps.double() for taps in shifts.taps())
        reach = len(height) // 2
        kernel = height.new_zeros(height.shape[1], 1, 2 * reach + 1, 2 * reach + 1)
        kernel[:, 0, :, reach] += height.t()
        kernel[:, 0, reach, :] += width.t()
        around = [i % side for i in range(-reach, side + reach)]
        with self.nodes.scope(self.names[shifts]):
            x = self.nodes.op("Gather", self.nodes.op("Gather", v.name, around, axis=1), around, axis=2)
            y = self.nodes.op(
                "Conv",
                self.transposed(x, TO_CHANNELS_FIRST),
                self.nodes.constant(kernel, "weight"),
                kernel_shape=[2 * reach + 1] * 2,
                group=len(kernel),
            )
            offset = shifts.shift().double()
            if v.offset is not None:  # a constant a channel stays one
                offset = offset + kernel.sum((1, 2, 3)) * v.offset
            return Value(self.transposed(y, TO_CHANNELS_LAST), offset)

    def downsample(self, downsample: Downsample, h: Value) -> Value:
        """2x2 convolution of stride 2 in its two forms, plus the position embedding."""
        x, conv = self.norm(downsample.norm_in, h), downsample.conv
        have, want = conv.weight.shape[1], len(conv.weight)
        gain, shift = folded_or_identity(downsample.norm, want)
        with self.nodes.scope(self.names[conv]):
            levels, step = self.quantized(conv.activation, x, conv.shift)
            y = self.conv(conv, self.transposed(levels, TO_CHANNELS_FIRST), gain * step, shift)
            value = Value(self.transposed(y, TO_CHANNELS_LAST))
        if not isinstance(downsample.norm, TokenBatchNorm):
            value = self.norm(downsample.norm, value)
        if downsample.rprelu is not None:
            with self.nodes.scope(self.names[downsample]):
                pooled = self._pooled(x.name, "AveragePool", conv.stride)
                value = self.added(value, self.resized(Tile(), Value(pooled, x.offset), have, want))
            value = self.rprelu(downsample.rprelu, value)
        with self.nodes.scope(self.names[downsample]):
            position = downsample.position.double()
            return Value(
                self.nodes.op("Add", value.name, position if value.offset is None else position + value.offset)
            )

    def attention(self, attention: WindowAttention, u: Value, side: int) -> Value:
        """Attention within windows and their summary tokens."""
        with self.nodes.scope(self.names[attention]):
            t = self._tokens(attention, u, side)
        context = self._context(attention, Value(t))
        window, across = attention.window, side // attention.window
        with self.nodes.scope(self.names[attention]):
            mixed = self._mixed(attention, self.settled(context), window, across)
        return self.layer_scale(
            cast(LayerScale, attention.layer_scale), self.residual_linear(attention.output, Value(mixed))
        )

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
        largest, average = (self._pooled(x, kind, window, window // 2) for kind in ("MaxPool", "AveragePool"))
        return self.nodes.op("Add", self.nodes.op("Mul", largest, mix), self.nodes.op("Mul", average, 1 - mix))

    def _pooled(self, x: str, kind: str, window: int, padding: int = 0) -> str:
        options: dict[str, Any] = {"kernel_shape": [window] * 2, "strides": [window] * 2, "pads": [padding] * 4}
        if kind == "AveragePool":
            options["count_include_pad"] = 1
        return self.transposed(self.nodes.op(kind, self.transposed(x, TO_CHANNELS_FIRST), **options), TO_CHANNELS_LAST)

    def _projected(self, projection: Projection, t: Value) -> tuple[Value, str, Tensor]:
        """P, the levels of its quantizer, and their step."""
        p = self.residual_linear(projection.project, t)
        with self.nodes.scope(self.names[projection]):
            return p, *self.quantized(projection.activation, p, projection.shift)

    def _context(self, attention: WindowAttention, t: Value) -> Value:
        """What tokens see of those in their window, normalised, with its residuals."""
        heads, channels = attention.num_heads, len(attention.mix)
        width = channels // heads
        (q, q_levels, q_step), (k, k_levels, k_step), (v, v_levels, v_step) = (
            self._projected(projection, t) for projection in (attention.query, attention.key, attention.value)
        )
        with self.nodes.scope(self.names[attention]):
            per_head = [self.nodes.op("Reshape", x, [0, 0, 0, heads, width]) for x in (q_levels, k_levels, v_levels)]
            orders = (INTO_HEADS, [0, 1, 3, 4, 2], INTO_HEADS)
            q_heads, k_heads, v_heads = (self.transposed(x, o) for x, o in zip(per_head, orders, strict=True))
            scale = q_step * k_step / math.sqrt(width)
            scores = self.nodes.op("Mul", self.nodes.op("MatMul", q_heads, k_heads), scale)
            probabilities, factor = self._probabilities(
                attention.probability, self.nodes.op("Softmax", scores, axis=-1)
            )
            context = self.transposed(self.nodes.op("MatMul", probabilities, v_heads), INTO_HEADS)
            context = self.nodes.op("Reshape", context, [0, 0, 0, channels])
            gain = (factor.expand(heads) * v_step).repeat_interleave(width)
            value = self._scaled_norm(attention.norm, context, gain)
            for residual in (q, k, v):
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
        if isinstance(quantizer, LearnedStepProbability):
            step = step_of(quantizer)
            scaled = self.nodes.op("Div", probabilities, step[:, None, None])
            return self._rounded(scaled, quantizer.highest), step.double()
        return probabilities, torch.ones((), dtype=torch.float64)

    def _rounded(self, x: str, highest: int) -> str:
        return self.nodes.op("Round", self.nodes.op("Clip", x, 0.0, float(highest)))

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
        share, repeated = self.nodes.op("Mul", overview, 1 - mix), np.repeat(np.arange(across), window).tolist()
        if window > 1:
            share = self.nodes.op("Gather", self.nodes.op("Gather", share, repeated, axis=1), repeated, axis=2)
        return self.nodes.op("Add", self.nodes.op("Mul", joined, mix), share)

    def head(self, head: Head, h: Value) -> None:
        """Norm, mean over tokens, linear layer: with batch statistics one product of the mean."""
        with self.nodes.scope("head"):
            weight, bias, x = head.linear.weight.double(), head.linear.bias.double(), h.name
            if isinstance(head.norm, TokenBatchNorm):
                scale, shift = folded_or_identity(head.norm, weight.shape[1])
                moved = shift if h.offset is None else shift + scale * h.offset
                weight, bias = weight * scale, bias + weight @ moved
            else:
                x = self.layer_norm(cast(nn.LayerNorm, head.norm), self.settled(h))
            mean = self.nodes.op("ReduceMean", x, [1, 2], keepdims=0)
            constants = self.nodes.constant(weight, "weight"), self.nodes.constant(bias, "bias")
            self.nodes.op("Gemm", mean, *constants, transB=1, output=OUTPUT)
