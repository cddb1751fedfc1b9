"""The cost of a BinaryViT against the counts taken from the released implementation's instantiated models."""

import json

import pytest

from bhvit import PrecisionPlan, cost_of
from bhvit.binaryvit.architecture import SMALL
from tests.bhvit.recorded import RECORDINGS, REFERENCE

RECORDING = next(recording for recording in RECORDINGS if recording.folder == "binaryvit")
ROWS = json.loads((REFERENCE / "binaryvit" / "cost.json").read_text())


@pytest.mark.parametrize("name", ROWS)
def test_recorded_counts_are_reproduced(name: str) -> None:
    row, v = ROWS[name], RECORDING.variants[name]
    plan = PrecisionPlan.uniform("binary" if v["wbits"] == 1 else "fp32")
    plan = plan.with_layers("downsample*", "fp16") if v["some_fp"] else plan
    cost = cost_of(RECORDING.architecture(v), plan).total
    macs, weights = cost.macs_by_precision, cost.weights_by_precision
    assert macs["binary"] == row["binary_macs"]
    assert macs["fp16"] + macs["fp32"] == row["fp_macs"]
    assert weights["binary"] == row["binary_weights"]
    assert weights["fp16"] + weights["fp32"] == row["fp_weights"]
    assert (cost.parameters, cost.ops, cost.memory_bytes) == (row["params"], row["ops"], row["memory_bytes"])


def test_attention_products_are_those_that_were_recorded() -> None:
    row, layers = ROWS["small_binary"], cost_of(SMALL, PrecisionPlan.uniform("binary")).layers
    assert sum(layer.terms.score_macs for layer in layers) == row["attn_qk"]
    assert sum(layer.terms.context_macs for layer in layers) == row["attn_av"]


def test_complete_operations_price_one_plane_of_probabilities() -> None:
    plan = PrecisionPlan.uniform("binary")
    complete, reported = (cost_of(SMALL, plan, accounting).total for accounting in ("complete", "reported"))
    assert complete.ops - complete.elementwise_ops == reported.ops


@pytest.mark.parametrize(("precision", "bits"), [("binary", 1), ("int8", 8), ("fp32", 32)])
def test_live_activations_counted_by_hand(precision: str, bits: int) -> None:
    """At 64 px, maps of 16, 8, 4 and 2 tokens a side; 4 bytes a real value."""
    layers = cost_of(SMALL.with_options(image_size=64), PrecisionPlan.uniform(precision)).layers
    live = {row.address: row.terms.activation_bytes for row in layers}
    # Input, queries, output; keys and values of the 2 x 2 patches of 8 x 8 tokens; scores of one head.
    averaged = 4 * (3 * 256 * 64 + 2 * 4 * 64 + 256 * 4) + 256 * 64 * bits / 8
    assert live["stage0.block0.attention"] == averaged
    # Input, queries, keys, values, output; scores of four heads.
    assert live["stage2.block0.attention"] == 4 * (5 * 16 * 256 + 4 * 16 * 16) + 16 * 256 * bits / 8
    assert live["stage2.block0.mlp"] == 4 * 16 * (256 + 256 + 1024) + 16 * 1024 * bits / 8
    assert live["downsample2"] == 4 * (64 * 128 + 16 * 256) + 64 * 128 * bits / 8


@pytest.mark.parametrize(("precision", "mac"), [("binary", 1 / 64), ("int8", 1)])
def test_one_block_counted_by_hand(precision: str, mac: float) -> None:
    """At 64 px, maps of 16, 8, 4 and 2 tokens a side; all MACs of a layer cost the same, so do its two products."""
    layers = cost_of(SMALL.with_options(image_size=64), PrecisionPlan.uniform(precision), "complete").layers
    rows = {row.address: row for row in layers}
    norm, addition, rprelu, scale = 8, 1, 3, 1
    linear, softmax = norm + addition + rprelu, 4 + 1  # of an output, its residual added; of a score, scaled

    tokens, keys, c = 256, 4, 64  # stage 0: averages of 8 x 8 tokens become keys and values; one head
    averaged = rows["stage0.block0.attention"]
    projections = tokens * c * linear + keys * c * (1 + 1 + 1) * linear  # queries; reduction, keys, values
    context = tokens * c * (norm + 3 * addition + rprelu)  # queries, keys and values are its residuals
    output = tokens * c * (linear + scale + addition)
    assert averaged.ops == averaged.macs * mac + (
        tokens * c * (norm + 1)  # before it, and each token is averaged once
        + projections
        + tokens * keys * softmax
        + context
        + output
    )

    tokens, c, heads = 16, 256, 4  # stage 2: every token is a key
    attention = rows["stage2.block0.attention"]
    projections, context = 3 * tokens * c * linear, tokens * c * (norm + 3 * addition + rprelu)
    output = tokens * c * (linear + scale + addition)
    assert attention.ops == attention.macs * mac + (
        tokens * c * norm + projections + heads * tokens * tokens * softmax + context + output
    )

    i, mlp = 1024, rows["stage2.block0.mlp"]
    expand, project = tokens * i * linear, tokens * (c * linear + i)  # channels are averaged for the second residual
    pools = 2 * 2 * tokens * c * (1 + addition)  # two sizes along height and width
    assert mlp.ops == mlp.macs * mac + (tokens * c * norm + expand + project + tokens * c * (scale + addition) + pools)
