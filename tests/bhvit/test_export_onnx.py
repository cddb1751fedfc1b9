"""ONNX files of models of every precision compute in ONNX Runtime what PyTorch computes."""

import copy
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from bhvit import ArchitectureConfig, PrecisionPlan
from bhvit.binaryvit.architecture import BinaryViTConfig
from bhvit.checkpoint import round_to_stored_precision
from bhvit.errors import InvalidInput
from bhvit.export import onnx as export
from bhvit.export.onnx import export_fp32, export_int8_weights, export_qdq
from bhvit.export.onnx_check import Reference, onnx_logits, reference
from bhvit.export.onnx_layers import Layers, Value
from bhvit.export.onnx_nodes import Nodes, float_info
from bhvit.families import family_of
from bhvit.precision import PRECISIONS
from bhvit.pyramid import Pyramid
from bhvit.quantizers.binary import Sign
from bhvit.quantizers.learned_step import LearnedStep
from bhvit.staged import PyramidArchitecture
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
ODD_OF = {
    "bhvit": ODD,
    "binaryvit": BinaryViTConfig.from_lists(
        embed_dims=(12, 20, 24, 39),
        intermediate_dims=(18, 50, 33, 90),
        depths=(1, 2, 1, 1),
        num_heads=(1, 2, 2, 3),
        image_size=96,
        num_classes=7,
        reductions=(6, 4, 1, 1),
    ),
}
FAMILIES = tuple(ODD_OF)
MIXED = (
    PrecisionPlan.uniform("binary")
    .with_layers("downsample*", "fp16")
    .with_layers("stage1.*", "int4")
    .with_layers("stage2.*", "int8")
    .with_layers("stage3.*attention", "fp32")
)
ROUNDING = 5e-6


def trained(plan: PrecisionPlan | str, architecture: PyramidArchitecture = ODD, **options) -> Pyramid:
    """A model none of whose parameters has its initial value, and whose quantizers and norms have seen batches.

    Norms have negative weights among others, RPReLUs have slopes above 1 and below 0.
    """
    plan = PrecisionPlan.uniform(plan) if isinstance(plan, str) else plan
    torch.manual_seed(0)
    model = family_of(architecture).build_model(architecture, plan, **options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            kind = name.rpartition(".")[2]
            if kind == "weight" and parameter.dim() == 1:
                parameter.uniform_(-1.5, 1.5)
            elif kind not in ("weight", "step", "alpha") or "shifts" in name:
                parameter.add_((0.6 if kind == "slope" else 0.2) * torch.randn_like(parameter))
        for module in model.train().modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0  # statistics of the last batch, so that images differ in the logits
        for _ in range(2):
            model(pictures(architecture, 8))
    round_to_stored_precision(model)
    return model.eval()


def pictures(architecture: PyramidArchitecture, batch: int) -> torch.Tensor:
    """Images of noise that differ in colour, too."""
    colours = torch.randn(batch, 3, 1, 1, generator=torch.Generator().manual_seed(2))
    return images(architecture, batch) + 1.5 * colours


def deviation(path: Path, model: Pyramid, count: int = 7) -> float:
    """How far a file's logits are from those of the model in float64: the largest difference, in the median image.

    In single images rounding may turn a sign (`bhvit.export.onnx_check`).
    """
    pixels = pictures(model.architecture, count)
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(pixels.double()).numpy()
    return float(np.median(np.abs(onnx_logits(path, pixels) - expected).max(1)))


@pytest.fixture(scope="module")
def binary() -> Pyramid:
    return trained("binary")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_and_norm_gives_the_logits_of_pytorch(precision, norm, family, tmp_path) -> None:
    model = trained(precision, ODD_OF[family], norm=norm)
    export_fp32(model, tmp_path / "m.onnx")
    assert deviation(tmp_path / "m.onnx", model) < ROUNDING
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)


