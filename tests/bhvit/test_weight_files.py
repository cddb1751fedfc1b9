"""Weights in and out where something is wrong, or has changed since the model was built."""

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
from bhvit.model import build_model
from tests.bhvit.small import SMALLEST, images, small_model


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
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_a_long_list_of_differences_is_cut_and_counted():
    with pytest.raises(InvalidInput, match=r"there are \d+ differences: .*; and \d+ more\. Build the model with"):
        load_reference_state_dict(small_model(), {})


@pytest.mark.parametrize("content", [b"not tensors at all", struct.pack("<Q", 2**60) + b"{}", b"\x80\x04pickle"])
def test_a_file_of_something_else_is_refused_by_name(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="must be a complete safetensors file"):
        load_weights(small_model(), path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidInput, match=r"absent.safetensors must be a complete safetensors file"):
        load_weights(small_model(), tmp_path / "absent.safetensors")


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


def test_a_weight_too_large_for_half_precision_is_refused_before_anything_is_rounded():
    model = small_model("fp16")
    model.weight_layers["stage3.block0.mlp"][1].weight.data[0, 0] = 1e6
    before = model.stem.conv.weight.detach().clone()
    with pytest.raises(InvalidInput, match=r"at most 65504, but stage3.block0.mlp has some up to 1e\+06"):
        round_to_stored_precision(model)
    assert torch.equal(model.stem.conv.weight, before)
