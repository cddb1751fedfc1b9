import json
import struct

import pytest
import torch

import bhvit.checkpoint
from bhvit import InvalidInput, PrecisionPlan
from bhvit.checkpoint import (
    load_reference_state_dict,
    load_weights,
    reference_state_dict,
    round_to_stored_precision,
    save_weights,
)
from bhvit.model import build_model, weight_layers
from tests.bhvit.recorded import REFERENCE, model_of
from tests.bhvit.small import SMALLEST, images, small_model

SHAPES_RECORDED = ("binary", "binary_fp_downsampling", "fp32")


@pytest.mark.parametrize("variant", SHAPES_RECORDED)
def test_released_names_and_shapes_are_exactly_those_of_the_released_code(variant):
    expected = {name: tuple(shape) for name, shape in json.loads((REFERENCE / f"{variant}.keys.json").read_text()).items()}
    assert {name: tuple(t.shape) for name, t in reference_state_dict(model_of(variant)).items()} == expected


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("precision", ["binary", "fp32"])
def test_a_released_state_dict_carries_the_whole_model(precision, norm):
    source = small_model(precision, norm=norm)
    source(images())  # statistics and quantizer scales leave their initial values
    torch.manual_seed(5)
    target = build_model(SMALLEST, PrecisionPlan.uniform(precision), norm=norm)
    assert not torch.equal(source.eval()(images()), target.eval()(images()))
    load_reference_state_dict(target, reference_state_dict(source))
    assert torch.equal(source.eval()(images()), target.eval()(images()))
    assert all(torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True))


def test_a_released_state_dict_that_differs_is_refused_with_all_differences_and_changes_nothing():
    model = small_model()
    state = {name: value + 1 for name, value in reference_state_dict(model).items()}
    del state["classifier.bias"]
    state["classifier.scale"] = torch.ones(1)
    state["classifier.weight"] = torch.zeros(9, 16)
    before = model.head.linear.weight.clone()
    with pytest.raises(InvalidInput) as error:
        load_reference_state_dict(model, state)
    text = str(error.value)
    assert "there are 3 differences: missing classifier.bias; unexpected classifier.scale; classifier.weight has shape "
    assert "(9, 16) instead of (5, 16)" in text
    assert "missing classifier.bias; unexpected classifier.scale" in text
    assert "\n" not in text
    assert torch.equal(model.head.linear.weight, before)


def test_a_long_list_of_differences_is_cut_and_counted():
    with pytest.raises(InvalidInput, match=r"there are \d+ differences: .*; and \d+ more\. Build the model with"):
        load_reference_state_dict(small_model(), {})


def test_integer_layers_have_no_released_names():
    with pytest.raises(InvalidInput, match="binary, fp16 and fp32 layers only, but .*step .*use bhvit.checkpoint.save"):
        reference_state_dict(small_model("int8"))


@pytest.mark.parametrize("precision", ["binary", "int4", "fp16"])
def test_saved_weights_and_metadata_come_back(tmp_path, precision):
    source, path = small_model(precision), tmp_path / "deep" / "weights.safetensors"
    source(images())
    save_weights(source, path, {"candidate": "1f3a", "epoch": "7"})
    torch.manual_seed(5)
    target = build_model(SMALLEST, PrecisionPlan.uniform(precision))
    assert load_weights(target, path) == {"candidate": "1f3a", "epoch": "7"}
    assert torch.equal(source.eval()(images()), target.eval()(images()))
    assert [p.name for p in path.parent.iterdir()] == ["weights.safetensors"]


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_file_is_refused_by_name(tmp_path, keep):
    model, path = small_model(), tmp_path / "weights.safetensors"
    save_weights(model, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidInput, match=r"weights.safetensors must be a complete safetensors file, but .*restore it"):
        load_weights(model, path)


@pytest.mark.parametrize("content", [b"not tensors at all", struct.pack("<Q", 2**60) + b"{}", b"\x80\x04pickle"])
def test_a_file_of_something_else_is_refused_by_name(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="must be a complete safetensors file"):
        load_weights(small_model(), path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidInput, match=r"absent.safetensors must be a complete safetensors file"):
        load_weights(small_model(), tmp_path / "absent.safetensors")


def test_weights_of_another_width_are_refused_and_change_nothing(tmp_path):
    path, model = tmp_path / "wide.safetensors", small_model()
    save_weights(small_model(architecture=SMALLEST.scaled(2)), path)
    before = model.head.linear.weight.clone()
    with pytest.raises(InvalidInput, match=r"wide.safetensors must hold exactly .* has shape .* instead of"):
        load_weights(model, path)
    assert torch.equal(model.head.linear.weight, before)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path, model = tmp_path / "weights.safetensors", small_model()
    save_weights(model, path)
    before = path.read_bytes()

    def disk_full(tensors, target, metadata):
        target.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(bhvit.checkpoint, "save_file", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(model, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_only_weights_stored_in_half_precision_are_rounded():
    plan = PrecisionPlan.uniform("binary").with_layers("downsample1", "fp16").with_layers("downsample2", "fp32")
    model = build_model(SMALLEST, plan)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    round_to_stored_precision(model)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"stem.conv.weight", "downsamples.0.conv.weight", "head.linear.weight"}
    for name in changed:
        assert torch.equal(dict(model.named_parameters())[name], before[name].half().float())


@pytest.mark.parametrize(("precision", "rounds"), [("fp32", False), ("fp16", True), ("int8", True)])
def test_stem_and_head_follow_the_real_width_of_the_plan(precision, rounds):
    model = small_model(precision)
    before = model.head.linear.weight.detach().clone()
    round_to_stored_precision(model)
    assert torch.equal(model.head.linear.weight, before) is not rounds


def test_a_weight_too_large_for_half_precision_is_refused_before_anything_is_rounded():
    model = small_model("fp16")
    weight_layers(model)["stage3.block0.mlp"][1].weight.data[0, 0] = 1e6
    before = model.stem.conv.weight.detach().clone()
    with pytest.raises(InvalidInput, match=r"at most 65504, but stage3.block0.mlp has some up to 1e\+06"):
        round_to_stored_precision(model)
    assert torch.equal(model.stem.conv.weight, before)
