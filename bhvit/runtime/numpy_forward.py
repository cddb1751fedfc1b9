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

from bhvit.architecture import DILATIONS
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
    Residual,
    RPReLU,
    Stem,
    Windows,
)
from bhvit.runtime.numpy_products import LARGEST_LEVEL, exact_product, product, quantized
from bhvit.staged import IMAGE_CHANNELS, PATCH

NORM_EPS = 1e-5
HIGHEST_PROBABILITY = {k: 3 if k.takes_signs else 2**k.activation_bits - 1 for k in Kind if not k.real_valued}
MOST_SCORES = 2**22  # of all heads that are computed at once where every token sees the whole map
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
    if block.attention.windows is not None:
        return partial(window_attention, block.attention, block.attention.windows)
    return partial(global_attention, block.attention)


def stem(s: Stem, image: NDArray[Any]) -> Floats:
    """Map of an image: uint8 (S, S, 3), or float (3, S, S) already normalised."""
    if image.dtype == np.uint8:
        image = (image * s.image_scale + s.image_shift).transpose(2, 0, 1)
    side = s.image_size // PATCH
    pixels = image.reshape(IMAGE_CHANNELS, side, PATCH, side, PATCH)
    patches = pixels.transpose(1, 3, 0, 2, 4).reshape(side * side, 1, -1)
    y = normed(s.norm, product(s.product, patches))
    y = (_gelu(y) if s.gelu else y) + s.position.reshape(side * side, -1)
    return y.reshape(side, side, -1)


def mixer(m: Mixer, h: Floats) -> Floats:
    """Map `h` + norm(sum over dilations of RPReLU(3 x 3 convolution of norm_before(h)))."""
    u = normed(m.norm_before, h)
    total = np.zeros((h.shape[0] ** 2, h.shape[2]), np.float32)
    for conv, activation, dilation in zip(m.convs, m.rprelus, DILATIONS, strict=True):
        total += rprelu(activation, product(conv, *_neighbourhoods(u, dilation)))
    return h + normed(m.norm, total).reshape(h.shape)


def window_attention(a: Attention, w: Windows, h: Floats) -> Floats:
    """Map `h` + the attention of norm_before(h): windows of g x g tokens that also see n summary tokens of the map."""
    u = normed(a.norm_before, h)
    windows, channels = h.shape[0] // w.window, h.shape[2]
    local = normed(w.token_norm, _split(u, w.window)).reshape(-1, channels)
    tokens = np.concatenate((local, normed(w.token_norm, _summary(w, u))))  # the summary is the same in every window
    projected = (residual_product(p.project, tokens, _tiled) for p in (a.query, a.key, a.value))
    q, k, v = (_by_window(w, values, len(local)) for values in projected)
    c = _context(a, q, k, v, residuals=[q, k, v])
    overview = c[:, w.window**2 :].mean(axis=0, dtype=np.float32).reshape(windows, windows, channels)
    summary = _upsampled(overview, w.window)
    mixed = summary + w.mix * (_join(c[:, : w.window**2], w.window) - summary)
    return h + _attention_output(a, mixed)


