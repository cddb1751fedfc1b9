"""The warm start covers the whole model, says what it leaves out, and refuses anything else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bhvit import PRECISIONS, InvalidInput, PrecisionPlan
from bhvit.family_model import FamilyModel
from bhvit.staged import Architecture
from searcher.warm_start import warm_start
from tests.searcher.architectures import build, thin_architecture

SMALL = thin_architecture((8, 16, 16, 32), (16, 16, 16, 32))
FP32 = PrecisionPlan.uniform("fp32")
BINARY = PrecisionPlan.uniform("binary")


def different_everywhere(model: nn.Module) -> nn.Module:
    """Every float of the model scaled and moved, so that what was copied can be told from what was not."""
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.mul_(1.5).add_(0.01 + 0.01 * torch.rand_like(value))
    return model


def parent(architecture: Architecture = SMALL, norm: str = "batch") -> FamilyModel:
    model = build(architecture, FP32, norm=norm)
    different_everywhere(model)
    return model


@pytest.mark.parametrize("precision", sorted(PRECISIONS))
def test_everything_but_quantizers_comes_from_the_parent(precision: str) -> None:
    source, model = parent(), build(SMALL, PrecisionPlan.uniform(precision))
    report = warm_start(model, source)
    assert set(report.loaded) == set(source.state_dict()) - set(report.declared_dropped)
    assert set(report.loaded) | set(report.declared_new) == set(model.state_dict())
    for name in report.loaded:
        assert torch.equal(model.state_dict()[name], source.state_dict()[name])


def test_binary_candidate_has_new_parameters_in_its_attention_products_alone() -> None:
    report = warm_start(build(SMALL, BINARY), parent())
    assert {name.rpartition(".")[2] for name in report.declared_new} == {"alpha", "zero_point", "done"}
    assert len(report.declared_new) == 2 * 3  # two attention blocks
    assert report.declared_dropped == ()


def test_plain_downsampling_drops_the_parents_residual_path() -> None:
    model = build(SMALL, BINARY.with_layers("downsample2", "fp16"))
    report = warm_start(model, parent())
    assert {name.removeprefix("downsamples.1.").split(".")[0] for name in report.declared_dropped} == {"rprelu", "conv"}
    assert "downsamples.1.conv.shift" in report.declared_dropped
    assert "downsamples.1.conv.weight" in report.loaded


def test_full_precision_candidate_is_the_parent_itself() -> None:
    source, model = parent(), build(SMALL, FP32)
    warm_start(model, source)
    images = torch.rand(2, 3, 96, 96)
    assert torch.equal(model.eval()(images), source.eval()(images))


def test_parent_of_another_width_is_refused_and_nothing_is_copied() -> None:
    model = build(SMALL, BINARY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(
        InvalidInput, match=r"must cover the whole model, but \d+ mismatched \(stem\.\S+, .* and \d+ more"
    ):
        warm_start(model, parent(SMALL.scaled(hidden=2)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_parent_of_another_norm_is_refused() -> None:
    with pytest.raises(InvalidInput, match="missing in the parent"):
        warm_start(build(SMALL, BINARY, norm="batch"), parent(norm="layer"))


def test_parameter_that_is_not_a_quantizers_is_not_taken_for_declared() -> None:
    model = build(SMALL, BINARY)
    model.head.register_parameter("temperature", nn.Parameter(torch.ones(())))
    with pytest.raises(InvalidInput, match=r"1 missing in the parent \(head\.temperature\)"):
        warm_start(model, parent())


def test_parameter_that_only_the_parent_has_is_refused() -> None:
    source = parent()
    source.head.register_parameter("temperature", nn.Parameter(torch.ones(())))
    with pytest.raises(InvalidInput, match=r"1 unexpected in the parent \(head\.temperature\)"):
        warm_start(build(SMALL, BINARY), source)
