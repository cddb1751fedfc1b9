"""Which values the tensors of a packed model may have: what a runtime can rely on without looking again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bhvit.errors import InvalidInput
from bhvit.runtime.layouts import PER_BYTE, in_kernel_layout
from bhvit.runtime.schema import LEVELS, Tensor

SMALLEST_DIVISOR = 1e-8  # of what a runtime divides by: steps, and scales of attention probabilities
REMEDY = "export the model again"


def check_chunk(item: str, chunk: NDArray[np.uint8]) -> None:
    """Refuse numbers that are not finite and levels beyond the symmetric ones, in bytes of `item`s or "gap"s."""
    if item in ("f32", "f16"):
        if not np.isfinite(chunk.view(f"<f{4 if item == 'f32' else 2}")).all():
            raise InvalidInput(f"every number of a packed model must be finite, but an {item} is not; {REMEDY}.")
    elif item == "int8":
        if (chunk == 0x80).any():
            raise InvalidInput(f"int8 weights must be -127 to 127, but one is -128; {REMEDY}.")
    elif item == "gap":
        if chunk.any():
            raise InvalidInput(f"bytes between the sections of a packed file must be 0, but some are not; {REMEDY}.")
    elif item == "int2":
        if (chunk >> 1 & ~chunk & 0x55).any():
            raise InvalidInput(f"int2 weights must be -1 to 1, but one is -2; {REMEDY}.")
    elif item == "int4" and ((chunk & 0x0F == 0x08) | (chunk & 0xF0 == 0x80)).any():
        raise InvalidInput(f"int4 weights must be -7 to 7, but one is -8; {REMEDY}.")


def check_stored(tensor: Tensor, stored: NDArray[Any]) -> None:
    """Refuse divisors that are too small, and anything in the bits that a tensor's last byte has too many."""
    kind = tensor.name.rpartition(".")[2]
    if kind == "step" and not bool((stored >= SMALLEST_DIVISOR).all()):
        raise _too_small(tensor, float(stored.min()), "")
    if tensor.name.endswith(".probability.alpha") and not bool((np.abs(stored) >= SMALLEST_DIVISOR).all()):
        raise _too_small(tensor, float(np.abs(stored).min()), " in magnitude")
    if tensor.item in PER_BYTE and not in_kernel_layout(tensor):
        used = tensor.size % PER_BYTE[tensor.item] * (8 // PER_BYTE[tensor.item])
        if used and int(stored[-1]) >> used:
            raise InvalidInput(f"bits after the end of {tensor.name} must be 0, but they are not; {REMEDY}.")


def check_natural(tensor: Tensor, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """The array of a tensor that is to be written, in its natural form; raises `InvalidInput` where it is not."""
    if tensor.name not in arrays:
        raise InvalidInput(f"a packed model must have all of its tensors, but {tensor.name} is missing.")
    array = np.asarray(arrays[tensor.name])
    expected = {"f32": np.float32, "f16": np.float16}.get(tensor.item, np.int8)
    if array.shape != tensor.shape or array.dtype != expected:
        raise InvalidInput(
            f"{tensor.name} must be {np.dtype(expected)} {tensor.shape}, but it is {array.dtype} {array.shape}."
        )
    largest = LEVELS.get(tensor.item, 1)
    if expected is not np.int8:
        legal = bool(np.isfinite(array).all())
    else:
        legal = bool((array >= -largest).all() and (array <= largest).all())
        legal = legal and (tensor.item != "bits" or bool(array.all()))
    if not legal:
        rule = f"-{largest} to {largest}" if tensor.item in LEVELS else f"finite as {tensor.item}"
        rule = "-1 or 1" if tensor.item == "bits" else rule
        raise InvalidInput(f"every value of {tensor.name} must be {rule}, but some are not.")
    return array


def _too_small(tensor: Tensor, smallest: float, how: str) -> InvalidInput:
    return InvalidInput(f"{tensor.name} must be at least {SMALLEST_DIVISOR:g}{how}, but it is {smallest:g}; {REMEDY}.")
