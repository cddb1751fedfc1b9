"""The layers that the parts of all pyramids share, as ONNX nodes: products, norms, RPReLU, residuals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bhvit.export.constants import folded, step_of, weight_of
from bhvit.export.onnx_nodes import Nodes
from bhvit.layers import LayerScale, Pool, QuantConv2d, QuantLinear, ResidualLinear, RPReLU, Tile, pool_channels
from bhvit.layers.channels import Resize
from bhvit.layers.norm import TokenBatchNorm
from bhvit.quantizers.binary import Sign
from bhvit.quantizers.learned_step import LearnedStep

TO_CHANNELS_FIRST, TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


@dataclass(frozen=True)
class Value:
    """A tensor of the graph plus an `offset` a channel (float64), which waits for a node that can take it along.

    Most per-channel additions (shifts, biases, folded norms) meet a comparison, another addition or a linear
    layer, and so become no node at all.
    """

    name: str
    offset: Tensor | None = None

    def plus(self, offset: Tensor | None) -> Value:
        """The value with another offset added."""
        if offset is None or self.offset is None:
            return Value(self.name, offset if self.offset is None else self.offset)
        return Value(self.name, self.offset + offset)


class Layers:
    """Adds layers to `nodes`; every method takes and gives values whose channels come last, unless it says otherwise.

    With `int8_weights` binary weights are stored as int8, 1 and -1, which DequantizeLinear turns into the float32 that
    is stored otherwise.
    """

    def __init__(self, nodes: Nodes, model: nn.Module, int8_weights: bool) -> None:
        self.nodes, self.int8_weights = nodes, int8_weights
        self.names = {module: name for name, module in model.named_modules()}

    def settled(self, x: Value) -> str:
        """The tensor itself, its offset added."""
        return x.name if x.offset is None else self.nodes.op("Add", x.name, x.offset)

    def added(self, x: Value, y: Value) -> Value:
        """The sum of two values."""
        return Value(self.nodes.op("Add", x.name, y.name), x.offset).plus(y.offset)

    def transposed(self, x: str, order: list[int]) -> str:
        """`x` with its dimensions in another order."""
        return self.nodes.op("Transpose", x, perm=order)

    def norm(self, norm: nn.Module, x: Value) -> Value:
        """`norm` of tokens: a multiplication with batch statistics, LayerNormalization otherwise."""
        with self.nodes.scope(self.names[norm]):
            if isinstance(norm, TokenBatchNorm):
                scale, shift = folded(norm)
                offset = shift if x.offset is None else shift + scale * x.offset
                return Value(self.nodes.op("Mul", x.name, scale), offset)
            assert isinstance(norm, nn.LayerNorm)
            return Value(self.layer_norm(norm, self.settled(x)))

    def layer_norm(self, norm: nn.LayerNorm, x: str) -> str:
        """LayerNorm over the last dimension."""
        return self.nodes.op("LayerNormalization", x, norm.weight, norm.bias, axis=-1, epsilon=norm.eps)

    def quantized(self, activation: nn.Module, x: Value, shift: Tensor | None) -> tuple[str, Tensor]:
        """Levels of the activation quantizer at x + shift, and the step between levels (a number)."""
        x = x.plus(None if shift is None else shift.detach().double())
        if isinstance(activation, Sign):
            # x + offset >= 0 is x >= -offset, in floating point too; Where is the fastest way to 1 and -1 there is.
            threshold: Tensor | float = 0.0 if x.offset is None else -x.offset
            return self.nodes.op("Where", self.nodes.op("GreaterOrEqual", x.name, threshold), 1.0, -1.0), _ONE
        if isinstance(activation, LearnedStep):
            step = step_of(activation)
            ratio = self.nodes.op("Div", self.settled(x), step)
            clipped = self.nodes.op("Clip", ratio, float(activation.lowest), float(activation.highest))
            return self.nodes.op("Round", clipped), step.double()
        return self.settled(x), _ONE

    def linear(self, layer: QuantLinear, x: Value, norm: nn.Module) -> Value:
        """`norm` of the layer at tokens `x`."""
        with self.nodes.scope(self.names[layer]):
            product, offset = self._product(layer, x, norm)
        return self._normed(norm, product, offset)

    def _product(self, layer: QuantLinear, x: Value, norm: nn.Module) -> tuple[str, Tensor | None]:
        gain, shift = folded_or_identity(norm, len(layer.weight))
        if layer.precision.real_valued:  # W (x + shift) = W x + W shift
            moved = x.plus(layer.shift.detach().double()).offset
            assert moved is not None
            weight = self._weight(layer, gain, axis=1)
            return self.nodes.op("MatMul", x.name, weight), shift + gain * (layer.weight.detach().double() @ moved)
        levels, step = self.quantized(layer.activation, x, layer.shift)
        return self.nodes.op("MatMul", levels, self._weight(layer, gain * step, axis=1)), shift

    def _normed(self, norm: nn.Module, product: str, offset: Tensor | None) -> Value:
        value = Value(product, offset)
        return value if isinstance(norm, TokenBatchNorm) else self.norm(norm, value)

    def conv(self, layer: QuantConv2d, levels: str, gain: Tensor, bias: Tensor) -> str:
        """Channels-first map: `gain` times the layer's convolution of the map `levels`, plus `bias`."""
        side = layer.weight.shape[-1]
        return self.nodes.op(
            "Conv",
            levels,
            self._weight(layer, gain, axis=0),
            self.nodes.constant(bias, "bias"),
            kernel_shape=[side, side],
            strides=[layer.stride] * 2,
            pads=[layer.padding] * 4,
            dilations=[layer.dilation] * 2,
            group=layer.groups,
        )

    def _weight(self, layer: QuantLinear | QuantConv2d, gain: Tensor, axis: int) -> str:
        """The layer's weight times `gain` (out), in float32; output channels along `axis`: 1 for a matrix (in, out)."""
        weight = weight_of(layer).scaled(gain)
        if self.int8_weights and layer.precision.weight_bits == 1:
            stored = self.nodes.constant(weight.levels, "levels"), self.nodes.constant(weight.scale, "scale")
            rows = self.nodes.op("DequantizeLinear", *stored, axis=0)
            # Stored as (in, out), ONNX Runtime would fuse it with its MatMul into MatMulNBits, whose error is 1.5e-5 by
            # default: a hundred times float32's, and signs turn. A Transpose between them prevents that, at no cost.
            return self.transposed(rows, [1, 0]) if axis else rows
        values = weight.values.t() if axis else weight.values
        return self.nodes.constant(values.contiguous(), "weight")

    def rprelu(self, rprelu: RPReLU, x: Value) -> Value:
        """RPReLU."""
        with self.nodes.scope(self.names[rprelu]):
            u = self.settled(x.plus(-rprelu.shift_in.detach().double()))
            return Value(self.prelu(u, rprelu.slope.detach()), rprelu.shift_out.detach().double())

    def prelu(self, u: str, slope: Tensor) -> str:
        """PReLU out of vectorised operations: ONNX Runtime's PRelu with a slope a channel takes ten times as long."""
        if bool((slope <= 1).all()):
            return self.nodes.op("Max", u, self.nodes.op("Mul", u, slope))
        below = self.nodes.op("Mul", self.nodes.op("Min", u, 0.0), slope)
        return self.nodes.op("Add", self.nodes.op("Relu", u), below)

    def layer_scale(self, scale: nn.Module, x: Value) -> Value:
        """LayerScale, or the identity where there is none."""
        if not isinstance(scale, LayerScale):
            return x
        with self.nodes.scope(self.names[scale]):
            alpha, shift = scale.alpha.detach().double(), scale.shift.detach().double()
            offset = shift if x.offset is None else shift + alpha * x.offset
            return Value(self.nodes.op("Mul", x.name, alpha), offset)

    def resized(self, resize: Resize, x: Value, have: int, want: int) -> Value:
        """`resize` of a value with `have` channels to `want`."""
        offset = None if x.offset is None else resize(x.offset[None], want)[0]
        if have == want:
            return x
        if isinstance(resize, Tile):
            copies, rest = divmod(want, have)
            parts = [x.name] * copies
            if rest:
                parts.append(self.nodes.op("Slice", x.name, [0], [rest], [3]))
            return Value(self.nodes.op("Concat", *parts, axis=3), offset)
        assert isinstance(resize, Pool)
        if have % want == 0:
            groups = self.nodes.op("Reshape", x.name, [0, 0, 0, want, have // want])
            return Value(self.nodes.op("ReduceMean", groups, [4], keepdims=0), offset)
        # Groups that share channels are a product with a thin matrix: faster than gathering them.
        return Value(self.nodes.op("MatMul", x.name, pool_channels(torch.eye(have), want)), offset)

    def residual_linear(self, module: ResidualLinear, x: Value) -> Value:
        """ResidualLinear."""
        have, want = module.linear.weight.shape[1], module.out_features
        y = self.linear(module.linear, x, module.norm)
        with self.nodes.scope(self.names[module]):
            y = self.added(y, self.resized(module.resize, x, have, want))
        return self.rprelu(module.rprelu, y)


def folded_or_identity(norm: nn.Module, channels: int) -> tuple[Tensor, Tensor]:
    """`folded` for batch norm; ones and zeros where the norm depends on the token."""
    if isinstance(norm, TokenBatchNorm):
        return folded(norm)
    return torch.ones(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)


_ONE = torch.ones((), dtype=torch.float64)
