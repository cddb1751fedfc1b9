"""BHViT as a plain eager PyTorch program: the rival of `train_step.py`, written from the published equations.

What a straightforward implementation does, the released ones among it: one PyTorch operator after the other, maps with
channels first, tokens with channels last, and permutations between the two wherever a convolution, a batch norm or a
PReLU meets tokens. Nothing is fused and autograd keeps what every operator asks for. It runs on the parameters of a
`bhvit.model.BHViT`, so that outputs and gradients can be compared number by number. Full-precision and binary layers,
batch norm, no stochastic depth.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhvit.blocks import Block, Downsample, Mlp, Stem, TokenMixer, WindowAttention
from bhvit.blocks.attention import Projection
from bhvit.layers import Branches, LayerScale, QuantConv2d, QuantLinear, ResidualLinear, RPReLU
from bhvit.model import BHViT
from bhvit.precision import Precision
from bhvit.quantizers.binary import RECU_CLAMP, RECU_SPREAD, VARIANCE_EPS

LEVELS = 3  # of attention probabilities, above 0


def plain_logits(model: BHViT, images: Tensor) -> Tensor:
    """Logits (B, classes) of `images` (B, 3, S, S) with the model's parameters, in training mode."""
    h = stem(model.stem, images)
    for i, blocks in enumerate(model.blocks):
        if i:
            h = downsample(model.downsamples[i - 1], h)
        for b in blocks:
            h = block(b, h)
    return model.head.linear(norm_map(model.head.norm, h).mean((2, 3)))


def stem(m: Stem, images: Tensor) -> Tensor:
    y = F.conv2d(images, m.conv.weight, m.conv.bias, stride=m.conv.stride)
    return F.gelu(norm_map(m.norm, y)) + m.position.permute(2, 0, 1)


def block(m: Block, h: Tensor) -> Tensor:
    u = norm_map(m.norm_before, h)
    h = h + (attention(m.mixer, u) if isinstance(m.mixer, WindowAttention) else mixer(m.mixer, u))
    v = norm_map(m.norm_after, h)
    side = v.shape[-1]
    return h + to_map(mlp(m.mlp, to_tokens(v)), side) + shifts(m.shifts, v)


def mixer(m: TokenMixer, u: Tensor) -> Tensor:
    x = u + per_channel(m.shift)
    branches = [rprelu_map(r, conv(c, x)) for c, r in zip(m.convs, m.rprelus, strict=True)]
    return norm_map(m.norm, branches[0] + branches[1] + branches[2])