def global_attention(a: Attention, h: Floats) -> Floats:
    """Map `h` + the attention of all tokens of u = norm_before(h) to averages of R x R of them (R = 1: to all)."""
    u = normed(a.norm_before, h)
    r, channels, across = a.reduction_ratio, h.shape[2], h.shape[0] // a.reduction_ratio
    seen = u.reshape(across, r, across, r, channels).mean(axis=(1, 3)).reshape(-1, channels)
    if a.reduction is not None:
        seen = residual_product(a.reduction, seen, _tiled)
    q = residual_product(a.query.project, u.reshape(-1, channels), _tiled)
    k, v = (residual_product(p.project, seen, _tiled) for p in (a.key, a.value))
    up_k, up_v = (_upsampled(x.reshape(across, across, -1), r).reshape(-1, channels) for x in (k, v))
    rows = max(1, MOST_SCORES // (a.heads * len(seen)))
    parts = [slice(first, first + rows) for first in range(0, len(q), rows)]
    c = [_context(a, q[None, i], k[None], v[None], residuals=[q[i], up_k[i], up_v[i]])[0] for i in parts]
    return h + _attention_output(a, np.concatenate(c).reshape(h.shape))


def mlp(m: Mlp, h: Floats) -> Floats:
    """Map `h` + LayerScale(project(expand(v))) + the branches of v = norm_after(h)."""
    v = normed(m.norm_after, h)
    tokens = residual_product(m.project, residual_product(m.expand, v.reshape(-1, v.shape[-1]), _tiled), _pooled)
    y = h + scaled(m.layer_scale, tokens).reshape(h.shape)
    if not m.reach:
        return y
    for j, (height, width) in enumerate(zip(m.height_taps, m.width_taps, strict=True)):
        y += _moved(m, v, m.reach - j, 0) * height + _moved(m, v, m.reach - j, 1) * width
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


def scaled(s: LayerScale | None, x: Floats) -> Floats:
    """`x` (..., C) times alpha plus shift; `x` itself where there is no LayerScale."""
    if s is not None:
        x = x * s.alpha + s.shift
    return x


def residual_product(r: Residual, x: Floats, resize: Callable[[Floats, int], Floats]) -> Floats:
    """RPReLU(norm(product(x)) + resize(x)): tokens (T, columns) of tokens (T, channels)."""
    y = normed(r.norm, product(r.product, x[:, None]))
    return rprelu(r.rprelu, y + resize(x, r.product.columns))


def _attention_output(a: Attention, mixed: Floats) -> Floats:
    tokens = residual_product(a.output, mixed.reshape(-1, mixed.shape[-1]), _tiled)
    return scaled(a.layer_scale, tokens).reshape(mixed.shape)


def _by_window(w: Windows, values: Floats, local: int) -> Floats:
    """Values (n, g^2 + n, C) of the tokens that every window sees; the first `local` tokens belong to windows."""
    by_window = values[:local].reshape(-1, w.window**2, values.shape[1])
    summary = np.broadcast_to(values[local:], (len(by_window), *values[local:].shape))
    return np.concatenate((by_window, summary), axis=1)


def _context(a: Attention, q: Floats, k: Floats, v: Floats, residuals: list[Floats]) -> Floats:
    """RPReLU(norm(context) + residuals), (n, queries, C), of q (n, queries, C), k and v (n, keys, C)."""
    pairs = ((a.query, q), (a.key, k), (a.value, v))
    levels = [quantized(a.kind, p.step, values + p.shift) for p, values in pairs]
    total: Floats = sum(residuals, start=normed(a.norm, _attended(a, *levels)))
    return rprelu(a.rprelu, total)


def _attended(a: Attention, q: Floats, k: Floats, v: Floats) -> Floats:
    """Quantized softmax(q k^T / sqrt(C / H)) times v, (n, queries, C), from the levels of q, k and v."""
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
    if a.kind is Kind.binary and a.probability_zero is None:
        ratio, highest = probabilities / scale, 1
    elif a.kind is Kind.binary:
        assert a.probability_zero is not None
        ratio = probabilities * (np.float32(highest) / scale) + a.probability_zero[:, None, None]
    else:
        ratio = probabilities / scale
    levels: Floats = np.clip(np.rint(ratio), 0, highest)
    return levels


def _summary(w: Windows, u: Floats) -> Floats:
    """Summary tokens (n, C): max and mean of shifted windows, mixed; padding counts as 0 in the mean."""
    padding = w.window // 2
    inside = u.shape[0] - padding  # the last rows and columns are in no window
    before = ((padding, 0), (padding, 0), (0, 0))
    average: Floats = _split(np.pad(u[:inside, :inside], before), w.window).mean(axis=1)
    largest: Floats = _split(np.pad(u[:inside, :inside], before, constant_values=-np.inf), w.window).max(axis=1)
    return average + w.summary_mix * (largest - average)


def _upsampled(x: Floats, ratio: int) -> Floats:
    """A map of `ratio` times the side: every token repeated."""
    return x.repeat(ratio, axis=0).repeat(ratio, axis=1)


def _moved(m: Mlp, v: Floats, by: int, axis: int) -> Floats:
    """The map whose value at i is that of `v` at i - `by` along `axis`: circularly, or zero beyond the border."""
    if m.circular:
        return np.roll(v, by, axis=axis)
    result, size = np.zeros_like(v), v.shape[axis]
    to, source = [slice(None)] * 2, [slice(None)] * 2
    to[axis], source[axis] = slice(max(0, by), max(0, size + by)), slice(max(0, -by), max(0, size - by))
    result[tuple(to)] = v[tuple(source)]
    return result


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
