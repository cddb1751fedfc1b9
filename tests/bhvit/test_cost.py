"""The cost model against recorded counts, written-out arithmetic and the instantiated model."""

import json
from pathlib import Path

import numpy as np
import pytest

from bhvit import SMALL, TINY, ArchitectureConfig, Cost, InvalidInput, PrecisionPlan, cost_of
from bhvit.bhvit_terms import bhvit_terms
from bhvit.cost import WidthGrid, memory_bytes, ops
from bhvit.precision import PRECISIONS

ROWS = json.loads((Path(__file__).parent / "reference" / "bhvit" / "cost.json").read_text())
BINARY, FP32 = PrecisionPlan.uniform("binary"), PrecisionPlan.uniform("fp32")
DAGGER = BINARY.with_layers("downsample*", "fp16")
MIB = 2**20


def architecture_of(row: dict) -> ArchitectureConfig:
    lists = (row[k] for k in ("hidden", "intermediate", "depths", "heads"))
    return ArchitectureConfig.from_lists(*lists, row["image"], row["window"], row["classes"])


def plan_of(row: dict) -> PrecisionPlan:
    if row["bits"] == 32:
        return FP32
    return DAGGER if row["fp_downsampling"] else BINARY


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r["name"])
def test_recorded_counts_of_the_released_profiler_are_reproduced(row: dict) -> None:
    cost = cost_of(architecture_of(row), plan_of(row)).total
    macs, weights = cost.macs_by_precision, cost.weights_by_precision
    assert macs["fp16"] + macs["fp32"] == row["fp_macs"]
    assert macs["binary"] == row["binary_macs"]
    assert weights["fp16"] + weights["fp32"] == row["fp_weights"]
    assert weights["binary"] == row["binary_weights"]
    assert round(cost.memory_bytes / MIB, 4) == row["memory_mib_reported"]
    assert round(cost.ops / 1e6, 4) == row["ops_millions_reported"]


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r["name"])
def test_elementwise_operations_agree_with_the_released_profiler(row: dict) -> None:
    a, cost = architecture_of(row), cost_of(architecture_of(row), plan_of(row)).total
    outputs = sum(r * r * c for r, c in zip(a.resolutions[1:], a.embed_dims[1:], strict=True))
    # It prices the dagger's downsampling as if it still had its residual (1) and its RPReLU (3).
    left_out = 4 * outputs if row["fp_downsampling"] else 0
    assert cost.elementwise_ops + left_out == row["aux_flops"]


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r["name"])
def test_parameters_differ_from_the_released_profiler_by_what_it_leaves_out(row: dict) -> None:
    a, cost = architecture_of(row), cost_of(architecture_of(row), plan_of(row)).total
    c, depths, heads = a.embed_dims, a.depths, a.num_heads
    left_out = c[0]  # bias of the stem convolution
    for i in range(4):
        scales = (2 if i >= 2 else 1) + 6  # LayerScale shifts: attention output, MLP, six shift branches
        left_out += depths[i] * scales * c[i]
        if i >= 2 and row["bits"] == 1:
            left_out += depths[i] * 2 * heads[i]  # alpha and zero of the attention quantizer
    shift_of_downsampling, rprelu = sum(c[:3]), 3 * sum(c[1:])
    left_out += -rprelu if row["fp_downsampling"] else shift_of_downsampling
    assert cost.parameters - sum(cost.weights) == row["other_fp_params"] + left_out


@pytest.mark.parametrize(
    ("architecture", "plan", "mib", "mops"),
    [
        (TINY, FP32, "48.26", "2548.8"),
        (TINY, BINARY, "1.55", "49.3"),
        (TINY.scaled(2, 2), BINARY, "6.11", "176.8"),
        (TINY.scaled(3, 3), BINARY, "13.68", "382.3"),
        (TINY.scaled(3, 3), DAGGER, "24.75", "1065.1"),
        (TINY.scaled(intermediate=3), BINARY, "3.45", "100.7"),
        (ArchitectureConfig(TINY.scaled(intermediate=3).stages, num_classes=1000), BINARY, "4.39", "101.2"),
    ],
    ids=["FP", "w=1", "w=2", "w=3", "dagger", "intermediate x3, 37 classes", "intermediate x3, 1000 classes"],
)
def test_published_table_rows_are_met_to_the_printed_digit(architecture, plan, mib: str, mops: str) -> None:
    report = cost_of(architecture, plan)
    assert f"{report.weight_bytes / MIB:.2f}" == mib
    assert f"{report.ops / 1e6:.1f}" == mops