def mlp(m: Mlp, v: Tensor) -> Tensor:
    copies = m.expand.out_features // v.shape[-1]
    z = residual_linear(m.expand, v, v.repeat(1, 1, copies))
    pooled = F.avg_pool1d(z, z.shape[-1] // m.project.out_features)
    return layer_scale(m.layer_scale, residual_linear(m.project, z, pooled))


def residual_linear(m: ResidualLinear, x: Tensor, residual: Tensor) -> Tensor:
    return rprelu_tokens(m.rprelu, norm_tokens(m.norm, linear(m.linear, x)) + residual)


def shifts(m: Branches, v: Tensor) -> Tensor:
    quarters = v.chunk(4, 1)
    total = torch.zeros_like(v)
    for name, k in m.radii.items():
        height = sum(torch.roll(v, i, 2) for i in range(-k, k + 1)) / (2 * k + 1)
        width = sum(torch.roll(v, i, 3) for i in range(-k, k + 1)) / (2 * k + 1)
        moves = ((k, 2), (-k, 2), (k, 3), (-k, 3))
        mixed = torch.cat([torch.roll(q, by, dim) for q, (by, dim) in zip(quarters, moves, strict=True)], 1)
        for scale, branch in ((m.height, height), (m.width, width), (m.quarters, mixed)):
            total = total + scale_map(scale[name], branch)
    return total


def attention(m: WindowAttention, u: Tensor) -> Tensor:
    batch, channels, side, _ = u.shape
    g, heads, binary = m.window, m.num_heads, is_binary(m.query.project.linear.precision)
    t = attention_tokens(m, u)
    (q, qb), (k, kb), (v, vb) = (projection(p, t, binary) for p in (m.query, m.key, m.value))
    qb, kb, vb = (x.unflatten(-1, (heads, -1)).permute(0, 2, 1, 3) for x in (qb, kb, vb))
    scores = torch.matmul(qb, kb.transpose(-1, -2)) / math.sqrt(channels // heads)
    weights = scores.softmax(-1)
    if binary:
        weights = four_levels(weights, m.probability.alpha, m.probability.zero_point)
    context = torch.matmul(weights, vb).permute(0, 2, 1, 3).flatten(2)
    context = rprelu_tokens(m.rprelu, norm_tokens(m.norm, context) + q + k + v)
    n = (side // g) ** 2
    windows, summary = context[:, : g * g], context[:, g * g :].unflatten(0, (batch, n)).mean(1)
    local = windows.unflatten(0, (batch, side // g, side // g)).unflatten(3, (g, g))
    local = local.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, side, side)
    overview = F.interpolate(to_map(summary, side // g), scale_factor=g, mode="nearest")
    mix = per_channel(m.mix)
    mixed = to_tokens(mix * local + (1 - mix) * overview)
    return to_map(layer_scale(m.layer_scale, residual_linear(m.output, mixed, mixed)), side)


def attention_tokens(m: WindowAttention, u: Tensor) -> Tensor:
    """Windows with their summary tokens (B n, g^2 + n, C)."""
    batch, channels, side, _ = u.shape
    g, a = m.window, per_channel(m.summary.mix)
    pooled = a * F.max_pool2d(u, g, g, g // 2) + (1 - a) * F.avg_pool2d(u, g, g, g // 2)
    n = (side // g) ** 2
    windows = (
        u.unflatten(3, (-1, g)).unflatten(2, (-1, g)).permute(0, 2, 4, 3, 5, 1).reshape(batch * n, g * g, channels)
    )
    summary = to_tokens(pooled).repeat_interleave(n, 0)
    norm = m.token_norm
    return F.layer_norm(torch.cat((windows, summary), 1), (channels,), norm.weight, norm.bias, norm.eps)


def projection(m: Projection, t: Tensor, binary: bool) -> tuple[Tensor, Tensor]:
    p = residual_linear(m.project, t, t)
    shifted = p + m.shift
    return p, sign(shifted) if binary else shifted


def downsample(m: Downsample, h: Tensor) -> Tensor:
    x = norm_map(m.norm_in, h)
    if m.rprelu is None:
        return norm_map(m.norm, conv(m.conv, x)) + m.position.permute(2, 0, 1)
    y = norm_map(m.norm, conv(m.conv, x + per_channel(m.conv.shift)))
    pooled = F.avg_pool2d(x, 2)
    y = rprelu_map(m.rprelu, y + pooled.repeat(1, y.shape[1] // pooled.shape[1], 1, 1))
    return y + m.position.permute(2, 0, 1)


def linear(m: QuantLinear, x: Tensor) -> Tensor:
    shifted = x + m.shift
    if not is_binary(m.precision):
        return F.linear(shifted, m.weight)
    return F.linear(sign(shifted), binary_weight(m.weight, m.weight_quantizer.recu))


def conv(m: QuantConv2d, x: Tensor) -> Tensor:
    weight = m.weight
    if is_binary(m.precision):
        x, weight = sign(x), binary_weight(weight, m.weight_quantizer.recu)
    return F.conv2d(x, weight, m.bias, m.stride, m.padding, m.dilation, m.groups)


class PolynomialSign(torch.autograd.Function):
    """sign(x), with 2 - 2 |x| as its derivative within [-1, 1]."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x.abs() <= 1, 2 - 2 * x.abs(), torch.zeros_like(x)) * grad


class StraightThroughRound(torch.autograd.Function):
    """round(x), with 1 as its derivative."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad


sign, rounded = PolynomialSign.apply, StraightThroughRound.apply


def binary_weight(weight: Tensor, recu: bool) -> Tensor:
    rows = weight.flatten(1)
    scale = rows.abs().mean(1, keepdim=True).detach()
    v = rows - rows.mean(1, keepdim=True)
    limit = 1.0
    if recu:
        v = v / (torch.sqrt(v.var(1, keepdim=True) + VARIANCE_EPS) / RECU_SPREAD)
        limit = (RECU_CLAMP * v.abs().mean()).detach()
    soft = torch.minimum(torch.maximum(v, -torch.as_tensor(limit)), torch.as_tensor(limit))
    hard = scale * torch.where(v >= 0, 1.0, -1.0)
    return (hard.detach() - soft.detach() + soft).view_as(weight)


def four_levels(weights: Tensor, alpha: Tensor, zero: Tensor) -> Tensor:
    """Attention weights (.., H, queries, keys) in four levels, with the gradient scale of LSQ on alpha and zero."""
    scale = alpha.numel() / math.sqrt(weights.numel() * LEVELS)
    alpha, zero = (scaled_gradient(p, scale)[:, None, None] for p in (alpha, zero))
    x = LEVELS * weights / alpha + zero
    level = rounded(x)
    inside = (level >= 0) & (level <= LEVELS)  # not clamp(): since PyTorch 2.15 it stops the gradient at its bounds
    return alpha * torch.where(inside, level, level.detach().clamp(0, LEVELS))


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    return (x - x * scale).detach() + x * scale


def rprelu_map(m: RPReLU, x: Tensor) -> Tensor:
    return F.prelu(x - per_channel(m.shift_in), m.slope) + per_channel(m.shift_out)


def rprelu_tokens(m: RPReLU, x: Tensor) -> Tensor:
    return F.prelu((x - m.shift_in).transpose(1, 2), m.slope).transpose(1, 2) + m.shift_out


def norm_map(m: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return F.batch_norm(x, m.running_mean, m.running_var, m.weight, m.bias, True, m.momentum, m.eps)


def norm_tokens(m: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return norm_map(m, x.transpose(1, 2)).transpose(1, 2)


def layer_scale(m: LayerScale, x: Tensor) -> Tensor:
    return x * m.alpha + m.shift


def scale_map(m: LayerScale, x: Tensor) -> Tensor:
    return x * per_channel(m.alpha) + per_channel(m.shift)


def to_tokens(x: Tensor) -> Tensor:
    """A map (B, C, r, r) as tokens (B, r r, C)."""
    return x.flatten(2).transpose(1, 2)


def to_map(x: Tensor, side: int) -> Tensor:
    """Tokens (B, r r, C) as a map (B, C, r, r)."""
    return x.transpose(1, 2).reshape(x.shape[0], -1, side, side)


def per_channel(x: Tensor) -> Tensor:
    return x.view(1, -1, 1, 1)


def is_binary(precision: Precision) -> bool:
    return precision.weight_bits == 1
