"""ONNX files of models of every precision compute in ONNX Runtime what PyTorch computes."""

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bhvit import ArchitectureConfig, PrecisionPlan
from bhvit.errors import InvalidInput
from bhvit.export.onnx import export_fp32, export_int8_weights, export_qdq
from bhvit.export.onnx_check import onnx_logits, reference
from bhvit.model import BHViT, build_model, weight_layers
from bhvit.precision import PRECISIONS
from tests.bhvit.small import SMALLEST, images, small_model

ODD = ArchitectureConfig.from_lists(
    embed_dims=(12, 20, 24, 40),
    intermediate_dims=(18, 50, 33, 90),
    depths=(1, 2, 1, 1),
    num_heads=(1, 1, 2, 4),
    image_size=96,
    window_size=3,
    num_classes=7,
)
MIXED = (
    PrecisionPlan.uniform("binary")
    .with_layers("downsample*", "fp16")
    .with_layers("*.mixer", "int4")
    .with_layers("stage2.*", "int8")
    .with_layers("stage3.*attention", "fp32")
)


def trained(plan: PrecisionPlan | str, architecture: ArchitectureConfig = ODD, **options) -> BHViT:
    """A model in which no parameter has its initial value, and whose quantizers and norms have seen batches."""
    plan = PrecisionPlan.uniform(plan) if isinstance(plan, str) else plan
    torch.manual_seed(0)
    model = build_model(architecture, plan, **options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[2] not in ("weight", "step", "alpha") or "shifts" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
        for _ in range(2):
            model.train()(images(architecture, 4))
    return model.eval()


def deviation(path: Path, model: BHViT, count: int = 3) -> float:
    """The largest difference between a file's logits and those of the model in float64."""
    pixels = images(model.architecture, count)
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(pixels.double()).numpy()
    return float(np.abs(onnx_logits(path, pixels) - expected).max())


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_and_norm_gives_the_logits_of_pytorch(precision, norm, tmp_path) -> None:
    model = trained(precision, norm=norm)
    export_fp32(model, tmp_path / "m.onnx")
    from bhvit.checkpoint import round_to_stored_precision

    round_to_stored_precision(model)
    assert deviation(tmp_path / "m.onnx", model) < 2e-5
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)


@pytest.mark.parametrize("form", ["auto", "residual", "plain"])
@pytest.mark.parametrize("shifts", [(3, 5), (3,), ()])
def test_mixed_plans_in_all_forms_give_the_logits_of_pytorch(form, shifts, tmp_path) -> None:
    model = trained(MIXED, dataclasses.replace(ODD, downsample_form=form, shifts=shifts))
    for layer in weight_layers(model)["downsample1"]:
        layer.weight.data = layer.weight.data.half().float()
    from bhvit.checkpoint import round_to_stored_precision

    round_to_stored_precision(model)
    export_fp32(model, tmp_path / "m.onnx")
    assert deviation(tmp_path / "m.onnx", model) < 2e-5
