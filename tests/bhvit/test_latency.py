"""Predicted seconds: sums of layers, the same for one candidate and for arrays of widths."""

from typing import Any

import numpy as np
import pytest

from bhvit.architecture import TINY
from bhvit.bhvit_work import bhvit_work
from bhvit.binaryvit.architecture import SMALL
from bhvit.cost import WidthGrid
from bhvit.device_file import load_device
from bhvit.device_profile import COEFFICIENTS, INSTRUCTION_SETS
from bhvit.errors import InvalidInput
from bhvit.families import FAMILIES, Family
from bhvit.latency import seconds_by_layer
from bhvit.precision import PRECISIONS, PrecisionPlan
from bhvit.runtime.families import PACKED_FAMILIES

HIDDEN, INTERMEDIATE = (1, 1.25, 1.9, 3), (1, 2.3, 4)
ADDRESSES = ("stem", *TINY.addresses, "head")
BHVIT = FAMILIES["bhvit"]
RUN = {family.name: family for family in FAMILIES.values() if family.work is not None}


def addresses_of(shape: Any) -> tuple[str, ...]:
    return ("stem", *shape.addresses, "head")


def test_latency_is_predicted_of_every_family_that_the_runtime_runs() -> None:
    assert set(RUN) == set(PACKED_FAMILIES)


@pytest.mark.parametrize("family", RUN)
@pytest.mark.parametrize("device", ["avx512", "avx2", "rpi5"])
@pytest.mark.parametrize("quantizes", [True, False])
def test_arrays_of_widths_cost_what_each_of_them_costs(device: str, quantizes: bool, family: str) -> None:
    profile, base = load_device(device), next(iter(FAMILIES[family].presets.values()))
    shapes = [base.scaled(h, i) for h in HIDDEN for i in INTERMEDIATE]
    columns = [
        tuple(np.array([getattr(s, dims)[stage] for s in shapes]) for stage in range(4))
        for dims in ("embed_dims", "intermediate_dims")
    ]
    together = FAMILIES[family].seconds_of(WidthGrid(base, *columns), profile)
    each = [FAMILIES[family].seconds_of(s, profile) for s in shapes]
    for precision in PRECISIONS.values():
        for address in addresses_of(base):
            seconds = np.broadcast_to(together(address, precision, quantizes), len(shapes))
            alone = [of(address, precision, quantizes) for of in each]
            np.testing.assert_allclose(seconds, alone, rtol=1e-12)
            assert (seconds > 0).all()


def test_layers_are_in_forward_order_and_stem_and_head_take_the_plans_width() -> None:
    profile = load_device("avx512")
    layers = PrecisionPlan.uniform("binary").with_layers("downsample*", "fp16").resolve(TINY.addresses)
    seconds = seconds_by_layer(TINY, layers, profile, BHVIT.seconds_of)
    assert tuple(seconds) == ADDRESSES
    of = BHVIT.seconds_of(TINY, profile)
    assert seconds["stem"] == of("stem", PRECISIONS["fp16"], True)
    assert seconds["downsample2"] == of("downsample2", PRECISIONS["fp16"], True)


def test_blocks_of_a_stage_share_one_value() -> None:
    of = BHVIT.seconds_of(TINY, load_device("avx512"))
    binary = PRECISIONS["binary"]
    assert of("stage2.block0.mlp", binary, True) is of("stage2.block5.mlp", binary, True)
    assert of("stage2.block0.mlp", binary, True) != of("stage1.block0.mlp", binary, True)


@pytest.mark.parametrize("family", [f for f in FAMILIES.values() if f.name not in PACKED_FAMILIES])
def test_a_family_that_the_runtime_does_not_run_says_so(family: Family) -> None:
    title = family.config.title
    with pytest.raises(InvalidInput, match=f"of BHViT and BinaryViT, but this one is a {title}; leave the device out"):
        family.seconds_of(next(iter(family.presets.values())), load_device("avx512"))


