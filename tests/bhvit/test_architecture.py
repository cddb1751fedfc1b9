import dataclasses

import pytest

import bhvit
from bhvit import SMALL, TINY, ArchitectureConfig, InvalidInput

LISTS = {
    "embed_dims": [16, 32, 64, 128],
    "intermediate_dims": [64, 128, 256, 512],
    "depths": [1, 1, 2, 1],
    "num_heads": [1, 1, 2, 4],
    "image_size": 96,
    "window_size": 3,
}


def test_presets_are_the_published_models() -> None:
    assert TINY.embed_dims == SMALL.embed_dims == (64, 128, 256, 512)
    assert TINY.intermediate_dims == SMALL.intermediate_dims == (512, 1024, 1024, 2048)
    assert (TINY.depths, SMALL.depths) == ((2, 2, 6, 2), (3, 4, 8, 4))
    assert TINY.num_heads == (1, 1, 4, 8)
    assert (TINY.image_size, TINY.window_size) == (224, 7)
    assert TINY.resolutions == (56, 28, 14, 7)


def test_addresses_name_every_layer_in_forward_order() -> None:
    assert ArchitectureConfig.from_lists(**LISTS).addresses == (
        "stage0.block0.mixer",
        "stage0.block0.mlp",
        "downsample1",
        "stage1.block0.mixer",
        "stage1.block0.mlp",
        "downsample2",
        "stage2.block0.attention",
        "stage2.block0.mlp",
        "stage2.block1.attention",
        "stage2.block1.mlp",
        "downsample3",
        "stage3.block0.attention",
        "stage3.block0.mlp",
    )


def test_hidden_and_intermediate_scale_independently() -> None:
    assert TINY.scaled(hidden=3).embed_dims == (192, 384, 768, 1536)
    assert TINY.scaled(hidden=3).intermediate_dims == TINY.intermediate_dims
    assert TINY.scaled(intermediate=3).intermediate_dims == (1536, 3072, 3072, 6144)
    assert TINY.scaled(intermediate=(1, 1, 2, 2)).intermediate_dims == (512, 1024, 2048, 4096)
    assert TINY.scaled() == TINY


@pytest.mark.parametrize(("side", "window"), [(224, 7), (160, 5), (96, 3), (192, 3), (448, 7), (128, 1)])
def test_window_size_follows_from_the_image_size(side: int, window: int) -> None:
    resized = TINY.with_options(image_size=side)
    assert (resized.image_size, resized.window_size) == (side, window)


@pytest.mark.parametrize(("factor", "widths"), [(1.1, (72, 140, 280, 560)), (0.01, (4, 4, 4, 8))])
def test_scaled_widths_stay_divisible_by_groups_and_heads(factor: float, widths: tuple[int, ...]) -> None:
    assert TINY.scaled(hidden=factor).embed_dims == widths


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 100}, "image_size must be a multiple of 32 * window_size = 96, but it is 100; use 96"),
        ({"window_size": 0}, "window_size must be a positive integer, but it is 0."),
        ({"window_size": 4}, "window_size must be odd, but it is 4; use one of 1, 3."),
        ({"embed_dims": [16, 32, 64, 126]}, "embed_dim must be a multiple of 4 (convolution groups, channel quarters)"),
        ({"num_heads": [1, 1, 2, 5]}, "num_heads must divide embed_dim, but stage 3 has num_heads=5, embed_dim=128;"),
        ({"depths": [1, 1, 0, 1]}, "stage 2 depth must be a positive integer, but it is 0."),
        ({"depths": [1, 1, 1]}, "depths must have 4 numbers, one a stage, but it is [1, 1, 1]."),
        ({"intermediate_dims": [64, 128, 256, 1.5]}, "stage 3 intermediate_dim must be a positive integer"),
        ({"num_classes": True}, "num_classes must be a positive integer, but it is True."),
        ({"shifts": (4,)}, "shifts must be distinct and among [3, 5], but they are [4]."),
        ({"downsample_form": "plane"}, "unknown downsample_form 'plane' (did you mean 'plain'?)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_impossible_values_are_refused_with_rule_value_and_remedy(change: dict, message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        ArchitectureConfig.from_lists(**(LISTS | change))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("factor", [0, -1, 65, 1e300, float("nan"), "2", True, (1, 2)])
def test_scaling_refuses_what_is_no_positive_factor(factor) -> None:
    with pytest.raises(InvalidInput, match="hidden"):
        TINY.scaled(hidden=factor)


@pytest.mark.parametrize(
    ("form", "real", "quantizes", "expected"),
    [
        ("auto", True, True, "plain"),
        ("auto", True, False, "residual"),
        ("auto", False, True, "residual"),
        ("plain", False, True, "plain"),
        ("residual", True, True, "residual"),
    ],
)
def test_downsampling_is_plain_where_it_is_real_valued_in_a_quantized_plan(form, real, quantizes, expected) -> None:
    architecture = dataclasses.replace(TINY, downsample_form=form)
    assert architecture.form_of_downsample(real, quantizes) == expected


def test_configurations_are_hashable_values() -> None:
    assert {TINY: 1}[ArchitectureConfig.from_lists(**dataclasses_lists(TINY))] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        TINY.image_size = 96  # type: ignore[misc]


def dataclasses_lists(a: ArchitectureConfig) -> dict:
    return {
        "embed_dims": a.embed_dims,
        "intermediate_dims": a.intermediate_dims,
        "depths": a.depths,
        "num_heads": a.num_heads,
    }


def test_the_package_exports_its_public_names() -> None:
    assert all(hasattr(bhvit, name) for name in bhvit.__all__)
