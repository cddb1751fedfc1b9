"""Products of quantized activations and weights in numpy, with exact integer accumulators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bhvit.runtime.network import Floats, Kind, Product

WORD = 32  # bits of a weight word
FLOAT32_EXACT = 2**24  # whole numbers up to here are exact in float32
LARGEST_LEVEL = {k: 2 ** (k.activation_bits - 1) for k in Kind if not k.real_valued}  # magnitude, activations' included
BLOCK_WORDS = 2**16  # of a temporary of the popcount: stays in the cache


def product(p: Product, x: Floats, valid: NDArray[np.bool_] | None = None) -> Floats:
    """Products with scale and bias (tokens, groups * columns) of inputs `x` (tokens, taps, groups * channels).

    The shift of the product is added here; taps that `valid` (tokens, taps) denies are zero padding.
    """
    y = accumulators(p, x, valid)
    if p.scale is not None:
        y = y * p.scale
    return y if p.bias is None else y + p.bias


def accumulators(p: Product, x: Floats, valid: NDArray[np.bool_] | None = None) -> Floats:
    """The sums over inputs before scale and bias, (tokens, groups * columns); exact where levels are whole numbers."""
    shifted = x if p.shift is None else x + p.shift
    by_group = shifted.reshape(len(x), p.taps, p.groups, p.channels).transpose(2, 0, 1, 3)
    if p.kind.takes_signs:
        planes = _planes(p)
        sums = [
            sum(_binary(p, words, bits, valid) for bits in of_group) // len(of_group)
            for words, of_group in zip(_words(by_group), planes, strict=True)
        ]
    else:
        levels = quantized(p.kind, p.step, by_group)
        if valid is not None:
            levels = levels * valid[:, :, None]
        sums = [
            exact_product(rows.reshape(len(x), -1), weight.T, LARGEST_LEVEL.get(p.kind, 0) ** 2 * p.taps * p.channels)
            for rows, weight in zip(levels, natural_weights(p), strict=True)
        ]
    return np.concatenate(sums, axis=1).astype(np.float32, copy=False)


def quantized(kind: Kind, step: float, x: Floats) -> Floats:
    """Levels of `x`: its sign (+1 at 0), whole numbers (half to even), or `x` itself where `kind` is real-valued."""
    if kind.real_valued:
        return x
    if kind.takes_signs:
        return np.where(x >= 0, np.float32(1), np.float32(-1))
    levels: Floats = np.rint(np.clip(x / np.float32(step), *kind.activation_levels))
    return levels


def exact_product(a: Floats, b: Floats, largest: float) -> NDArray[Any]:
    """`a` @ `b`, in float64 where whole numbers up to `largest` would not be exact in float32."""
    return a @ b if largest <= FLOAT32_EXACT else a.astype(np.float64) @ b.astype(np.float64)


def natural_weights(p: Product) -> Floats:
    """Weights (groups, columns, taps * channels) as numbers, of a product that does not take signs."""
    if p.kind in (Kind.int2, Kind.int4):
        numbers = np.stack((p.weight << 4, p.weight), axis=-1).view(np.int8) >> 4  # a signed shift keeps the sign
    else:
        numbers = p.weight if p.kind is Kind.int8 else p.weight[..., None]
    by_column = numbers.transpose(0, 1, 3, 2, 4)  # from (groups, panels, inputs, 16, inputs side by side)
    groups, panels, width, *inputs = by_column.shape
    rows = by_column.reshape(groups, panels * width, math.prod(inputs))
    return rows[:, : p.columns, : p.taps * p.channels].astype(np.float32)


def _planes(p: Product) -> NDArray[np.uint32]:
    """Planes of signs (groups, planes, columns, taps, words) whose mean is the weight."""
    groups, panels, *planes, taps, words, width = p.weight.shape
    by_plane = p.weight.reshape(groups, panels, *(planes or [1]), taps, words, width).transpose(0, 2, 1, 5, 3, 4)
    columns = by_plane.reshape(groups, -1, panels * width, taps, words)
    return np.ascontiguousarray(columns[:, :, : p.columns])


def _words(x: Floats) -> NDArray[np.uint32]:
    """Signs (..., channels) as words (..., ceil(channels / 32)), 1 for positive, channels from the lowest bit on."""
    signs = x >= 0
    padding = -x.shape[-1] % WORD
    if padding:
        signs = np.concatenate((signs, np.zeros((*x.shape[:-1], padding), bool)), axis=-1)
    return np.packbits(signs, axis=-1, bitorder="little").view("<u4").astype(np.uint32, copy=False)


def _binary(
    p: Product, inputs: NDArray[np.uint32], weights: NDArray[np.uint32], valid: NDArray[np.bool_] | None
) -> NDArray[np.int32]:
    """Inputs that agree minus those that differ, of one group: words (tokens, taps, w) against (columns, taps, w)."""
    left, right = _doubled(inputs), np.ascontiguousarray(_doubled(weights).transpose(1, 2, 0))
    tokens, (taps, words, columns) = len(left), right.shape
    sums = np.empty((tokens, columns), np.int32)
    rows = max(1, BLOCK_WORDS // columns)
    for start in range(0, tokens, rows):
        part = slice(start, start + rows)
        differing = np.zeros(sums[part].shape, np.int32)
        for tap in range(taps):
            for word in range(words):
                count = np.bitwise_count(left[part, tap, word, None] ^ right[tap, word])
                differing += count if valid is None else count * valid[part, tap, None]
        inside = taps if valid is None else valid[part].sum(axis=1, keepdims=True)
        sums[part] = p.channels * inside - 2 * differing
    return sums


def _doubled(words: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Words of 64 bits: half as many operations; an odd last one meets zeros on both sides."""
    if words.shape[-1] % 2:
        words = np.concatenate((words, np.zeros((*words.shape[:-1], 1), np.uint32)), axis=-1)
    return np.ascontiguousarray(words).view(np.uint64)
