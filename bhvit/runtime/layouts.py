"""Weights of products in their three forms: natural, as kernels read them, and as a file stores them.

*Natural*: (groups, columns, taps, channels); int8 signs and levels, float16, float32. *Kernel*: as in
`native/core.h`, panels of 16 columns. *Stored*: the kernel layout where that takes no more room
(`in_kernel_layout`), so that a mapped file is used in place; else the natural order with items of few bits packed
tightly, the first one lowest. Levels of int2 never are in kernel layout there, which is that of int4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bhvit.runtime.schema import LEVELS, Tensor

PANEL = 16  # output columns
WORD = 32  # bits
DTYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype("<f4"),
    "f16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
    "int4": np.dtype("u1"),
    "int2": np.dtype("u1"),
}
PER_BYTE = {"int4": 2, "int2": 4, "planes": 4, "bits": 8}  # items of what is packed tightly
PLANES = {"bits": 1, "planes": 2}  # of signs, whose mean is the weight


def in_kernel_layout(tensor: Tensor) -> bool:
    """Whether a file stores this tensor as kernels read it."""
    if not tensor.is_weight:
        return False
    _, columns, taps, channels = tensor.shape
    words, pairs = channels % WORD == 0, taps * channels % 2 == 0
    whole = {"bits": words, "planes": words, "int2": False, "int4": pairs, "int8": pairs}
    return columns % PANEL == 0 and whole.get(tensor.item, True)


def kernel_shape(tensor: Tensor) -> tuple[int, ...]:
    """Shape of a weight in the kernel layout (bits and planes: words of 32)."""
    groups, columns, taps, channels = tensor.shape
    panels, inputs = _up(columns, PANEL), taps * channels
    match tensor.item:
        case "bits":
            return groups, panels, taps, _up(channels, WORD), PANEL
        case "planes":
            return groups, panels, PLANES["planes"], taps, _up(channels, WORD), PANEL
        case "int2" | "int4":
            return groups, panels, _up(inputs, 2), PANEL
        case "int8":
            return groups, panels, _up(inputs, 2), PANEL, 2
        case _:
            return groups, panels, inputs, PANEL


def stored_shape(tensor: Tensor) -> tuple[int, ...]:
    """Shape of a tensor in a file, in items of `stored_dtype`."""
    if in_kernel_layout(tensor):
        return kernel_shape(tensor)
    if tensor.item in PER_BYTE:
        return (_up(tensor.size, PER_BYTE[tensor.item]),)
    return tensor.shape


def stored_dtype(tensor: Tensor) -> np.dtype[Any]:
    """What a file stores a tensor as: little-endian words or bytes of bits, bytes of several levels, numbers."""
    if tensor.item in PLANES:
        return np.dtype("<u4" if in_kernel_layout(tensor) else "u1")
    return DTYPES[tensor.item]


def stored_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor in a file."""
    if tensor.item in PER_BYTE:
        return _up(tensor.size, PER_BYTE[tensor.item])
    return tensor.size * DTYPES[tensor.item].itemsize


def to_stored(tensor: Tensor, natural: NDArray[Any]) -> NDArray[Any]:
    """From the natural form to the stored one."""
    if in_kernel_layout(tensor):
        return _natural_to_kernel(tensor, natural)
    if tensor.item in PLANES:
        signs = np.stack(_planes(tensor, natural.reshape(-1)), axis=-1)
        return np.packbits(signs.reshape(-1), bitorder="little")
    if tensor.item in PER_BYTE:
        per_byte = PER_BYTE[tensor.item]
        levels = np.zeros(_up(natural.size, per_byte) * per_byte, np.int8)
        levels[: natural.size] = natural.reshape(-1)
        return _tight(levels.reshape(-1, per_byte))
    return np.ascontiguousarray(natural, DTYPES[tensor.item])


def to_kernel(tensor: Tensor, stored: NDArray[Any]) -> NDArray[Any]:
    """From the stored form of a weight to the kernel layout: `stored` itself where it is in that already."""
    return stored if in_kernel_layout(tensor) else _natural_to_kernel(tensor, to_natural(tensor, stored))


def to_natural(tensor: Tensor, stored: NDArray[Any]) -> NDArray[Any]:
    """From the stored form to the natural one."""
    if in_kernel_layout(tensor):
        return _kernel_to_natural(tensor, stored)
    if tensor.item in PLANES:
        planes = PLANES[tensor.item]
        bits = np.unpackbits(stored, count=tensor.size * planes, bitorder="little").reshape(-1, planes)
        return _mean(bits.T).reshape(tensor.shape)
    if tensor.item in PER_BYTE:
        return _levels(stored, PER_BYTE[tensor.item]).reshape(-1)[: tensor.size].reshape(tensor.shape)
    return stored


