"""DeiT against timm's own model, and what is refused."""

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from bhvit import PRECISIONS, InvalidInput, PrecisionPlan, cost_of
from bhvit.checkpoint import load_reference_state_dict, reference_state_dict, round_to_stored_precision
from bhvit.deit.architecture import SMALL, TINY, DeiTConfig
from bhvit.deit.model import DeiT
from bhvit.export.onnx import export_fp32, export_qdq
from bhvit.export.packed import pack

ARCHITECTURE = DeiTConfig.from_lists([24], [40], [3], [3], image_size=48, num_classes=5)
FP32 = PrecisionPlan.uniform("fp32")


def model(plan=FP32, architecture=ARCHITECTURE, **options):
    torch.manual_seed(0)
    return DeiT(architecture, plan, **options)


def timms(architecture=ARCHITECTURE, name="deit_tiny_patch16_224"):
    """timm's model of this shape with random biases and norms, too."""
    torch.manual_seed(1)
    (stage,) = architecture.stages
    theirs = timm.create_model(
        name,
        img_size=architecture.image_size,
        num_classes=architecture.num_classes,
        embed_dim=stage.embed_dim,
        depth=stage.depth,
        num_heads=stage.num_heads,
        mlp_ratio=stage.intermediate_dim / stage.embed_dim,
    )
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.2)
    return theirs.eval()