def test_work_is_counted_in_whole_tiles_and_real_products_in_tokens() -> None:
    """BHViT-Tiny's last MLP on AVX512: 49 tokens (2 tiles of 32), C = 512, I = 2048, shifts of radius 2."""
    binary = bhvit_work(TINY, "avx512")("stage3.block0.mlp", PRECISIONS["binary"], True)
    assert {name: count for name, count in binary.items() if count} == {
        "layer_us": 1,
        "binary_mac_ps": 2 * 64 * 512 * 2048,
        "weight_byte_ps": 2 * 512 * 2048 / 8,
        "output_ns": 64 * (512 + 2048),
        "element_ns": (3 + 2) * 49 * 512,
    }
    real = bhvit_work(TINY, "avx512")("stage3.block0.mlp", PRECISIONS["fp16"], True)
    assert real["fp16_mac_ps"] == 2 * 49 * 512 * 2048
    assert real["far_weight_byte_ps"] == 2 * 2 * (2 * 512 * 2048 - 2**20)  # both products, in 2 tiles of 28 tokens


def test_two_bits_run_in_the_kernels_of_their_neighbours() -> None:
    """The same MLP: ternary signs meet two planes of weights; int2 is widened to int4 where the model is loaded."""
    of = bhvit_work(TINY, "avx512")
    binary, ternary, int2, int4 = (
        of("stage3.block0.mlp", PRECISIONS[p], True) for p in ("binary", "ternary", "int2", "int4")
    )
    planes = {name: 2 * binary[name] for name in ("binary_mac_ps", "weight_byte_ps")}
    assert {name: count for name, count in ternary.items() if count} == {
        **{name: count for name, count in binary.items() if count},
        **planes,
    }
    assert int2 == int4


def test_odd_widths_are_rounded_up_to_words_and_columns() -> None:
    """Hidden 1.25: C = 80, so convolutions of 20 channels a group, which take a word of 32 and 24 columns each."""
    work = bhvit_work(TINY.scaled(hidden=1.25), "avx512")("stage0.block0.mixer", PRECISIONS["binary"], True)
    tokens = 56 * 64  # rows of 56 in segments of 16
    assert work["binary_mac_ps"] == 3 * tokens * 4 * 24 * 9 * 32


@pytest.mark.parametrize("family", RUN)
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_every_instruction_set_has_its_tiles_and_every_count_a_coefficient(instruction_set: str, family: str) -> None:
    for base in RUN[family].presets.values():
        of = RUN[family].work(base, instruction_set)
        works = [of(address, precision, True) for address in addresses_of(base) for precision in PRECISIONS.values()]
        assert {name for work in works for name in work} <= set(COEFFICIENTS)
        assert all(count >= 0 for work in works for count in work.values())


def test_keys_that_all_tokens_share_are_projected_once() -> None:
    """BinaryViT-Small's first attention on AVX2: 3136 tokens (196 tiles of 16) see 49 averages (4 tiles), C = 64."""
    work = RUN["binaryvit"].work(SMALL, "avx2")("stage0.block0.attention", PRECISIONS["binary"], True)
    queries, seen = 196 * 16, 4 * 16
    scores, context = 52 * 64, 64 * 64  # 49 keys in columns of 4; 49 probabilities of one bit in words of 32
    assert {name: count for name, count in work.items() if count} == {
        "layer_us": 1,
        "binary_mac_ps": (2 * queries + 3 * seen) * 64 * 64 + queries * (scores + context),
        "weight_byte_ps": 5 * 64 * 64 / 8,
        "output_ns": (3 * queries + 3 * seen) * 64,  # queries, context and output; reduction, keys and values
        "element_ns": 6 * 3136 * 64,
        "score_ns": pytest.approx(queries * 49 / 5),  # a probability of one bit takes a fifth of one of two
    }


def test_levels_of_attention_are_made_and_gathered() -> None:
    """BinaryViT-Small's third stage in int8 on AVX2: 196 tokens (13 tiles of 16) see each other; C = 256, 4 heads."""
    work = RUN["binaryvit"].work(SMALL, "avx2")("stage2.block0.attention", PRECISIONS["int8"], True)
    padded = 13 * 16
    assert {name: count for name, count in work.items() if count} == {
        "layer_us": 1,
        "int8_mac_ps": 4 * padded * 256 * 256,
        "weight_byte_ps": 4 * 256 * 256,
        "level_ns": 7 * padded * 256,  # tokens and results of three projections, tokens of the output
        "output_ns": 5 * padded * 256,  # projections, context, output
        "element_ns": 6 * 196 * 256,
        "fp32_mac_ps": 196 * 4 * (208 * 64 + 64 * 196),  # 196 keys in panels of 16
        "score_ns": padded * 196 * 4,
        "gather_ns": 2 * 196 * 256,
    }
