"""Packed files against the torch models that they were made of."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bhvit import PRECISIONS, ArchitectureConfig, InvalidInput, PrecisionPlan
from bhvit.export.onnx import export_fp32
from bhvit.export.packed import pack
from bhvit.families import FAMILIES, family_of
from bhvit.layers import ResidualLinear
from bhvit.layers.norm import TokenBatchNorm
from bhvit.pyramid import Pyramid
from bhvit.runtime import load
from bhvit.runtime.packed_file import PackedModel, read
from tests.bhvit.runtime.networks import FAMILIES as PACKED
from tests.bhvit.small import SMALLEST_OF, images, small_model
from tests.bhvit.test_cost_against_model import drawn

MODELS = [
    (f"{family}-{p}-{norm}", family, p, norm)
    for family in PACKED
    for p in [*PRECISIONS, "mixed"]
    for norm in ("batch", "layer")
]


def as_if_trained(model: Pyramid) -> Pyramid:
    """Quantizers set by a batch, and everything else away from where it started."""
    draw = torch.Generator().manual_seed(2)
    model.train()(images(model.architecture))
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            kind = name.rpartition(".")[2]
            if kind == "running_var":
                value.uniform_(0.1, 3, generator=draw)
            elif kind in ("step", "alpha"):
                value.mul_(-1 if ".activation." in name else 1)  # an update may carry a step below zero
            elif value.is_floating_point():
                value.add_(0.1 * torch.randn(value.shape, generator=draw))
    return model.eval()


@pytest.fixture(params=MODELS, ids=[name for name, *_ in MODELS])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Pyramid, PackedModel]:
    _, family, precision, norm = request.param
    architecture = SMALLEST_OF[family]
    plan = PrecisionPlan.uniform("binary")
    if precision == "mixed":
        for i, address in enumerate(architecture.addresses):
            plan = plan.with_layers(address, list(PRECISIONS)[i % len(PRECISIONS)])
    else:
        plan = PrecisionPlan.uniform(precision)
    torch.manual_seed(0)
    model = as_if_trained(family_of(architecture).build_model(architecture, plan, norm=norm))
    pack(model, tmp_path / "m.bhvit", ["a", "b", "c", "d", "e"], crop_pct=1.0)
    return model, read(tmp_path / "m.bhvit")


def factors(model: Pyramid, file: PackedModel, layer: str) -> np.ndarray:
    """What the columns of a quantized layer are multiplied by, told from the file alone."""
    if f"{layer}.scale" in file.tensors:
        return file.natural(f"{layer}.scale").astype(np.float64)
    name = f"{layer.rpartition('.')[0]}.norm"
    norm = model.get_submodule(name)
    assert isinstance(norm, TokenBatchNorm)
    deviation = (norm.running_var.double() + norm.eps).sqrt()
    return file.natural(f"{name}.scale") * (deviation / norm.weight.double()).detach().numpy()


def test_weights_times_scales_are_the_quantized_weights(packed: tuple[Pyramid, PackedModel]) -> None:
    model, file = packed
    names = {id(module): name for name, module in model.named_modules()}
    stored = {name.removesuffix(".weight") for name, t in file.schema.items() if t.is_weight}
    assert stored == {names[id(layer)] for layers in model.weight_layers.values() for layer in layers}
    for layers in model.weight_layers.values():
        for layer in layers:
            name = names[id(layer)]
            groups, columns, taps, channels = file.schema[f"{name}.weight"].shape
            natural = file.natural(f"{name}.weight").reshape(groups * columns, taps, channels)
            back = torch.from_numpy(natural.swapaxes(1, 2).copy()).reshape(layer.weight.shape)
            if isinstance(layer, nn.Conv2d | nn.Linear) or layer.precision.real_valued:
                expected = layer.weight.half() if back.dtype == torch.float16 else layer.weight
                assert torch.equal(back, expected)
                continue
            quantized = layer.quantized_weight()
            step = abs(layer.activation.step.item()) if hasattr(layer.activation, "step") else 1
            found = factors(model, file, name) / step
            scale = quantized.flatten(1).abs().amax(1) / back.flatten(1).abs().amax(1)
            np.testing.assert_allclose(found, scale.detach(), rtol=1e-6)
            exact = layer.weight_quantizer.parts(layer.weight)[1]  # in torch's own arithmetic
            assert torch.equal(back * exact.view(-1, *[1] * (back.dim() - 1)), quantized)


def test_folded_norms_give_what_norms_give(packed: tuple[Pyramid, PackedModel]) -> None:
    model, file = packed
    checked = 0
    for name, module in model.named_modules():
        if not isinstance(module, TokenBatchNorm | nn.LayerNorm):
            continue
        scale, shift = (torch.from_numpy(file.natural(f"{name}.{part}").copy()) for part in ("scale", "shift"))
        if isinstance(module, nn.LayerNorm):
            assert torch.equal(scale, module.weight)
            assert torch.equal(shift, module.bias)
            continue
        x = torch.randn(7, len(scale), dtype=torch.float64)
        expected = module.double()(x)
        parent = model.get_submodule(name.rpartition(".")[0])
        layer = {ResidualLinear: "linear"}.get(type(parent), "conv")
        quantized = getattr(parent, layer, None) if name.endswith(".norm") else None
        if quantized is not None and hasattr(quantized, "precision") and not quantized.precision.real_valued:
            weight = quantized.quantized_weight().double().flatten(1).abs().amax(1)
            largest = {1: 1, 2: 1, 4: 7, 8: 127}[quantized.precision.weight_bits]
            step = abs(quantized.activation.step.item()) if hasattr(quantized.activation, "step") else 1
            x = x / (weight / largest * step)  # the accumulators of that product
        torch.testing.assert_close(x * scale + shift, expected, rtol=1e-6, atol=1e-6)
        checked += 1
    assert checked or model.norm == "layer"


def test_everything_else_is_stored_as_it_is(packed: tuple[Pyramid, PackedModel]) -> None:
    model, file = packed
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    norms = {name for name, module in model.named_modules() if isinstance(module, TokenBatchNorm | nn.LayerNorm)}
    others = [t.name for t in file.schema.values() if not t.is_weight and t.name.rpartition(".")[0] not in norms]
    assert len(others) > 100
    for name in others:
        if name in state:
            expected = np.abs(state[name]) if name.endswith(".step") else state[name]
            np.testing.assert_array_equal(file.natural(name), expected)
        else:
            assert name.endswith(".scale")
    assert file.header.classes == ("a", "b", "c", "d", "e")
    assert file.header.crop_pct == 1


@pytest.mark.parametrize("family", PACKED)
@pytest.mark.parametrize("seed", range(8))
def test_any_architecture_and_plan_can_be_packed(seed: int, family: str, tmp_path: Path) -> None:
    architecture, plan, norm = drawn(FAMILIES[family], seed)
    torch.manual_seed(seed)
    model = as_if_trained(FAMILIES[family].build_model(architecture, plan, norm=norm))
    header = pack(model, tmp_path / "m.bhvit")
    assert read(tmp_path / "m.bhvit").header == header
    assert dict(header.layers) == model.layers


def test_sign_of_zero_is_positive(tmp_path: Path) -> None:
    model = as_if_trained(small_model())
    with torch.no_grad():
        model.stages[0][0].mlp.expand.linear.weight.zero_()
    pack(model, tmp_path / "m.bhvit")
    file = read(tmp_path / "m.bhvit")
    assert (file.natural("stages.0.0.mlp.expand.linear.weight") == 1).all()
    assert (file.natural("stages.0.0.mlp.expand.norm.scale") == 0).all()


@pytest.mark.parametrize("step", [0.25, -0.25, 0.0, 1e-12])
def test_the_level_of_one_bit_probabilities_is_stored_as_it_acts(step: float, tmp_path: Path) -> None:
    model = as_if_trained(small_model(architecture=SMALLEST_OF["binaryvit"]))
    model.stages[2][0].mixer.probability.step.data.fill_(step)
    pack(model, tmp_path / "m.bhvit")
    stored = read(tmp_path / "m.bhvit").natural("stages.2.0.mixer.probability.step")
    assert stored == np.float32(max(abs(step), 1e-8))
    runnable, pictures = load(tmp_path / "m.bhvit", instruction_set="numpy"), images(SMALLEST_OF["binaryvit"])
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(runnable(pictures.numpy())), model(pictures), atol=1e-3, rtol=1e-3)


def test_kernels_that_are_not_centred_are_stored_by_their_own_sign(tmp_path: Path) -> None:
    model = as_if_trained(small_model(architecture=SMALLEST_OF["binaryvit"]))
    weight = model.downsamples[0].conv.weight
    weight.data.abs_()
    pack(model, tmp_path / "m.bhvit")
    assert (read(tmp_path / "m.bhvit").natural("downsamples.0.conv.weight") == 1).all()


def test_untrained_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="a model must be trained before it is exported"):
        pack(small_model("int8"), tmp_path / "m.bhvit")
    assert not list(tmp_path.iterdir())


def test_a_family_that_the_runtime_does_not_run_is_refused_in_one_line(tmp_path: Path) -> None:
    class Other(ArchitectureConfig):
        title = "ResNet"

    model = small_model()
    model.architecture = Other(**vars(model.architecture))
    message = "models of BHViT and BinaryViT can be exported, but this one is a ResNet."
    for export in (pack, export_fp32):
        with pytest.raises(InvalidInput, match=f"^{re.escape(message)}$"):
            export(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_weights_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    model = as_if_trained(small_model())
    with torch.no_grad():
        model.stem.conv.weight[0, 0, 0, 0] = 1e5
    with pytest.raises(InvalidInput, match=r"every value of stem\.conv\.weight must be finite as f16"):
        pack(model, tmp_path / "m.bhvit")
