import pytest
import timm
import torch

import bhvit.zoo
from bhvit import PRECISIONS, TINY, InvalidInput, PrecisionPlan


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


def test_a_plan_may_be_given_whole() -> None:
    plan = PrecisionPlan.uniform("int8").with_layers("downsample*", "fp16")
    with torch.device("meta"):
        model = timm.create_model("bhvit_tiny", precision=plan, layers={"downsample3": "binary"})
    assert model.layers == {**plan.resolve(TINY.addresses), "downsample3": PRECISIONS["binary"]}


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


@pytest.mark.parametrize(
    ("name", "option", "owners"),
    [
        ("binaryvit_small", "window_size", "bhvit"),
        ("bhvit_tiny", "reductions", "binaryvit"),
        ("deit_tiny", "downsample", "bhvit and binaryvit"),
    ],
)
def test_an_option_of_another_family_is_refused_with_its_families(name: str, option: str, owners: str) -> None:
    this = name.split("_")[0]
    message = rf"unknown option of {name}: '{option}' \(an option of {owners}, but this is a {this}\); use one of: "
    with pytest.raises(InvalidInput, match=message):
        timm.create_model(name, **{option: 7})


def test_options_have_the_names_that_they_have_in_space_files() -> None:
    with torch.device("meta"):
        assert timm.create_model("bhvit_tiny", downsample="plain").architecture.downsample_form == "plain"
    with pytest.raises(
        InvalidInput, match=r"unknown option of bhvit_tiny: 'downsample_form' \(did you mean 'downsample'"
    ):
        timm.create_model("bhvit_tiny", downsample_form="plain")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bhvit_tiny", {"img_size": (224, 224)}, r"img_size must be a positive integer, but it is \(224, 224\)\."),
        ("bhvit_tiny", {"img_size": "224"}, r"img_size must be a positive integer, but it is '224'\."),
        ("bhvit_tiny", {"img_size": 100}, r"img_size must be a multiple of 32 \* window_size = 96, but it is 100;"),
        ("bhvit_tiny", {"downsample": "none"}, r"unknown downsample 'none'; use one of: auto, plain, residual\."),
        ("bhvit_tiny", {"shifts": 3}, r"shifts must be a list of whole numbers, but it is 3\."),
        ("bhvit_tiny", {"precision": ["int8"]}, r"a precision must be a name, one of .*, but it is \['int8'\]\."),
        ("bhvit_tiny", {"layers": ["a"]}, r"layers must be a mapping from globs .*, but it is \['a'\]\."),
        ("bhvit_tiny", {"drop_path_rate": "0.1"}, r"drop_path_rate must be .* below 1, but it is '0\.1'; use 0"),
        ("binaryvit_small", {"pools": 3}, r"pools must be a list of whole numbers, but it is 3\."),
        ("binaryvit_small", {"pools": [[3]]}, r"pools must be a list of whole numbers, but it is \(\[3\],\)\."),
        ("binaryvit_small", {"reductions": 4}, r"reductions must be a list of whole numbers, but it is 4\."),
        ("binaryvit_small", {"layer_scale": "no"}, r"layer_scale must be true or false, but it is 'no'\."),
        ("binaryvit_small", {"layer_scale": 1}, r"layer_scale must be true or false, but it is 1\."),
        *((name, {"recu": "no"}, r"recu must be true or false, but it is 'no'\.") for name in bhvit.zoo.NAMES),
    ],
)
def test_values_of_the_wrong_kind_are_refused_in_one_line(name, options, message) -> None:
    with pytest.raises(InvalidInput, match=f"^{message}"), torch.device("meta"):
        timm.create_model(name, **options)