def _natural_to_kernel(tensor: Tensor, natural: NDArray[Any]) -> NDArray[Any]:
    groups, columns, taps, channels = tensor.shape
    panels = _up(columns, PANEL)
    if tensor.item in PLANES:
        words = _up(channels, WORD)
        bits = np.stack([_padded(p, (groups, panels * PANEL, taps, words * WORD)) for p in _planes(tensor, natural)])
        packed = np.packbits(bits, axis=-1, bitorder="little").view("<u4")
        by_plane = packed.reshape(-1, groups, panels, PANEL, taps, words).transpose(1, 2, 0, 4, 5, 3)
        return np.ascontiguousarray(by_plane).reshape(kernel_shape(tensor))
    rows = natural.reshape(groups, columns, taps * channels)
    if tensor.item in LEVELS:
        pairs = _up(taps * channels, 2)
        padded = _padded(rows.astype(np.int8, copy=False), (groups, panels * PANEL, pairs * 2))
        paired = padded.reshape(groups, panels, PANEL, pairs, 2).transpose(0, 1, 3, 2, 4)
        if tensor.item == "int8":
            return np.ascontiguousarray(paired)
        return _tight(paired)
    padded = _padded(rows.astype(DTYPES[tensor.item], copy=False), (groups, panels * PANEL, taps * channels))
    return np.ascontiguousarray(padded.reshape(groups, panels, PANEL, -1).transpose(0, 1, 3, 2))


def _kernel_to_natural(tensor: Tensor, kernel: NDArray[Any]) -> NDArray[Any]:
    groups, columns, taps, channels = tensor.shape
    panels = _up(columns, PANEL)
    if tensor.item in PLANES:
        by_plane = kernel.reshape(groups, panels, PLANES[tensor.item], taps, -1, PANEL)
        words = np.ascontiguousarray(by_plane.transpose(2, 0, 1, 5, 3, 4))
        bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")
        rows = _mean(bits).reshape(groups, panels * PANEL, taps, -1)
        return np.ascontiguousarray(rows[:, :columns, :, :channels])
    if tensor.item in LEVELS:
        levels = kernel if tensor.item == "int8" else _levels(kernel, PER_BYTE["int4"])
        rows = levels.transpose(0, 1, 3, 2, 4)
    else:
        rows = kernel.transpose(0, 1, 3, 2)
    rows = rows.reshape(groups, panels * PANEL, -1)[:, :columns, : taps * channels]
    return np.ascontiguousarray(rows).reshape(tensor.shape)


def _padded(natural: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """`natural` with zeros after it along every axis."""
    if natural.shape == shape:
        return natural
    padded = np.zeros(shape, natural.dtype)
    padded[tuple(slice(size) for size in natural.shape)] = natural
    return padded


def _planes(tensor: Tensor, natural: NDArray[Any]) -> list[NDArray[np.bool_]]:
    """Planes of bits, 1 for +1 and 0 for -1, whose mean are the weights; of 0 the first one is 1."""
    return [natural > -1, natural > 0][-PLANES[tensor.item] :]


def _mean(bits: NDArray[np.uint8]) -> NDArray[np.int8]:
    """The mean over planes (planes, ...) of signs."""
    signs = (bits.astype(np.int8) << 1) - np.int8(1)
    total: NDArray[np.int8] = signs.sum(0, np.int8)
    return total // np.int8(len(signs))


def _tight(levels: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Bytes of levels (..., items of a byte) in two's complement, the first one lowest."""
    per_byte = levels.shape[-1]
    bits = 8 // per_byte
    fields = np.ascontiguousarray(levels).view(np.uint8) & ((1 << bits) - 1)
    packed: NDArray[np.uint8] = fields[..., 0]
    for i in range(1, per_byte):
        packed = packed | fields[..., i] << (bits * i)
    return packed


def _levels(packed: NDArray[np.uint8], per_byte: int) -> NDArray[np.int8]:
    """The inverse of `_tight`, (..., per_byte)."""
    bits = 8 // per_byte
    fields = np.stack([packed >> (bits * i) & ((1 << bits) - 1) for i in range(per_byte)], axis=-1).view(np.int8)
    sign = np.int8(1 << (bits - 1))
    return (fields ^ sign) - sign


def _up(count: int, unit: int) -> int:
    return -(-count // unit)