@pytest.mark.parametrize("form", ["auto", "residual", "plain"])
@pytest.mark.parametrize("shifts", [(3, 5), (3,), ()])
def test_mixed_plans_in_all_forms_give_the_logits_of_pytorch(form, shifts, tmp_path) -> None:
    model = trained(MIXED, dataclasses.replace(ODD, downsample_form=form, shifts=shifts))
    export_fp32(model, tmp_path / "m.onnx")
    assert deviation(tmp_path / "m.onnx", model) < ROUNDING


@pytest.mark.parametrize("layer_scale", [True, False])
@pytest.mark.parametrize("pools", [(3, 5), (3,), ()])
def test_binaryvits_without_some_of_their_parts_give_the_logits_of_pytorch(pools, layer_scale, tmp_path) -> None:
    model = trained(MIXED, dataclasses.replace(ODD_OF["binaryvit"], pools=pools, layer_scale=layer_scale))
    export_fp32(model, tmp_path / "m.onnx")
    assert deviation(tmp_path / "m.onnx", model) < ROUNDING


def test_windows_of_one_token_and_maps_smaller_than_the_shifts_are_right(tmp_path) -> None:
    model = trained("int8", dataclasses.replace(SMALLEST, image_size=32))  # maps of side 8, 4, 2 and 1
    export_fp32(model, tmp_path / "m.onnx")
    assert deviation(tmp_path / "m.onnx", model) < ROUNDING


def test_the_batch_is_dynamic_and_its_images_do_not_mix(binary, tmp_path) -> None:
    export_fp32(binary, tmp_path / "m.onnx")
    pixels = pictures(ODD, 5)
    together = onnx_logits(tmp_path / "m.onnx", pixels)
    alone = np.concatenate([onnx_logits(tmp_path / "m.onnx", pixels[i : i + 1]) for i in range(5)])
    assert np.median(np.abs(together - alone).max(1)) < ROUNDING


