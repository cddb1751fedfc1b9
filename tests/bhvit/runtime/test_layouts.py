"""The three forms of a weight, against loops over the sentences of `native/core.h`."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bhvit.runtime.layouts import (
    in_kernel_layout,
    stored_bytes,
    stored_dtype,
    stored_shape,
    to_kernel,
    to_natural,
    to_stored,
)
from bhvit.runtime.schema import ITEMS, Tensor

WEIGHTS = st.builds(
    lambda item, *shape: Tensor("layer.weight", item, shape),
    st.sampled_from(ITEMS),
    st.integers(1, 4),
    st.sampled_from([1, 3, 15, 16, 17, 32, 48]),
    st.sampled_from([1, 4, 9]),
    st.sampled_from([1, 2, 5, 31, 32, 33, 64, 96]),
)


def natural_weight(tensor: Tensor, seed: int = 0) -> NDArray[Any]:
    random = np.random.default_rng(seed)
    if tensor.item == "bits":
        return random.choice(np.array([-1, 1], np.int8), tensor.shape)
    if largest := {"int8": 127, "int4": 7, "int2": 1, "planes": 1}.get(tensor.item):
        return random.integers(-largest, largest + 1, tensor.shape, np.int8)
    return random.standard_normal(tensor.shape).astype(np.float16 if tensor.item == "f16" else np.float32)


def read_from_kernel_layout(tensor: Tensor, kernel: NDArray[Any], g: int, column: int, tap: int, channel: int) -> float:
    """One weight, as core.h says where it is."""
    panel, lane = divmod(column, 16)
    k = tap * tensor.shape[3] + channel
    if tensor.item == "bits":
        word = int(kernel[g, panel, tap, channel // 32, lane])
        return 1 if word >> channel % 32 & 1 else -1
    if tensor.item == "planes":
        words = [int(kernel[g, panel, plane, tap, channel // 32, lane]) for plane in (0, 1)]
        return sum(1 if word >> channel % 32 & 1 else -1 for word in words) / 2
    if tensor.item in ("int2", "int4"):
        nibble = int(kernel[g, panel, k // 2, lane]) >> 4 * (k % 2) & 15
        return nibble - 16 if nibble > 7 else nibble
    if tensor.item == "int8":
        return int(kernel[g, panel, k // 2, lane, k % 2])
    return float(kernel[g, panel, k, lane])


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.data())
def test_kernel_layout_is_the_one_of_core_h(tensor: Tensor, data: st.DataObject) -> None:
    natural = natural_weight(tensor)
    kernel = to_kernel(tensor, to_stored(tensor, natural))
    assert kernel.flags.c_contiguous
    for _ in range(20):
        place = tuple(data.draw(st.integers(0, size - 1)) for size in tensor.shape)
        assert read_from_kernel_layout(tensor, kernel, *place) == natural[place]


@settings(max_examples=60, deadline=None)
@given(WEIGHTS)
def test_what_pads_the_kernel_layout_is_zero(tensor: Tensor) -> None:
    groups, columns, taps, channels = tensor.shape
    kernel = to_kernel(tensor, to_stored(tensor, natural_weight(tensor)))
    if tensor.item == "bits":  # all weights positive: ones are counted
        kernel = to_kernel(tensor, to_stored(tensor, np.ones(tensor.shape, np.int8)))
        assert np.bitwise_count(kernel).sum() == tensor.size
        return
    if tensor.item == "planes":  # and of weights 0 the first plane
        kernel = to_kernel(tensor, to_stored(tensor, np.zeros(tensor.shape, np.int8)))
        assert np.bitwise_count(kernel[:, :, 0]).sum() == tensor.size
        assert not kernel[:, :, 1].any()
        return
    panels = -(-columns // 16)
    lanes = np.moveaxis(kernel, 3, 2).reshape(groups, panels * 16, -1)
    assert not lanes[:, columns:].any()
    k = taps * channels
    if tensor.item == "int8":
        assert not lanes[:, :, k:].any()
    if tensor.item in ("int2", "int4") and k % 2:
        assert not (lanes[:, :, -1] >> 4).any()


@settings(max_examples=60, deadline=None)
@given(WEIGHTS)
def test_stored_weights_come_back_and_take_no_byte_too_many(tensor: Tensor) -> None:
    natural = natural_weight(tensor)
    stored = to_stored(tensor, natural)
    np.testing.assert_array_equal(to_natural(tensor, stored), natural)
    assert (stored.shape, stored.dtype) == (stored_shape(tensor), stored_dtype(tensor))
    bits = {"bits": 1, "planes": 2, "int2": 2, "int4": 4, "int8": 8, "f16": 16, "f32": 32}[tensor.item]
    assert stored.nbytes == stored_bytes(tensor) == -(-tensor.size * bits // 8)


def test_odd_widths_are_stored_in_natural_order_lowest_bit_first() -> None:
    bits = Tensor("w", "bits", (1, 2, 1, 5))
    assert not in_kernel_layout(bits)
    signs = np.array([[1, -1, -1, 1, -1], [1, 1, -1, -1, 1]], np.int8).reshape(bits.shape)
    assert to_stored(bits, signs).tolist() == [0b01101001, 0b10]
    nibbles = Tensor("w", "int4", (1, 1, 1, 3))
    assert to_stored(nibbles, np.array([1, -2, 7], np.int8).reshape(nibbles.shape)).tolist() == [0xE1, 0x07]
    levels = np.array([1, 0, -1, 1, -1], np.int8)
    pairs, planes = (Tensor("w", item, (1, 1, 1, 5)) for item in ("int2", "planes"))
    assert to_stored(pairs, levels.reshape(pairs.shape)).tolist() == [0b01110001, 0b11]
    assert to_stored(planes, levels.reshape(planes.shape)).tolist() == [0b11000111, 0b00]


@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (1, 16, 1, 32)])
def test_a_zero_is_a_zero_whichever_of_its_planes_is_one(shape: tuple[int, ...]) -> None:
    tensor = Tensor("w", "planes", shape)
    stored = np.ascontiguousarray(to_stored(tensor, np.zeros(shape, np.int8)))
    other = ~stored
    assert not np.array_equal(stored, other)
    assert not to_natural(tensor, other).any()


@pytest.mark.parametrize(
    ("item", "shape", "in_place"),
    [
        ("bits", (1, 16, 1, 32), True),
        ("bits", (4, 16, 9, 16), False),
        ("bits", (1, 24, 1, 32), False),
        ("planes", (1, 16, 4, 32), True),
        ("planes", (4, 16, 9, 16), False),
        ("int2", (1, 16, 1, 32), False),
        ("int4", (1, 16, 1, 3), False),
        ("int4", (4, 16, 9, 2), True),
        ("int8", (1, 32, 4, 1), True),
        ("int8", (1, 32, 1, 1), False),
        ("f16", (1, 32, 1, 5), True),
        ("f32", (1, 37, 1, 512), False),
    ],
)
def test_a_file_is_used_in_place_exactly_where_kernels_need_no_padding(
    item: str, shape: tuple[int, ...], in_place: bool
) -> None:
    tensor = Tensor("w", item, shape)
    stored = to_stored(tensor, natural_weight(tensor))
    assert (to_kernel(tensor, stored) is stored) == in_place == in_kernel_layout(tensor)
