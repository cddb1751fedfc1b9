"""Accumulators of every runtime against sums that are written out, for random shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhvit.runtime import native
from bhvit.runtime.layouts import to_kernel, to_stored
from bhvit.runtime.network import Kind, Product
from bhvit.runtime.numpy_products import accumulators, product
from bhvit.runtime.schema import ITEM_OF, Tensor
from tests.bhvit.runtime.networks import core, runtimes


@dataclass(frozen=True)
class Case:
    product: Product
    natural: np.ndarray  # weights (groups, columns, taps, channels)
    inputs: np.ndarray  # (tokens, taps, groups, channels)
    valid: np.ndarray | None  # (tokens, taps)


def case(kind, groups, columns, taps, channels, tokens, padded, seed) -> Case:
    random = np.random.default_rng(seed)
    shape = (groups, columns, taps, channels)
    natural = {
        Kind.binary: lambda: random.choice(np.array([-1, 1], np.int8), shape),
        Kind.ternary: lambda: random.integers(-1, 2, shape, np.int8),
        Kind.int2: lambda: random.integers(-1, 2, shape, np.int8),
        Kind.int4: lambda: random.integers(-8, 8, shape, np.int8),
        Kind.int8: lambda: random.integers(-128, 128, shape, np.int8),
        Kind.fp16: lambda: random.standard_normal(shape).astype(np.float16),
        Kind.fp32: lambda: random.standard_normal(shape).astype(np.float32),
    }[kind]()
    tensor = Tensor("weight", ITEM_OF[kind.name], shape)
    weight = to_kernel(tensor, to_stored(tensor, natural))
    shift = random.standard_normal(groups * channels).astype(np.float32)
    # Quarters: shift and step keep sums and quotients exact, so that every rounding, ties included, has one answer.
    inputs = random.integers(-40, 41, (tokens, taps, groups * channels)).astype(np.float32) / 4
    shift = np.round(shift * 4) / 4
    valid = random.random((tokens, taps)) < 0.7 if padded else None
    packed = Product(
        kind, groups, columns, taps, channels, 0.125 if kind is Kind.int8 else 0.5, weight, None, None, shift
    )
    return Case(packed, natural, inputs, valid)


def written_out(c: Case) -> np.ndarray:
    """Sum over taps and channels of level times weight, zero where a tap is padding."""
    p = c.product
    x = (c.inputs.astype(np.float64) + p.shift).reshape(len(c.inputs), p.taps, p.groups, p.channels)
    if p.kind in (Kind.binary, Kind.ternary):
        x = np.where(x < 0, -1, 1)
    elif p.kind is Kind.int2:
        x = np.rint(np.minimum(np.maximum(x / p.step, -2), 1))
    elif p.kind is Kind.int4:
        x = np.rint(np.minimum(np.maximum(x / p.step, -8), 7))
    elif p.kind is Kind.int8:
        x = np.rint(np.minimum(np.maximum(x / p.step, -128), 127))
    if c.valid is not None:
        x = x * c.valid[:, :, None, None]
    return np.einsum("tkgi,goki->tgo", x, c.natural.astype(np.float64)).reshape(len(x), -1)


def accumulated(runtime: str, c: Case) -> np.ndarray:
    if runtime == "numpy":
        return accumulators(c.product, c.inputs, c.valid)
    return native.accumulate(core(), c.product, runtime, c.inputs, c.valid)


cases = st.builds(
    case,
    st.sampled_from(Kind),
    groups=st.sampled_from([1, 1, 2, 3, 4]),
    columns=st.integers(1, 40),
    taps=st.sampled_from([1, 1, 3, 4, 9]),
    channels=st.integers(1, 200),
    tokens=st.integers(1, 40),
    padded=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)


@pytest.mark.parametrize("runtime", runtimes())
@settings(max_examples=150, deadline=None)
@given(case=cases)
def test_accumulators_are_the_sums_written_out(runtime: str, case: Case) -> None:
    found, expected = accumulated(runtime, case), written_out(case)
    if case.product.kind.real_valued:
        magnitude = written_out(
            replace(
                case, natural=np.abs(case.natural), inputs=np.abs(case.inputs + case.product.shift) - case.product.shift
            )
        )
        assert np.all(np.abs(found - expected) <= 1e-5 * magnitude + 1e-30)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("runtime", runtimes())
@pytest.mark.parametrize("kind", [kind for kind in Kind if not kind.real_valued])
@pytest.mark.parametrize("channels", [31, 32, 33, 63, 64, 65, 127, 1000, 6144])
def test_accumulators_are_exact_at_the_borders_of_words(runtime: str, kind: Kind, channels: int) -> None:
    c = case(kind, 1, 17, 1, channels, 33, False, channels)
    np.testing.assert_array_equal(accumulated(runtime, c), written_out(c))


@pytest.mark.parametrize("runtime", runtimes())
def test_the_largest_sums_of_eight_bits_are_exact(runtime: str) -> None:
    c = case(Kind.int8, 1, 3, 9, 6144, 2, False, 0)
    natural = np.full_like(c.natural, -128)
    natural[:, :, -1, -1] = -127  # odd: a runtime that rounds the sum to 24 bits is off
    tensor = Tensor("weight", "int8", natural.shape)
    packed = replace(c.product, weight=to_kernel(tensor, to_stored(tensor, natural)))
    c = replace(c, product=packed, natural=natural, inputs=np.full_like(c.inputs, -1000))
    assert written_out(c).max() == 128 * 128 * 9 * 6144 - 128
    np.testing.assert_array_equal(accumulated(runtime, c), written_out(c).astype(np.float32))


@pytest.mark.parametrize("kind", Kind)
def test_a_product_is_scale_times_accumulator_plus_bias(kind: Kind) -> None:
    c = case(kind, 2, 5, 4, 7, 3, False, 0)
    scale, bias = np.arange(10, dtype=np.float32), np.arange(10, dtype=np.float32)[::-1].copy()
    found = product(replace(c.product, scale=scale, bias=bias), c.inputs)
    np.testing.assert_allclose(found, written_out(c) * scale + bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("runtime", runtimes())
def test_sums_beyond_32_bits_do_not_overflow(runtime: str) -> None:
    c = case(Kind.int8, 1, 3, 1, 200_001, 2, False, 0)
    natural = np.full_like(c.natural, -128)
    tensor = Tensor("weight", "int8", natural.shape)
    packed = replace(c.product, weight=to_kernel(tensor, to_stored(tensor, natural)))
    c = replace(c, product=packed, natural=natural, inputs=np.full_like(c.inputs, -1000))
    assert written_out(c).max() > 2**31
    np.testing.assert_allclose(accumulated(runtime, c), written_out(c), rtol=1e-6)