def pictures(architecture=ARCHITECTURE, batch=3):
    return torch.randn(batch, 3, *[architecture.image_size] * 2, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("side", [16, 48, 80])
@torch.no_grad()
def test_logits_are_those_of_timm_with_the_same_weights(side: int) -> None:
    architecture = ARCHITECTURE.with_options(image_size=side)
    ours, theirs, images = model(architecture=architecture).eval(), timms(architecture), pictures(architecture)
    load_reference_state_dict(ours, theirs.state_dict())
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
    assert {n: t.tolist() for n, t in reference_state_dict(ours).items()} == {
        n: t.tolist() for n, t in theirs.state_dict().items()
    }


@pytest.mark.parametrize(
    ("architecture", "name", "parameters", "macs"),
    [
        (TINY, "deit_tiny_patch16_224", 5_717_416, 1_253_683_200),
        (SMALL, "deit_small_patch16_224", 22_050_664, 4_598_882_304),
    ],
    ids=["tiny", "small"],
)
def test_presets_cost_what_timms_models_do(architecture: DeiTConfig, name: str, parameters: int, macs: int) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            theirs(torch.empty(1, 3, 224, 224))
    report = cost_of(architecture.with_options(num_classes=1000), FP32)
    assert report.total.parameters == sum(p.numel() for p in theirs.parameters()) == parameters
    assert sum(report.macs_by_precision.values()) == counter.get_total_flops() // 2 == macs
    assert report.ops == macs


def test_one_block_counted_by_hand() -> None:
    rows = {row.address: row for row in cost_of(ARCHITECTURE, FP32, "complete").layers}
    attention, mlp, tokens = rows["stage0.block1.attention"], rows["stage0.block1.mlp"], 3 * 3 + 1
    assert attention.parameters == 2 * 24 + (24 * 72 + 72) + (24 * 24 + 24)
    assert attention.macs == tokens * 24 * 96 + 2 * tokens * tokens * 24
    biases, residual, norm, softmax = tokens * 24 * 4, tokens * 24, tokens * 24 * 8, 3 * tokens * tokens * (4 + 1)
    assert attention.ops == attention.macs + biases + residual + norm + softmax
    assert mlp.parameters == 2 * 24 + (24 * 40 + 40) + (40 * 24 + 24)
    assert mlp.ops == 2 * tokens * 24 * 40 + tokens * 24 * (8 + 1 + 1) + tokens * 40 * (8 + 1)
    assert mlp.memory_bytes == 4 * mlp.parameters


@pytest.mark.parametrize(("precision", "operand"), [("fp16", 2), ("fp32", 4)])
def test_live_activations_counted_by_hand(precision: str, operand: int) -> None:
    """10 tokens, the class token among them; 4 bytes a real value."""
    report = cost_of(ARCHITECTURE, PrecisionPlan.uniform(precision))
    live = {row.address: row.terms.activation_bytes for row in report.layers}
    attention = 4 * (5 * 10 * 24 + 3 * 10 * 10) + operand * 10 * 24  # input, q, k, v, output; scores of three heads
    assert live["stage0.block1.attention"] == attention
    assert live["stage0.block1.mlp"] == 4 * 10 * (24 + 24 + 40) + operand * 10 * 40
    assert live["head"] == 4 * 10 * 24
    assert report.total.peak_activation_bytes == live["stem"] == 4 * (3 * 48 * 48 + 10 * 24)


def test_heads_stay_as_many_at_every_width() -> None:
    wide = TINY.scaled(1.1, 0.5)
    assert (wide.embed_dims, wide.intermediate_dims, wide.num_heads) == ((210,), (384,), (3,))  # 211.2 -> 3 * 70
    plan = FP32.with_layers("*.mlp", "fp16")
    assert model(plan, ARCHITECTURE.scaled(1.4, 0.9)).eval()(pictures()).shape == (3, 5)


def test_intermediate_channels_are_exact_at_any_ratio() -> None:
    for i in range(1, 60):
        with torch.device("meta"):
            m = model(architecture=DeiTConfig.from_lists([21], [i], [1], [3], image_size=16))
        assert m.weight_layers["stage0.block0.mlp"][0].weight.shape == (i, 21)


def test_halves_are_rounded_where_they_are_stored() -> None:
    m = model(PrecisionPlan.uniform("fp16").with_layers("*.block1.*", "fp32"))
    before = {name: value.clone() for name, value in m.state_dict().items()}
    round_to_stored_precision(m)
    changed = {name for name, value in m.state_dict().items() if not torch.equal(value, before[name])}
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    blocks = {f"blocks.{j}.{layer}.weight" for j in (0, 2) for layer in layers}
    assert changed == {"stem.patches.proj.weight", "head.linear.weight"} | blocks


def test_stochastic_depth_is_ours_and_rises_over_the_blocks() -> None:
    m = model(drop_path_rate=0.4)
    rates = [(block.drop_path1.rate, block.drop_path2.rate) for block in m.blocks]
    assert rates == [(pytest.approx(r), pytest.approx(r)) for r in (0, 0.2, 0.4)]
    images = pictures()
    assert torch.equal(m.eval()(images), m(images))
    assert not torch.equal(m.train()(images), m(images))


def test_tokens_and_positions_do_not_decay() -> None:
    names = {name for name, p in model().named_parameters() if p.ndim > 1}
    assert model().no_weight_decay() & names == {"stem.class_token", "stem.position"}


@pytest.mark.parametrize("precision", sorted(set(PRECISIONS) - {"fp16", "fp32"}))
def test_a_quantized_layer_is_refused(precision: str) -> None:
    plan = FP32.with_layers("stage0.block1.mlp", precision)
    message = f"layers of a DeiT must be fp32 or fp16, but stage0.block1.mlp is {precision}; use fp32 or fp16."
    for use in (model, lambda plan: cost_of(ARCHITECTURE, plan)):
        with pytest.raises(InvalidInput) as error:
            use(plan)
        assert str(error.value) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 100}, "image_size must be a multiple of 16, but it is 100; use 96."),
        ({"num_heads": [5]}, "num_heads must divide embed_dim, but stage 0 has num_heads=5, embed_dim=24;"),
        ({"depths": [1, 1]}, "depths must have 1 number, one a stage, but it is [1, 1]."),
    ],
    ids=["image size", "heads", "stages"],
)
def test_impossible_shapes_are_refused(change: dict, message: str) -> None:
    lists = {"embed_dims": [24], "intermediate_dims": [40], "depths": [3], "num_heads": [3]}
    with pytest.raises(InvalidInput) as error:
        DeiTConfig.from_lists(**(lists | change))
    assert message in str(error.value)


def test_other_norms_and_images_are_refused() -> None:
    with pytest.raises(InvalidInput, match="norm must be layer in a DeiT, but it is 'batch'"):
        model(norm="batch")
    with pytest.raises(InvalidInput, match=r"images must be a \(batch, 3, 48, 48\) tensor"):
        model()(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("export", [export_fp32, export_qdq, pack])
def test_files_for_other_programs_are_refused_in_one_line(export, tmp_path) -> None:
    m = model()
    arguments = ([pictures()],) if export is export_qdq else ()
    with pytest.raises(InvalidInput, match="but this one is a DeiT") as error:
        export(m, tmp_path / "file", *arguments)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
