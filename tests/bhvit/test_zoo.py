import pytest
import timm
import torch

import bhvit.zoo  # noqa: F401  (registers the models)
from bhvit import SMALL, TINY, InvalidInput


def test_timm_creates_the_presets():
    with torch.device("meta"):
        tiny = timm.create_model("bhvit_tiny", num_classes=37, precision="binary")
        small = timm.create_model("bhvit_small", num_classes=37)
    assert tiny.architecture == TINY
    assert small.architecture == SMALL
    assert {p.name for p in tiny.layers.values()} == {p.name for p in small.layers.values()} == {"binary"}


def test_timm_passes_shape_norm_and_layer_precisions():
    model = timm.create_model(
        "bhvit_tiny",
        num_classes=4,
        precision="fp32",
        layers={"downsample*": "int8", "downsample1": "fp16"},
        img_size=64,
        window_size=1,
        norm="layer",
        recu=False,
        drop_path_rate=0.2,
    )
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
    assert [model.layers[f"downsample{i}"].name for i in (1, 2, 3)] == ["fp16", "int8", "int8"]
    assert (model.norm, model.recu) == ("layer", False)
    assert model.stages[3][1].drop_path.rate == pytest.approx(0.2)
    assert not any("running_mean" in name for name in model.state_dict())


def test_timm_knows_how_to_prepare_images():
    with torch.device("meta"):
        model = timm.create_model("bhvit_tiny", img_size=96, window_size=3)
    config = timm.data.resolve_model_data_config(model)
    assert config["input_size"] == (3, 96, 96)
    assert config["mean"] == timm.data.IMAGENET_DEFAULT_MEAN
    assert config["interpolation"] == "bicubic"


def test_both_models_are_listed():
    assert timm.list_models("bhvit*") == ["bhvit_small", "bhvit_tiny"]


def test_pretrained_weights_are_refused_with_what_to_do_instead():
    with pytest.raises(InvalidInput, match="no weights of bhvit_tiny are published in timm's form.*load_weights"):
        timm.create_model("bhvit_tiny", pretrained=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"img_size": 100}, "image_size must be a multiple of 32 \\* window_size = 224, but it is 100; use 224"),
        ({"precision": "bnary"}, "unknown precision 'bnary' \\(did you mean 'binary'\\?\\)"),
        ({"layers": {"downsampel*": "fp16"}}, "must match a layer, but 'downsampel\\*' matches none"),
        ({"norm": "group"}, "unknown norm 'group'"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        timm.create_model("bhvit_tiny", **options)
