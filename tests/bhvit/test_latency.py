"""Predicted seconds: sums of layers, the same for one candidate and for arrays of widths."""

import numpy as np
import pytest

from bhvit.architecture import TINY
from bhvit.cost import WidthGrid
from bhvit.errors import InvalidInput
from bhvit.latency import layer_seconds, load_device, seconds_by_layer
from bhvit.precision import PRECISIONS, PrecisionPlan
from searcher.families import FAMILIES, Family

HIDDEN, INTERMEDIATE = (1, 1.25, 1.9, 3), (1, 2.3, 4)
ADDRESSES = ("stem", *TINY.addresses, "head")


@pytest.mark.parametrize("device", ["avx512", "avx2", "rpi5"])
@pytest.mark.parametrize("quantizes", [True, False])
def test_arrays_of_widths_cost_what_each_of_them_costs(device: str, quantizes: bool) -> None:
    profile = load_device(device)
    shapes = [TINY.scaled(h, i) for h in HIDDEN for i in INTERMEDIATE]
    columns = [
        tuple(np.array([getattr(s, dims)[stage] for s in shapes]) for stage in range(4))
        for dims in ("embed_dims", "intermediate_dims")
    ]
    together = layer_seconds(WidthGrid(TINY, *columns), profile)
    for precision in PRECISIONS.values():
        for address in ADDRESSES:
            seconds = np.broadcast_to(together(address, precision, quantizes), len(shapes))
            alone = [layer_seconds(s, profile)(address, precision, quantizes) for s in shapes]
            np.testing.assert_allclose(seconds, alone, rtol=1e-12)
            assert (seconds > 0).all()


def test_layers_are_in_forward_order_and_stem_and_head_take_the_plans_width() -> None:
    profile = load_device("avx512")
    layers = PrecisionPlan.uniform("binary").with_layers("downsample*", "fp16").resolve(TINY.addresses)
    seconds = seconds_by_layer(TINY, layers, profile, layer_seconds)
    assert tuple(seconds) == ADDRESSES
    of = layer_seconds(TINY, profile)
    assert seconds["stem"] == of("stem", PRECISIONS["fp16"], True)
    assert seconds["downsample2"] == of("downsample2", PRECISIONS["fp16"], True)


def test_blocks_of_a_stage_share_one_value() -> None:
    of = layer_seconds(TINY, load_device("avx512"))
    binary = PRECISIONS["binary"]
    assert of("stage2.block0.mlp", binary, True) is of("stage2.block5.mlp", binary, True)
    assert of("stage2.block0.mlp", binary, True) != of("stage1.block0.mlp", binary, True)


def test_a_family_without_latency_says_so() -> None:
    bhvit = FAMILIES["bhvit"]
    plain = Family("plain", bhvit.config, bhvit.presets, bhvit.layer_terms, bhvit.builder)
    with pytest.raises(InvalidInput, match="but plain has no latency function; use a budget of memory or ops"):
        plain.seconds_of(TINY, load_device("avx512"))
