"""Weights of products in their three forms: natural, as kernels read them, and as a file stores them.

*Natural*: (groups, columns, taps, channels); int8 signs and levels, float16, float32. *Kernel*: as in
`native/core.h`, panels of 16 columns. *Stored*: the kernel layout where that needs no padding (`in_kernel_layout`), so
that a mapped file is used in place; else the natural order with bits and nibbles packed tightly, the first one lowest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bhvit.runtime.schema import Tensor

PANEL = 16  # output columns
WORD = 32  # bits
DTYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype("<f4"),
    "f16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
    "int4": np.dtype("u1"),
}
PER_BYTE = {"int4": 2, "bits": 8}  # items of what is packed tightly


def in_kernel_layout(tensor: Tensor) -> bool:
    """Whether a file stores this tensor as kernels read it."""
    if not tensor.is_weight:
        return False
    _, columns, taps, channels = tensor.shape
    whole = {"bits": channels % WORD == 0, "int4": taps * channels % 2 == 0, "int8": taps * channels % 2 == 0}
    return columns % PANEL == 0 and whole.get(tensor.item, True)


def kernel_shape(tensor: Tensor) -> tuple[int, ...]:
    """Shape of a weight in the kernel layout (bits: words of 32)."""
    groups, columns, taps, channels = tensor.shape
    panels, inputs = _up(columns, PANEL), taps * channels
    match tensor.item:
        case "bits":
            return groups, panels, taps, _up(channels, WORD), PANEL
        case "int4":
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
    """What a file stores a tensor as: little-endian words or bytes of bits, bytes of two nibbles, numbers."""
    if tensor.item == "bits":
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
    if tensor.item == "bits":
        return np.packbits(natural.reshape(-1) > 0, bitorder="little")
    if tensor.item == "int4":
        levels = np.zeros(_up(natural.size, 2) * 2, np.uint8)
        levels[: natural.size] = natural.reshape(-1).astype(np.int8).view(np.uint8) & 15
        return levels[0::2] | levels[1::2] << 4
    return np.ascontiguousarray(natural, DTYPES[tensor.item])


def to_kernel(tensor: Tensor, stored: NDArray[Any]) -> NDArray[Any]:
    """From the stored form of a weight to the kernel layout: `stored` itself where it is in that already."""
    return stored if in_kernel_layout(tensor) else _natural_to_kernel(tensor, to_natural(tensor, stored))


def to_natural(tensor: Tensor, stored: NDArray[Any]) -> NDArray[Any]:
    """From the stored form to the natural one."""
    if in_kernel_layout(tensor):
        return _kernel_to_natural(tensor, stored)
    if tensor.item == "bits":
        return _signs(np.unpackbits(stored, count=tensor.size, bitorder="little")).reshape(tensor.shape)
    if tensor.item == "int4":
        return _levels(stored).reshape(-1)[: tensor.size].reshape(tensor.shape)
    return stored


def _natural_to_kernel(tensor: Tensor, natural: NDArray[Any]) -> NDArray[Any]:
    groups, columns, taps, channels = tensor.shape
    panels = _up(columns, PANEL)
    if tensor.item == "bits":
        words = _up(channels, WORD)
        bits = _padded(natural > 0, (groups, panels * PANEL, taps, words * WORD))
        packed = np.packbits(bits, axis=-1, bitorder="little").view("<u4")
        return np.ascontiguousarray(packed.reshape(groups, panels, PANEL, taps, words).transpose(0, 1, 3, 4, 2))
    rows = natural.reshape(groups, columns, taps * channels)
    if tensor.item in ("int4", "int8"):
        pairs = _up(taps * channels, 2)
        padded = _padded(rows.astype(np.int8, copy=False), (groups, panels * PANEL, pairs * 2))
        paired = padded.reshape(groups, panels, PANEL, pairs, 2).transpose(0, 1, 3, 2, 4)
        if tensor.item == "int8":
            return np.ascontiguousarray(paired)
        levels = np.ascontiguousarray(paired).view(np.uint8) & 15
        return levels[..., 0] | levels[..., 1] << 4
    padded = _padded(rows.astype(DTYPES[tensor.item], copy=False), (groups, panels * PANEL, taps * channels))
    return np.ascontiguousarray(padded.reshape(groups, panels, PANEL, -1).transpose(0, 1, 3, 2))


def _kernel_to_natural(tensor: Tensor, kernel: NDArray[Any]) -> NDArray[Any]:
    groups, columns, taps, channels = tensor.shape
    panels = _up(columns, PANEL)
    if tensor.item == "bits":
        words = np.ascontiguousarray(kernel.transpose(0, 1, 4, 2, 3))
        bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")
        rows = _signs(bits).reshape(groups, panels * PANEL, taps, -1)
        return np.ascontiguousarray(rows[:, :columns, :, :channels])
    if tensor.item in ("int4", "int8"):
        levels = _levels(kernel) if tensor.item == "int4" else kernel
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


def _signs(bits: NDArray[np.uint8]) -> NDArray[np.int8]:
    return (bits.astype(np.int8) << 1) - np.int8(1)


def _levels(nibbles: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Two's complement of low and high nibble, (..., 2)."""
    both = np.stack((nibbles & 15, nibbles >> 4), axis=-1).view(np.int8)
    return (both ^ np.int8(8)) - np.int8(8)


def _up(count: int, unit: int) -> int:
    return -(-count // unit)
