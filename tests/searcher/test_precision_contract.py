"""What every row of `PRECISIONS` must do.

What its quantizers promise is in `tests/bhvit/test_quantizers.py`, their levels in `tests/bhvit/test_model.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bhvit import PRECISIONS, Precision, PrecisionPlan, cost_of
from bhvit.checkpoint import load_weights, round_to_stored_precision, save_weights
from bhvit.export.packed import pack
from bhvit.family_model import FamilyModel
from bhvit.quantizers import QUANTIZERS
from bhvit.runtime import load
from bhvit.runtime.header import LETTERS
from searcher.space import parse_space
from searcher.trial_fields import TrialFields
from searcher.views.console import plain_text
from searcher.views.marks import precision_cell
from searcher.views.precision_map import precision_map
from searcher.views.strip import strip_text
from searcher.warm_start import warm_start
from searcher.where import condition
from tests.searcher.architectures import build, candidate_of, model_of, refused, small_architecture
from tests.searcher.records import record_of
from tests.searcher.test_completion import offered

SIDE = 32
SMALL = small_architecture(image_size=SIDE)
FP32 = PrecisionPlan.uniform("fp32")
of_every_precision = pytest.mark.parametrize("precision", PRECISIONS.values(), ids=str)


def images() -> torch.Tensor:
    return torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def model_in(plan: PrecisionPlan, norm: str = "batch") -> FamilyModel:
    """A small model with the scales of a first batch, as it is stored."""
    torch.manual_seed(0)
    model: FamilyModel = build(SMALL, plan, norm=norm)
    model.train()(images())
    round_to_stored_precision(model.eval())
    return model


@of_every_precision
def test_it_is_found_by_its_name_and_has_quantizers(precision: Precision) -> None:
    assert PRECISIONS[precision.name] is precision
    assert precision.name in QUANTIZERS
    assert precision.name.isidentifier()  # it stands in globs, conditions and folders
    assert 1 <= precision.activation_bits <= precision.weight_bits <= 32


def test_more_bits_never_cost_less() -> None:
    """Of weights and of activations alike, in both accountings; neither do more bits of one of them alone."""
    for accounting in ("reported", "complete"):
        costs = {p: cost_of(SMALL, PrecisionPlan.uniform(p), accounting).total for p in PRECISIONS.values()}
        for less, low in costs.items():
            for more, high in costs.items():
                if less.weight_bits < more.weight_bits:
                    assert low.memory_bytes < high.memory_bytes, (less, more)
                if less.weight_bits <= more.weight_bits and less.activation_bits <= more.activation_bits:
                    assert low.ops <= high.ops, (less, more)


@of_every_precision
def test_every_layer_takes_it_beside_full_precision(precision: Precision) -> None:
    """Warm-started and trained, in every other layer of a network, then in the others."""
    parent = build(SMALL, FP32)
    for some in (SMALL.addresses[::2], SMALL.addresses[1::2]):
        chosen = dict.fromkeys(SMALL.addresses, PRECISIONS["fp32"]) | dict.fromkeys(some, precision)
        model = build(SMALL, PrecisionPlan.of_layers(chosen))
        warm_start(model, parent)
        model.train()(images()).logsumexp(1).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@of_every_precision
@pytest.mark.parametrize("norm", SMALL.norms)
def test_stored_weights_give_the_same_logits(precision: Precision, norm: str, tmp_path: Path) -> None:
    model = model_in(PrecisionPlan.uniform(precision), norm)
    save_weights(model, tmp_path / "w.safetensors")
    torch.manual_seed(1)
    again = build(SMALL, PrecisionPlan.uniform(precision), norm=norm).eval()
    load_weights(again, tmp_path / "w.safetensors")
    with torch.inference_mode():
        assert torch.equal(again(images()), model(images()))


@of_every_precision
def test_it_is_packed_or_refused_in_one_line(precision: Precision, tmp_path: Path) -> None:
    model, path = model_in(PrecisionPlan.uniform(precision)), tmp_path / "m.packed"
    refusal = refused(lambda: pack(model, path))
    assert (refusal is None) == (precision in LETTERS.values())
    if refusal is not None:
        assert precision.name in refusal
        assert "\n" not in refusal
        assert not path.exists()
        return
    with torch.inference_mode():
        expected = model.double()(images().double()).numpy()
    np.testing.assert_allclose(
        load(path, instruction_set="numpy")(images().numpy()), expected, atol=0.02 * np.abs(expected).max()
    )


@of_every_precision
def test_it_is_exported_where_it_has_a_letter(precision: Precision, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from bhvit.export.onnx import export_fp32

    model, path = model_in(PrecisionPlan.uniform(precision)), tmp_path / "m.onnx"
    refusal = refused(lambda: export_fp32(model, path))
    assert (refusal is None) == (precision in LETTERS.values())
    if refusal is not None:
        assert precision.name in refusal
        assert "\n" not in refusal
        return
    session = runtime.InferenceSession(path)
    (logits,) = session.run(None, {session.get_inputs()[0].name: images().numpy()})
    with torch.inference_mode():
        expected = model.double()(images().double()).numpy()
    np.testing.assert_allclose(logits, expected, atol=0.02 * np.abs(expected).max())


def test_all_are_completed_in_the_order_of_the_table() -> None:
    found = offered("searcher cost --precision ")
    assert [name for name in found if name in PRECISIONS] == list(PRECISIONS)


def test_each_has_a_cell_of_its_own() -> None:
    """Two columns of ASCII, and no two precisions look alike: neither in what they say nor in their colours."""
    cells = [precision_cell(precision) for precision in PRECISIONS.values()]
    assert {(cell.cell_len, cell.plain.isascii()) for cell in cells} == {(2, True)}
    assert len({cell.plain for cell in cells}) == len({cell.style for cell in cells}) == len(PRECISIONS)


@of_every_precision
def test_maps_and_strips_say_its_bits(precision: Precision) -> None:
    candidate = candidate_of(SMALL, PrecisionPlan.uniform(precision))
    cell = precision_cell(precision).plain.strip()
    drawn = plain_text(precision_map(candidate, candidate.cost()), width=80)
    assert max(map(len, drawn.splitlines())) <= 80
    assert drawn.split().count(cell) >= len(SMALL.addresses)
    assert set(strip_text(candidate.layers, plain=True).plain.replace("/", "-").split("-")) == {cell}


@of_every_precision
def test_spaces_choose_it_and_conditions_compare_it(precision: Precision) -> None:
    """By its bits: of weights first, then of activations."""
    names = list(PRECISIONS)
    groups = [{"layers": "*", "choices": names}]
    space = parse_space({"model": model_of(SMALL), "precision": {"groups": groups}}, "every")
    records = [record_of(space, space.encode({"*": name})) for name in names]
    assert [{p.name for p in record.candidate.layers.values()} for record in records] == [{name} for name in names]
    fields, bits = TrialFields(space), (precision.weight_bits, precision.activation_bits)
    for comparison, holds in (("==", bits.__eq__), (">=", bits.__le__), ("<", bits.__gt__)):
        met = condition(f"*{comparison}{precision.name}", fields)
        found = [name for name, record in zip(names, records, strict=True) if met(record)]
        assert found == [p.name for p in PRECISIONS.values() if holds((p.weight_bits, p.activation_bits))], comparison
