import pytest
import torch

from bhvit import PRECISIONS, ArchitectureConfig, InvalidInput, PrecisionPlan
from bhvit.checkpoint import (
    load_reference_state_dict,
    load_weights,
    reference_state_dict,
    round_to_stored_precision,
    save_weights,
)
from bhvit.model import build_model

ARCHITECTURE = ArchitectureConfig.from_lists([8, 8, 16, 16], [16, 16, 20, 20], [1] * 4, [1, 1, 2, 2], 96, 3, 5)
BINARY = PrecisionPlan.uniform("binary")


def model(plan=BINARY, architecture=ARCHITECTURE, seed=0):
    torch.manual_seed(seed)
    return build_model(architecture, plan)


def same(a, b) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("plan", [BINARY, PrecisionPlan.uniform("fp32"), BINARY.with_layers("downsample*", "fp16")])
def test_released_names_carry_a_model_there_and_back(plan) -> None:
    source, target = model(plan), model(plan, seed=1)
    assert not same(source, target)
    load_reference_state_dict(target, reference_state_dict(source))
    assert same(source, target)


def test_a_state_that_does_not_match_is_refused_with_its_differences_and_changes_nothing() -> None:
    state = reference_state_dict(model(seed=1))
    state.pop("classifier.bias")
    state["classifier.weigth"] = state["classifier.weight"]
    state["vit.layernorm.weight"] = torch.ones(3)
    target, untouched = model(), model()
    with pytest.raises(InvalidInput) as error:
        load_reference_state_dict(target, state)
    message = str(error.value)
    assert "there are 3 differences" in message
    assert "missing classifier.bias" in message
    assert "unexpected classifier.weigth" in message
    assert "vit.layernorm.weight has shape (3,) instead of (16,)" in message
    assert same(target, untouched)


@pytest.mark.parametrize("precision", ["ternary", "int2", "int4", "int8"])
def test_layers_of_several_bits_have_no_released_names(precision: str) -> None:
    plan = PrecisionPlan.uniform("binary").with_layers("stage1.block0.mixer", precision)
    message = f"released names exist for binary, fp16 and fp32 layers only, but stage1.block0.mixer is {precision}"
    with pytest.raises(InvalidInput, match=message):
        reference_state_dict(model(plan))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_our_files_carry_a_model_there_and_back(precision: str, tmp_path) -> None:
    plan = PrecisionPlan.uniform(precision)
    source, target = model(plan), model(plan, seed=1)
    save_weights(source, tmp_path / "w.safetensors", {"epoch": "3"})
    assert load_weights(target, tmp_path / "w.safetensors") == {"epoch": "3"}
    assert same(source, target)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused_by_name(share: float, tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(model(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    target, untouched = model(seed=1), model(seed=1)
    with pytest.raises(InvalidInput, match=r"w\.safetensors must be a complete safetensors file"):
        load_weights(target, path)
    assert same(target, untouched)


def test_weights_of_another_width_are_refused(tmp_path) -> None:
    save_weights(model(architecture=ARCHITECTURE.scaled(hidden=2)), tmp_path / "w.safetensors")
    with pytest.raises(InvalidInput, match=r"has shape .* instead of"):
        load_weights(model(), tmp_path / "w.safetensors")


def test_a_missing_file_is_refused_by_name(tmp_path) -> None:
    with pytest.raises(InvalidInput, match=r"gone\.safetensors must be"):
        load_weights(model(), tmp_path / "gone.safetensors")


def test_only_what_is_stored_in_half_is_rounded_to_half() -> None:
    mixed = model(BINARY.with_layers("downsample2", "fp16").with_layers("downsample3", "fp32"))
    before = {k: v.clone() for k, v in mixed.state_dict().items()}
    round_to_stored_precision(mixed)
    changed = {k for k, v in mixed.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"stem.conv.weight", "downsamples.1.conv.weight", "head.linear.weight"}
    rounded = [layer.weight for layer in mixed.weight_layers["downsample2"]]
    assert all(torch.equal(w, w.half().float()) for w in rounded)


def test_a_full_precision_model_is_not_rounded() -> None:
    full, untouched = model(PrecisionPlan.uniform("fp32")), model(PrecisionPlan.uniform("fp32"))
    round_to_stored_precision(full)
    assert same(full, untouched)


def test_a_weight_beyond_half_precision_is_refused() -> None:
    large = model()
    with torch.no_grad():
        large.head.linear.weight[0, 0] = 1e6
    with pytest.raises(InvalidInput, match=r"at most 65504, but head has some up to 1e\+06"):
        round_to_stored_precision(large)
