"""Pyramids in evaluation mode as an ONNX graph, part by part.

Written out node by node and not traced: the product's layers have gradients of their own and memory-saving paths for
training, none of which belongs into a deployed graph, and a traced graph has about five times as many nodes.
Per-channel additions are folded into thresholds, weights and norms (`onnx_layers.Value`).
"""

from __future__ import annotations

from typing import Any, cast

import onnx
import torch
from torch import nn

from bhvit.blocks import Block, Downsample, GlobalAttention, Head, Mlp, Stem, TokenMixer, WindowAttention
from bhvit.export.onnx_attention import Attentions
from bhvit.export.onnx_layers import TO_CHANNELS_FIRST, TO_CHANNELS_LAST, Value, folded_or_identity
from bhvit.export.onnx_nodes import Nodes, float_info
from bhvit.layers import Branches, QuantConv2d, RPReLU, Tile
from bhvit.layers.norm import TokenBatchNorm
from bhvit.pyramid import Pyramid

INPUT, OUTPUT, BATCH = "images", "logits", "batch"


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
    return graph.nodes.model([images], [float_info(OUTPUT, [BATCH, a.num_classes])], a.title)


class Parts(Attentions):
    """Adds the parts of a model to a graph."""

    def stem(self, stem: Stem) -> Value:
        """norm(conv), through a GELU if it has one, plus the position embedding."""
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
            y = self.nodes.op("Gelu", y) if stem.gelu else y
            return Value(self.nodes.op("Add", y, stem.position))

    def block(self, block: Block, h: Value, side: int) -> Value:
        """One block on maps of this side."""
        u = self.norm(block.norm_before, h)
        h = self.added(h, self.mixed(block.mixer, u, side))
        v = self.norm(block.norm_after, h)
        if block.shifts.radii and not block.shifts.circular:  # beyond the border is 0, not the offset
            with self.nodes.scope(self.names[block.shifts]):
                v = Value(self.settled(v))
        h = self.added(h, self.mlp(block.mlp, v))
        return self.added(h, self.shifts(block.shifts, v, side)) if block.shifts.radii else h

    def mixed(self, mixer: nn.Module, u: Value, side: int) -> Value:
        """What mixes the tokens of a block."""
        if isinstance(mixer, TokenMixer):
            return self.mixer(mixer, u)
        if isinstance(mixer, WindowAttention):
            return self.window_attention(mixer, u, side)
        return self.global_attention(cast(GlobalAttention, mixer), u, side)

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
        return self.layer_scale(mlp.layer_scale, self.residual_linear(mlp.project, self.residual_linear(mlp.expand, v)))

    def shifts(self, shifts: Branches, v: Value, side: int) -> Value:
        """All branches as one depthwise convolution of the map, which is continued circularly or by zeros."""
        height, width = (taps.double() for taps in shifts.taps())
        reach = len(height) // 2
        kernel = height.new_zeros(height.shape[1], 1, 2 * reach + 1, 2 * reach + 1)
        kernel[:, 0, :, reach] += height.t()
        kernel[:, 0, reach, :] += width.t()
        around = [i % side for i in range(-reach, side + reach)]
        padding: dict[str, Any] = {} if shifts.circular else {"pads": [reach] * 4}
        with self.nodes.scope(self.names[shifts]):
            x = v.name
            if shifts.circular:
                x = self.nodes.op("Gather", self.nodes.op("Gather", x, around, axis=1), around, axis=2)
            y = self.nodes.op(
                "Conv",
                self.transposed(x, TO_CHANNELS_FIRST),
                self.nodes.constant(kernel, "weight"),
                kernel_shape=[2 * reach + 1] * 2,
                group=len(kernel),
                **padding,
            )
            offset = shifts.shift().double()
            if v.offset is not None:  # a constant a channel stays one where the map is continued circularly
                assert shifts.circular
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
                pooled = self.pooled(x.name, "AveragePool", conv.stride)
                value = self.added(value, self.resized(Tile(), Value(pooled, x.offset), have, want))
            value = self.rprelu(downsample.rprelu, value)
        with self.nodes.scope(self.names[downsample]):
            position = downsample.position.double()
            return Value(
                self.nodes.op("Add", value.name, position if value.offset is None else position + value.offset)
            )

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
