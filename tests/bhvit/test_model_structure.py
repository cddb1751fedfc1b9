"""What a model is made of: kinds of blocks, forms, initial values, names."""

import pytest
import torch

from bhvit import ArchitectureConfig, InvalidInput, PrecisionPlan
from bhvit.blocks import TokenMixer, WindowAttention
from bhvit.model import build_model
from tests.bhvit.small import SMALLEST, images, small_model


def test_intermediate_dims_may_be_smaller_than_embed_dims():
    architecture = ArchitectureConfig.from_lists((8, 8, 8, 8), (3, 5, 1, 4), (1, 1, 1, 1), (1, 1, 2, 4), 64, 1, 5)
    assert small_model("binary", architecture)(images()).shape == (2, 5)


def test_logits_are_a_row_an_image_and_do_not_depend_on_the_other_images():
    model, batch = small_model("binary").eval(), images(batch=3)
    together = model(batch)
    assert together.shape == (3, 5)
    torch.testing.assert_close(together[1:2], model(batch[1:2]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 64, 64), (3, 64, 64), (2, 3, 64, 32)])
def test_images_of_another_size_are_refused(shape):
    with pytest.raises(InvalidInput, match=r"images must be a \(batch, 3, 64, 64\) tensor .* resize them, or build"):
        small_model()(torch.zeros(shape))


def test_the_first_two_stages_mix_by_convolution_and_the_last_two_by_attention():
    kinds = [[type(block.mixer) for block in stage] for stage in small_model().stages]
    assert kinds == [[TokenMixer], [TokenMixer], [WindowAttention], [WindowAttention]]


@pytest.mark.parametrize(
    ("default", "downsample", "form", "plain"),
    [
        ("binary", "binary", "auto", False),
        ("binary", "fp16", "auto", True),
        ("fp32", "fp32", "auto", False),
        ("binary", "fp16", "residual", False),
        ("fp32", "fp32", "plain", True),
        ("binary", "int8", "auto", False),
    ],
)
def test_downsampling_is_plain_where_it_alone_is_real_valued_unless_told_otherwise(default, downsample, form, plain):
    architecture = ArchitectureConfig(SMALLEST.stages, 64, 1, 5, downsample_form=form)
    model = build_model(architecture, PrecisionPlan.uniform(default).with_layers("downsample*", downsample))
    assert [d.rprelu is None for d in model.downsamples] == [plain] * 3


def test_drop_path_rises_linearly_over_all_blocks():
    deeper = ArchitectureConfig.from_lists((8, 8, 8, 8), (8, 8, 8, 8), (2, 1, 1, 1), (1, 1, 2, 4), 64, 1, 5)
    model = build_model(deeper, PrecisionPlan.uniform("fp32"), drop_path_rate=0.4)
    rates = [block.drop_path.rate for stage in model.stages for block in stage]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_the_regularizer_is_the_mean_over_binary_layers_alone():
    plan = PrecisionPlan.uniform("fp32").with_layers("downsample2", "binary").with_layers("stage0.*.mlp", "binary")
    model = build_model(SMALLEST, plan)
    (downsample,), (expand, project) = model.weight_layers["downsample2"], model.weight_layers["stage0.block0.mlp"]
    for layer, value in ((downsample, 3.0), (expand, -0.5), (project, 1.0)):
        layer.weight.data.fill_(value)
    assert model.weight_regularizer().item() == pytest.approx((2 + 0.5 + 0) / 3)
    assert model.weight_regularizer(include_downsampling=False).item() == pytest.approx((0.5 + 0) / 2)
    assert small_model("fp32").weight_regularizer().item() == 0


def test_weights_start_from_a_truncated_normal():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(SMALLEST.scaled(8, 8), PrecisionPlan.uniform("binary"))
    for layers in model.weight_layers.values():
        for layer in layers:
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.15)
    assert model.stem.position.std().item() == pytest.approx(0.02, rel=0.1)


def test_int8_stays_close_to_the_full_precision_model():
    real, int8 = small_model("fp32").double(), small_model("int8").double()
    int8.load_state_dict(real.state_dict(), strict=False)
    batch = images(batch=8).double()
    with torch.no_grad():
        expected, found = real(batch), int8(batch)
    distance = (found - expected).norm() / expected.norm()
    assert 0 < distance < 0.1


def test_timm_finds_the_classifier_and_what_not_to_decay():
    model = small_model("int4")
    assert model.get_classifier() is model.head.linear
    assert model.num_classes == 5
    names = model.no_weight_decay()
    assert {"stem.position", "downsamples.0.position", "stages.0.0.mlp.expand.linear.activation.step"} <= names
    assert names <= set(dict(model.named_parameters()))
    assert not any(name.endswith("weight") for name in names)
