import pytest
import timm
import torch

import bhvit.zoo
from bhvit import TINY, InvalidInput


def test_timm_creates_our_models() -> None:
    assert {"bhvit_tiny", "bhvit_small", "binaryvit_small"} <= set(bhvit.zoo.NAMES) <= set(timm.list_models())
    with torch.device("meta"):
        model = timm.create_model("bhvit_tiny", num_classes=37, precision="binary")
    assert model.architecture == TINY
    assert {p.name for p in model.layers.values()} == {"binary"}
    assert model.get_classifier().out_features == 37


def test_options_reach_the_model() -> None:
    model = timm.create_model(
        "bhvit_small",
        num_classes=5,
        img_size=96,
        window_size=3,
        hidden=0.125,
        intermediate=0.125,
        layers={"downsample*": "fp16", "stage3.*": "int8"},
        norm="layer",
        drop_path_rate=0.1,
    )
    assert model.architecture.depths == (3, 4, 8, 4)
    assert model.architecture.embed_dims == (8, 16, 32, 64)
    assert model.layers["downsample2"].name == "fp16"
    assert model.layers["stage3.block0.mlp"].name == "int8"
    assert model.norm == "layer"
    assert model.eval()(torch.zeros(1, 3, 96, 96)).shape == (1, 5)


@pytest.mark.parametrize("name", bhvit.zoo.NAMES)
def test_every_preset_is_built_at_another_image_size_with_its_default_options(name) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, img_size=96, num_classes=3).eval()
        assert model(torch.empty(1, 3, 96, 96)).shape == (1, 3)


def test_published_flags_are_precision_plans() -> None:
    with torch.device("meta"):
        model = timm.create_model("binaryvit_small", precision="some_fp", num_classes=1000)
    assert {a for a, p in model.layers.items() if p.real_valued} == {"downsample1", "downsample2", "downsample3"}
    assert sum(p.numel() for p in model.parameters()) == 22_488_635  # as released
    assert [d.rprelu for d in model.downsamples] == [None] * 3


def test_timm_knows_how_to_prepare_images_for_the_model() -> None:
    with torch.device("meta"):
        model = timm.create_model("bhvit_tiny", img_size=96, window_size=3)
    data = timm.data.resolve_model_data_config(model)
    assert data["input_size"] == (3, 96, 96)
    assert data["crop_pct"] == 224 / 256
    assert data["mean"] == timm.data.IMAGENET_DEFAULT_MEAN


def test_pretrained_weights_are_refused_because_there_are_none() -> None:
    with pytest.raises(InvalidInput, match="bhvit_tiny has no pretrained weights to download"):
        timm.create_model("bhvit_tiny", pretrained=True)


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"unknown option of bhvit_tiny: 'percision' \(did you mean 'precision'\?\)"):
        timm.create_model("bhvit_tiny", percision="binary")
    with pytest.raises(InvalidInput, match=r"unknown precision 'some_pf' \(did you mean 'some_fp'\?\)"):
        timm.create_model("bhvit_tiny", precision="some_pf")
