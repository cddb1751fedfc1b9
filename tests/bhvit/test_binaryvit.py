"""BinaryViT beyond what was recorded (`test_reference`): other sizes, precisions, forms, and what is refused."""

import pytest
import torch

from bhvit import PRECISIONS, InvalidInput, PrecisionPlan
from bhvit.binaryvit.architecture import SMALL, BinaryViTConfig
from bhvit.binaryvit.model import BinaryViT
from bhvit.blocks import GlobalAttention
from bhvit.checkpoint import load_reference_state_dict, reference_state_dict

LISTS = ([8, 8, 16, 16], [16, 20, 20, 32], [1] * 4, [1, 2, 2, 4])
ARCHITECTURE = BinaryViTConfig.from_lists(*LISTS, image_size=64, num_classes=5)


def model(precision="binary", architecture=ARCHITECTURE, seed=0, **options):
    torch.manual_seed(seed)
    return BinaryViT(architecture, PrecisionPlan.named(precision), **options)


def pictures(side=64, batch=4):
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("side", range(32, 257, 32))
def test_any_image_size_that_is_a_multiple_of_32_works_with_the_published_reductions(side: int) -> None:
    architecture = ARCHITECTURE.with_options(image_size=side)
    assert architecture.reductions == SMALL.reductions
    assert model(architecture=architecture).eval()(pictures(side, 1)).isfinite().all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_every_parameter_gets_a_finite_gradient(precision: str, norm: str) -> None:
    m = model(precision, norm=norm).train()
    m(pictures()).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in m.parameters())
    assert all(layer.weight.grad.abs().sum() > 0 for layers in m.weight_layers.values() for layer in layers)


@pytest.mark.parametrize("precision", ["binary", "some_fp", "fp32"])
@pytest.mark.parametrize("layer_scale", [True, False])
def test_released_names_carry_a_model_there_and_back(precision: str, layer_scale: bool) -> None:
    architecture = ARCHITECTURE.with_options(layer_scale=layer_scale)
    source, target = (model(precision, architecture, seed) for seed in (0, 1))
    load_reference_state_dict(target, reference_state_dict(source))
    ours, theirs = target.state_dict(), source.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_reduction_averages_tokens_before_keys_and_values_are_made() -> None:
    torch.manual_seed(0)
    m = model("fp32", ARCHITECTURE.with_options(reductions=(4, 2, 1, 1))).eval()
    assert [isinstance(s[0].mixer, GlobalAttention) and s[0].mixer.reduction is not None for s in m.stages] == [
        *(True, True, False, False)
    ]
    attention, u = m.stages[0][0].mixer, torch.randn(1, 16, 16, 8)
    moved = u.unflatten(2, (4, 4)).unflatten(1, (4, 4)).roll((1, 2), (2, 4)).flatten(3, 4).flatten(1, 2)
    keys = [attention.key(attention.reduction(x.view(1, 4, 4, 4, 4, 8).mean((2, 4))))[0] for x in (u, moved)]
    torch.testing.assert_close(*keys)  # where tokens stand within a patch is lost


def test_the_level_of_probabilities_starts_as_released_and_no_batch_sets_it() -> None:
    m = model().train()
    m(pictures())
    levels = [block.mixer.probability.step.item() for stage in m.stages for block in stage]
    assert levels == pytest.approx([0.005] * 4)


def test_stochastic_depth_drops_attention_and_mlp_but_no_branch() -> None:
    m = model(drop_path_rate=0.5)
    last = m.stages[3][0]
    assert (last.drop_path.rate, last.mixer_drop_path.rate) == (0.5, 0.5)
    with torch.no_grad():
        for scale in last.shifts.height.values():
            scale.alpha.fill_(1.0)
    h = torch.randn(64, 2, 2, 16)
    last.train()
    last.mixer_drop_path.rate = last.drop_path.rate = 1 - 1e-6
    last.norm_before.eval(), last.norm_after.eval()
    dropped = last(h)
    torch.testing.assert_close(dropped, h + last.shifts(last.norm_after(h)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 100}, "image_size must be a multiple of 32, but it is 100; use 96"),
        ({"reductions": (8, 4, 1)}, "reductions must have 4 numbers, one a stage"),
        (
            {"reductions": (8, 4, 3, 1)},
            r"reductions must divide the side .* stage 2 has 3 and a side of 4; use one of 1, 2",
        ),
        ({"reductions": (0, 4, 1, 1)}, "stage 0 reduction must be a positive integer"),
        ({"pools": (3, 7)}, r"pools must be distinct and among \[3, 5\], but they are \[3, 7\]"),
        ({"downsample_form": "none"}, "unknown downsample_form 'none'"),
        ({"window_size": 7}, "unknown option of a BinaryViT 'window_size'"),
    ],
)
def test_what_the_architecture_does_not_allow_is_refused_with_a_remedy(options, message) -> None:
    with pytest.raises(InvalidInput, match=message):
        ARCHITECTURE.with_options(**options)


def test_widths_scale_to_what_heads_allow() -> None:
    scaled = ARCHITECTURE.scaled(hidden=1.4)
    assert scaled.embed_dims == (11, 12, 22, 24)
    assert model(architecture=scaled)(pictures()).isfinite().all()