def test_with_half_precision_on_both_sides_the_dagger_model_is_over_the_baseline() -> None:
    baseline = cost_of(TINY, PrecisionPlan.uniform("fp16")).weight_bytes / MIB
    assert f"{baseline:.2f}" == "24.13"
    assert cost_of(TINY.scaled(3, 3), DAGGER).weight_bytes / MIB > baseline


def test_element_wise_work_is_part_of_the_complete_operations() -> None:
    complete, reported = (cost_of(TINY.scaled(3, 3), BINARY, a) for a in ("complete", "reported"))
    second_plane = (6 * 4 * 53**2 * 768 + 2 * 1 * 50**2 * 1536) / 64  # of A v', windows of 49 + n tokens
    assert complete.ops == reported.ops + reported.total.elementwise_ops + second_plane
    assert reported.total.elementwise_ops == 514182176


def test_one_hand_computed_layer() -> None:
    a = ArchitectureConfig.from_lists([16, 32, 64, 128], [64, 128, 256, 512], [1] * 4, [1, 1, 2, 4], 96, 3, 6)
    by_address = {row.address: row for row in cost_of(a, PrecisionPlan.uniform("int4")).layers}
    downsample = by_address["downsample1"]
    assert downsample.terms.weights == 2 * 2 * 16 * 32
    assert downsample.macs == 12 * 12 * 2048
    assert downsample.weight_bytes == 2048 / 2
    assert downsample.ops == 12 * 12 * 2048 * 16 / 64
    attention = by_address["stage3.block0.attention"]
    assert attention.macs == (3 * 10 + 9) * 128 * 128 + 2 * 10 * 10 * 128  # 1 window: 9 tokens and 1 summary
    assert by_address["stem"].precision.name == "fp16"
    assert by_address["head"].weight_bytes == 128 * 6 * 2


def test_live_activations_counted_by_hand() -> None:
    """One BHViT at 64 px, windows of one token: maps of 16, 8, 4 and 2 tokens a side; 4 bytes a real value."""
    a = ArchitectureConfig.from_lists([16, 32, 64, 128], [48, 64, 96, 512], [1] * 4, [1, 1, 2, 4], 64, 1)
    for precision, bits in (("binary", 1), ("int4", 4), ("int8", 8), ("fp16", 16), ("fp32", 32)):
        report = cost_of(a, PrecisionPlan.uniform(precision))
        live = {row.address: row.terms.activation_bytes for row in report.layers}
        assert live["stem"] == 4 * (3 * 64 * 64 + 256 * 16)
        assert live["stage0.block0.mixer"] == 4 * (3 * 256 * 16) + 256 * 16 * bits / 8
        assert live["stage0.block0.mlp"] == 4 * (256 * 16 + 256 * 16 + 256 * 48) + 256 * 48 * bits / 8
        assert live["downsample1"] == 4 * (256 * 16 + 64 * 32) + 256 * 16 * bits / 8
        rows = 16 * (1 + 16)  # stage 2: 16 windows of one token, each with the 16 summary tokens
        scores = 16 * 2 * 17 * 17  # windows, heads, queries, keys
        attention = 4 * (16 * 64 + 16 * 64 + 3 * rows * 64 + scores) + rows * 64 * bits / 8
        assert live["head"] == 4 * 4 * 128
        assert report.total.peak_activation_bytes == live["stage2.block0.attention"] == attention


def test_costs_add_and_scale() -> None:
    one = cost_of(TINY, BINARY, "complete").total
    two: Cost = one + one
    assert two == 2 * one == one * 2
    assert two.ops == 2 * one.ops
    assert two.peak_activation_bytes == one.peak_activation_bytes


def test_a_grid_of_widths_is_priced_as_its_members_are() -> None:
    widths = [1, 1.5, 2, 3]
    members = [SMALL.scaled(w, 1 / w) for w in widths]
    grid = WidthGrid(
        SMALL,
        tuple(np.array([m.embed_dims[i] for m in members]) for i in range(4)),
        tuple(np.array([m.intermediate_dims[i] for m in members]) for i in range(4)),
    )
    layers = DAGGER.resolve(SMALL.addresses)
    fp16 = PRECISIONS["fp16"]
    rows = {"stem": fp16, **layers, "head": fp16}
    for accounting in ("reported", "complete"):
        terms = bhvit_terms(grid)
        priced = [(terms(a, p, True), p) for a, p in rows.items()]
        total_memory = sum(memory_bytes(t, p, accounting) for t, p in priced)
        total_ops = sum(ops(t, p, accounting) for t, p in priced)
        for i, member in enumerate(members):
            report = cost_of(member, DAGGER, accounting)
            assert (total_memory[i], total_ops[i]) == (report.memory_bytes, report.ops)


def test_an_unknown_accounting_is_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown accounting 'full'; use one of: complete, reported"):
        cost_of(TINY, BINARY, "full")
