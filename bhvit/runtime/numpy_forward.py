"""The forward pass of a packed network in numpy: the fallback where nothing was compiled, and the oracle of the core.

A layer takes and gives a map (r, r, C) of one image in float32, channels last. `bhvit.blocks` has the same in torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bhvit.runtime.network import (
    Attention,
    Block,
    Downsample,
    Floats,
    Head,
    Kind,
    LayerScale,
    Mixer,
    Mlp,
    Network,
    Norm,
    Projection,
    Residual,
    RPReLU,
    Stem,
)
from bhvit.runtime.numpy_products import LARGEST_LEVEL, exact_product, product, quantized

PATCH = 4
DILATIONS = (1, 3, 5)
NORM_EPS = 1e-5
HIGHEST_PROBABILITY = {k: 3 if k.takes_signs else 2**k.activation_bits - 1 for k in Kind if not k.real_valued}  # level
Layer = Callable[[NDArray[Any]], Floats]


def layers(network: Network) -> Iterator[Layer]:
    """The layers in forward order; together they lead from an image (`stem`) to its logits."""
    yield partial(stem, network.stem)
    for stage in network.stages:
        if stage.downsample is not None:
            yield partial(downsample, stage.downsample)
        for block in stage.blocks:
            yield _token_mixing(block)
            yield partial(mlp, block.mlp)
    yield partial(head, network.head)


def _token_mixing(block: Block) -> Layer:
    if block.mixer is not None:
        return partial(mixer, block.mixer)
    assert block.attention is not None
    return partial(attention, block.attention)


def stem(s: Stem, image: NDArray[Any]) -> Floats:
    """Map of an image: uint8 (S, S, 3), or float (3, S, S) already normalised."""
    if image.dtype == np.uint8:
        image = (image * s.image_scale + s.image_shift).transpose(2, 0, 1)
    side = s.image_size // PATCH
    patches = image.reshape(3, side, PATCH, side, PATCH).transpose(1, 3, 0, 2, 4).reshape(side * side, 1, -1)
    y = _gelu(normed(s.norm, product(s.product, patches))) + s.position.reshape(side * side, -1)
    return y.reshape(side, side, -1)


def mixer(m: Mixer, h: Floats) -> Floats:
    """Map `h` + norm(sum over dilations of RPReLU(3 x 3 convolution of norm_before(h)))."""
    u = normed(m.norm_before, h)
    total = np.zeros((h.shape[0] ** 2, h.shape[2]), np.float32)
    for conv, activation, dilation in zip(m.convs, m.rprelus, DILATIONS, strict=True):
        total += rprelu(activation, product(conv, *_neighbourhoods(u, dilation)))
    return h + normed(m.norm, total).reshape(h.shape)


def attention(a: Attention, h: Floats) -> Floats:
    """Map `h` + the attention of norm_before(h): windows of g x g tokens that also see n summary tokens of the map."""
    u = normed(a.norm_before, h)
    windows, channels = h.shape[0] // a.window, h.shape[2]
    local = normed(a.token_norm, _split(u, a.window)).reshape(-1, channels)
    tokens = np.concatenate((local, normed(a.token_norm, _summary(a, u))))  # the summary is the same in every window
    pairs = [_projected(a, projection, tokens, len(local)) for projection in (a.query, a.key, a.value)]
    (q, q_levels), (k, k_levels), (v, v_levels) = pairs
    c = rprelu(a.rprelu, normed(a.norm, _attended(a, q_levels, k_levels, v_levels)) + q + k + v)
    overview = c[:, a.window**2 :].mean(axis=0, dtype=np.float32).reshape(windows, windows, channels)
    summary = overview.repeat(a.window, axis=0).repeat(a.window, axis=1)
    mixed = summary + a.mix * (_join(c[:, : a.window**2], a.window) - summary)
    return h + scaled(a.layer_scale, residual_product(a.output, mixed.reshape(-1, channels), _tiled)).reshape(h.shape)


def mlp(m: Mlp, h: Floats) -> Floats:
    """Map `h` + LayerScale(project(expand(v))) + the shift branches of v = norm_after(h)."""
    v = normed(m.norm_after, h)
    tokens = residual_product(m.project, residual_product(m.expand, v.reshape(-1, v.shape[-1]), _tiled), _pooled)
    y = h + scaled(m.layer_scale, tokens).reshape(h.shape)
    if not m.reach:
        return y
    for j, (height, width) in enumerate(zip(m.height_taps, m.width_taps, strict=True)):
        y += np.roll(v, m.reach - j, axis=0) * height + np.roll(v, m.reach - j, axis=1) * width
    return y + m.branch_shift


def downsample(d: Downsample, h: Floats) -> Floats:
    """Map of half the side: norm(2 x 2 convolution of x = norm_in(h)), a residual with RPReLU if any, + position."""
    x = normed(d.norm_in, h)
    side = h.shape[0] // 2
    patches = x.reshape(side, 2, side, 2, -1).transpose(0, 2, 1, 3, 4).reshape(side * side, 4, -1)
    y = normed(d.norm, product(d.product, patches))
    if d.rprelu is not None:
        y = rprelu(d.rprelu, y + _tiled(patches.mean(axis=1), y.shape[1]))
    return y.reshape(side, side, -1) + d.position.reshape(side, side, -1)


def head(t: Head, h: Floats) -> Floats:
    """Logits (classes) of the last map."""
    mean = normed(t.norm, h).mean(axis=(0, 1))
    logits: Floats = product(t.product, mean.reshape(1, 1, -1))[0]
    return logits


def normed(n: Norm, x: Floats) -> Floats:
    """`x` (..., C) times scale plus shift, standardised over the channels of a token before if the norm says so."""
    if n.layer:
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(NORM_EPS))
    return x * n.scale + n.shift


def rprelu(r: RPReLU, x: Floats) -> Floats:
    """PReLU(x - shift_in) + shift_out."""
    u = x - r.shift_in
    return np.where(u >= 0, u, u * r.slope) + r.shift_out


def scaled(s: LayerScale, x: Floats) -> Floats:
    """`x` (..., C) times alpha plus shift."""
    return x * s.alpha + s.shift


def residual_product(r: Residual, x: Floats, resize: Callable[[Floats, int], Floats]) -> Floats:
    """RPReLU(norm(product(x)) + resize(x)): tokens (T, columns) of tokens (T, channels)."""
    y = normed(r.norm, product(r.product, x[:, None]))
    return rprelu(r.rprelu, y + resize(x, r.product.columns))


def _projected(a: Attention, p: Projection, tokens: Floats, local: int) -> tuple[Floats, Floats]:
    """P and its quantized levels for every window, (n, g^2 + n, C); the first `local` tokens belong to windows."""
    values = residual_product(p.project, tokens, _tiled)
    by_window = values[:local].reshape(-1, a.window**2, values.shape[1])
    summary = np.broadcast_to(values[local:], (len(by_window), *values[local:].shape))
    values = np.concatenate((by_window, summary), axis=1)
    return values, quantized(a.kind, p.step, values + p.shift)


def _attended(a: Attention, q: Floats, k: Floats, v: Floats) -> Floats:
    """Quantized softmax(q k^T / sqrt(C / H)) times v, (n, g^2 + n, C), from the levels of q, k and v."""
    q, k, v = (x.reshape(*x.shape[:2], a.heads, -1).transpose(0, 2, 1, 3) for x in (q, k, v))  # (n, H, tokens, C / H)
    highest = LARGEST_LEVEL.get(a.kind, 0)
    scores = exact_product(q, k.swapaxes(-1, -2), highest**2 * q.shape[-1]).astype(np.float32)
    scores *= np.float32(a.query.step * a.key.step / math.sqrt(q.shape[-1]))
    probabilities = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    if not a.kind.real_valued:
        probabilities = _probability_levels(a, probabilities)
    context = exact_product(probabilities, v, HIGHEST_PROBABILITY.get(a.kind, 0) * highest * v.shape[2]).astype(
        np.float32
    )
    if not a.kind.real_valued:
        assert a.probability_scale is not None
        context *= a.probability_scale[:, None, None] * np.float32(a.value.step)
    return context.transpose(0, 2, 1, 3).reshape(*context.shape[::2], -1)  # (n, tokens, C)


def _probability_levels(a: Attention, probabilities: Floats) -> Floats:
    """Whole numbers 0 .. highest for probabilities (n, H, queries, keys)."""
    assert a.probability_scale is not None
    scale, highest = a.probability_scale[:, None, None], HIGHEST_PROBABILITY[a.kind]
    if a.kind is Kind.binary:
        assert a.probability_zero is not None
        ratio = probabilities * (np.float32(highest) / scale) + a.probability_zero[:, None, None]
    else:
        ratio = probabilities / scale
    return np.clip(np.rint(ratio), 0, highest)


def _summary(a: Attention, u: Floats) -> Floats:
    """Summary tokens (n, C): max and mean of shifted windows, mixed; padding counts as 0 in the mean."""
    padding = a.window // 2
    inside = u.shape[0] - padding  # the last rows and columns are in no window
    before = ((padding, 0), (padding, 0), (0, 0))
    average: Floats = _split(np.pad(u[:inside, :inside], before), a.window).mean(axis=1)
    largest: Floats = _split(np.pad(u[:inside, :inside], before, constant_values=-np.inf), a.window).max(axis=1)
    return average + a.summary_mix * (largest - average)


def _split(x: Floats, g: int) -> Floats:
    """Windows (n, g^2, C) of a map, row by row."""
    n = x.shape[0] // g
    return x.reshape(n, g, n, g, -1).transpose(0, 2, 1, 3, 4).reshape(n * n, g * g, -1)


def _join(x: Floats, g: int) -> Floats:
    """The map of windows: the inverse of `_split`."""
    n = math.isqrt(len(x))
    return x.reshape(n, n, g, g, -1).transpose(0, 2, 1, 3, 4).reshape(n * g, n * g, -1)


def _neighbourhoods(u: Floats, dilation: int) -> tuple[Floats, NDArray[np.bool_]]:
    """The 3 x 3 neighbours of every token, (tokens, 9, C), and which of them are inside the map, (tokens, 9)."""
    side, steps = u.shape[0], (-dilation, 0, dilation)
    grown = np.pad(u, ((dilation, dilation), (dilation, dilation), (0, 0)))
    corners = [(dilation + dy, dilation + dx) for dy in steps for dx in steps]
    taps = np.stack([grown[y : y + side, x : x + side] for y, x in corners], axis=2)
    at = np.arange(side)
    within = [(at + step >= 0) & (at + step < side) for step in steps]
    valid = np.stack([rows[:, None] & columns for rows in within for columns in within], axis=2)
    return taps.reshape(side * side, 9, -1), valid.reshape(side * side, 9)


def _tiled(x: Floats, channels: int) -> Floats:
    """out[j] = x[j mod C]."""
    return x[:, np.arange(channels) % x.shape[1]]


def _pooled(x: Floats, channels: int) -> Floats:
    """out[j] = mean of x[floor(j C / channels) .. ceil((j + 1) C / channels) - 1]."""
    size, at = x.shape[1], np.arange(channels)
    first, last = at * size // channels, -(-(at + 1) * size // channels)
    bounds = np.stack((first, last), axis=1).ravel()
    grown = np.concatenate((x, np.zeros((len(x), 1), np.float32)), axis=1)  # reduceat needs a last bound inside
    sums: Floats = np.add.reduceat(grown, bounds, axis=1)[:, ::2]
    counts: Floats = (last - first).astype(np.float32)
    return sums / counts


def _gelu(x: Floats) -> Floats:
    points, values = _error_function()
    erf: Floats = np.interp(x * math.sqrt(0.5), points, values).astype(np.float32)
    return x * (np.float32(0.5) + np.float32(0.5) * erf)


@cache
def _error_function() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """erf, so finely that lines between its points are off by less than 1e-7 (numpy has none)."""
    points = np.linspace(-4, 4, 2**14)
    return points, np.array([math.erf(x) for x in points])