def test_the_graph_has_no_node_of_training_and_the_names_of_the_interface(binary, tmp_path) -> None:
    export_fp32(binary, tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert not {"Dropout", "Identity", "BatchNormalization", "Cast", "PRelu", "Sign", "If"} & {
        node.op_type for node in graph.node
    }
    (image,), (logits,) = graph.input, graph.output
    assert [image.name, logits.name] == ["images", "logits"]
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == ["batch", 3, 96, 96]
    used = {name for node in graph.node for name in (*node.input, *node.output)}
    assert {constant.name for constant in graph.initializer} <= used
    read = {name for node in graph.node for name in node.input} | {"logits"}
    assert {node.output[0] for node in graph.node} <= read


def test_metadata_say_which_model_it_is_and_how_its_images_are_prepared(binary, tmp_path) -> None:
    names = [f"class {i}" for i in range(7)]
    export_fp32(binary, tmp_path / "m.onnx", names, {"searcher_version": "9"})
    found = onnxruntime.InferenceSession(str(tmp_path / "m.onnx")).get_modelmeta().custom_metadata_map
    assert json.loads(found["classes"]) == names
    assert json.loads(found["mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(found["std"]) == [0.229, 0.224, 0.225]
    assert (found["norm"], found["searcher_version"], found["image_size"]) == ("batch", "9", "96")


def test_fp16_layers_have_rounded_weights_although_the_model_was_not(tmp_path) -> None:
    model = trained("fp16")
    with torch.no_grad():
        model.stem.conv.weight.add_(1e-5 * torch.randn_like(model.stem.conv.weight))
    export_fp32(model, tmp_path / "m.onnx")
    rounded = copy.deepcopy(model)
    round_to_stored_precision(rounded)
    assert deviation(tmp_path / "m.onnx", rounded) < ROUNDING


def quantized(activation: nn.Module, x: list[float], shift: list[float]) -> list[float]:
    """What the graph's activation quantizer makes of one token."""
    nodes = Nodes()
    with torch.no_grad():
        levels, step = Layers(nodes, nn.Module(), False).quantized(activation, Value("images"), torch.tensor(shift))
        nodes.op("Mul", levels, step, output="logits")
    proto = nodes.model([float_info("images", [1, len(x)])], [float_info("logits", [1, len(x)])], "token")
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return session.run(None, {"images": np.array([x], np.float32)})[0][0].tolist()


def test_the_sign_of_zero_is_plus_one() -> None:
    smallest = 1e-45
    x = [0.0, -0.0, 0.5, -smallest, smallest, -0.25, 3.0]
    shift = [0.0, -0.0, -0.5, 0.0, 0.0, 0.125, -4.0]
    expected = [1, 1, 1, -1, 1, -1, -1]
    assert quantized(Sign(), x, shift) == expected
    assert Sign()(torch.tensor(x), torch.tensor(shift)).tolist() == expected


def test_levels_round_half_to_even_and_stay_in_range() -> None:
    activation = LearnedStep(4).eval()
    activation.step.data.fill_(-0.5)  # whose sign means nothing
    activation.first_batch.done.fill_(True)
    x, shift = [0.25, 0.75, 1.25, -0.25, -0.75, 9.0, -9.0, 1.0], [0.0] * 7 + [0.25]
    expected = [0.0, 1.0, 1.0, 0.0, -1.0, 3.5, -4.0, 1.0]
    assert quantized(activation, x, shift) == expected
    assert activation(torch.tensor(x), torch.tensor(shift)).tolist() == expected


@pytest.mark.parametrize("slope", [[0.25, -0.5], [1.5, 0.1]])
def test_prelu_is_right_for_every_slope(slope) -> None:
    nodes = Nodes()
    result = Layers(nodes, nn.Module(), False).prelu("images", torch.tensor(slope))
    nodes.op("Add", result, 0.0, output="logits")
    proto = nodes.model([float_info("images", [3, 2])], [float_info("logits", [3, 2])], "prelu")
    x = torch.tensor([[-2.0, 4.0], [3.0, -1.0], [0.0, -0.0]])
    found = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"images": x.numpy()})[0]
    assert found.tolist() == torch.where(x > 0, x, x * torch.tensor(slope)).tolist()


def test_int8_weights_are_signs_in_a_smaller_file_with_the_same_numbers(binary, tmp_path) -> None:
    export_fp32(binary, tmp_path / "m.onnx")
    export_int8_weights(binary, tmp_path / "i.onnx")
    graph = onnx.load(tmp_path / "i.onnx").graph
    stored = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    wide = [numpy_helper.to_array(c) for c in onnx.load(tmp_path / "m.onnx").graph.initializer]
    pairs = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    signs = 0
    for node in pairs:
        levels, scale = (stored[name] for name in node.input)
        assert levels.dtype == np.int8
        assert set(np.unique(levels)) <= {-1, 1}
        assert scale.min() >= 0
        values = levels * scale.reshape(-1, *[1] * (levels.ndim - 1))
        assert any(np.array_equal(values.T if levels.ndim == 2 else values, w) for w in wide)
        signs += levels.size
    layers = [m for m in binary.modules() if getattr(m, "precision", None) == PRECISIONS["binary"]]
    assert len(pairs) == len(layers)
    saved = (tmp_path / "m.onnx").stat().st_size - (tmp_path / "i.onnx").stat().st_size
    assert saved > 2.5 * signs  # of 3 bytes a weight; scales are stored besides
    assert deviation(tmp_path / "i.onnx", binary) < ROUNDING


def test_no_session_quantizes_the_activations_of_int8_weights_again(binary, tmp_path) -> None:
    export_int8_weights(binary, tmp_path / "i.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "i.onnx"), options)
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert "DequantizeLinear" in kinds
    assert not {kind for kind in kinds if "NBits" in kind or "Integer" in kind or kind.startswith("DynamicQuantize")}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_int8_weights_of_mixed_plans_leave_other_layers_in_float(norm, family, tmp_path) -> None:
    model = trained(MIXED, ODD_OF[family], norm=norm)
    export_int8_weights(model, tmp_path / "i.onnx")
    assert deviation(tmp_path / "i.onnx", model) < ROUNDING


def test_int8_weights_of_a_model_without_binary_layers_are_refused(tmp_path) -> None:
    with pytest.raises(InvalidInput, match="needs a model with binary layers"):
        export_int8_weights(small_model("fp32"), tmp_path / "i.onnx")


def batches(seed: int) -> Iterator[np.ndarray]:
    return (pictures(ODD, 6)[i : i + 2].numpy() for i in range(seed, 4 + seed, 2))


def test_qdq_follows_from_its_images_alone_and_is_close_to_the_float_graph(tmp_path) -> None:
    model = trained("fp32")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        export_qdq(model, tmp_path / f"{name}.onnx", batches(seed), [f"class {i}" for i in range(7)])
    export_fp32(model, tmp_path / "m.onnx")
    a, b, c, m = ((tmp_path / f"{name}.onnx").read_bytes() for name in "abcm")
    assert a == b != c
    assert len(a) < len(m)
    kinds = [node.op_type for node in onnx.load_from_string(a).graph.node]
    assert min(kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) > 20
    pixels = pictures(ODD, 4)
    found, expected = onnx_logits(tmp_path / "a.onnx", pixels), onnx_logits(tmp_path / "m.onnx", pixels)
    assert 1e-6 < np.median(np.abs(found - expected)) < 0.3 * expected.std(0).max()
    metadata = onnx.load_from_string(a).metadata_props
    assert "classes" in [entry.key for entry in metadata]


def test_models_that_cannot_be_exported_are_refused_in_one_line(tmp_path, monkeypatch) -> None:
    with pytest.raises(InvalidInput, match="must be trained before it is exported"):
        export_fp32(small_model("binary"), tmp_path / "m.onnx")
    model = small_model("fp32")
    monkeypatch.setattr(export, "MAX_BYTES", 1000)
    with pytest.raises(InvalidInput, match="holds at most 2 GiB"):
        export_fp32(model, tmp_path / "m.onnx")
    monkeypatch.undo()
    model.stem.position.data[0, 0, 0] = torch.nan
    with pytest.raises(InvalidInput, match=r"every weight must be finite, but some of stem\.position"):
        export_fp32(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["binary", "fp32"])
def test_the_check_finds_a_wrong_graph_and_forgives_what_float32_does_itself(precision, family, tmp_path) -> None:
    model = trained(precision, ODD_OF[family])
    export_fp32(model, tmp_path / "m.onnx")
    judged = reference(model, pictures(ODD, 12))
    right = onnx_logits(tmp_path / "m.onnx", judged.images)
    assert judged.problem(right) is None
    assert judged.problem(judged.float32) is None
    with torch.no_grad():
        model.stages[0][0].mlp.expand.linear.shift.add_(0.05)  # one of many layers, slightly
    export_fp32(model, tmp_path / "w.onnx")
    assert judged.problem(onnx_logits(tmp_path / "w.onnx", judged.images)) is not None
    turned = right.copy()
    turned[3] += 0.3  # as a sign that rounding turned in one image
    assert (judged.problem(turned) is None) == (precision == "binary")
    assert judged.problem(right * np.nan) is not None


def test_the_check_allows_for_chance_where_float32_itself_is_often_wrong() -> None:
    random = np.random.default_rng(0)
    judge = random.standard_normal((40, 5))

    def disturbed(images: int, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed)
        chosen = noise.permutation(40)[:images]
        logits = judge + 1e-7
        logits[chosen] += noise.standard_normal((images, 5))
        return logits

    def passes(float32: int, runtime: int) -> bool:
        found = Reference(torch.empty(40, 1), judge, disturbed(float32, 1), quantized=True)
        return found.problem(disturbed(runtime, 2)) is None

    assert all(passes(a, b) for a, b in ((0, 0), (0, 4), (20, 24), (24, 20), (40, 40), (38, 40), (3, 8)))
    assert not any(passes(a, b) for a, b in ((0, 8), (0, 40), (3, 20), (20, 40)))
