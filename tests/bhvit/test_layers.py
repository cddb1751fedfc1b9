import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from bhvit import PRECISIONS, InvalidInput
from bhvit.blocks.summary_tokens import SummaryTokens, upsample_nearest
from bhvit.blocks.windows import join_windows, split_windows
from bhvit.layers import (
    Branches,
    DropPath,
    LayerScale,
    QuantConv2d,
    QuantLinear,
    RPReLU,
    norm_factory,
    pool_channels,
    tile_channels,
)

BINARY, FP32 = PRECISIONS["binary"], PRECISIONS["fp32"]


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@given(st.integers(1, 12), st.integers(1, 40))
def test_tiling_repeats_channels_cyclically_for_any_ratio(size, channels):
    x = random(2, size).detach()
    assert torch.equal(tile_channels(x, channels), x[:, [j % size for j in range(channels)]])


@given(st.integers(1, 40), st.integers(1, 12))
def test_pooling_averages_the_channels_that_overlap_a_group(size, channels):
    x = random(3, 2, size).detach()
    groups = [x[..., j * size // channels : -(-(j + 1) * size // channels)] for j in range(channels)]
    expected = torch.stack([g.mean(-1) for g in groups], dim=-1)
    torch.testing.assert_close(pool_channels(x, channels), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("with_residual", [False, True])
def test_rprelu_equals_the_shifted_prelu_of_torch_with_its_gradients(with_residual):
    layer, x = RPReLU(6).double(), random(2, 5, 6)
    residual = random(2, 5, 6, seed=9) if with_residual else None
    for i, p in enumerate(layer.parameters()):
        p.data.copy_(random(6, seed=i + 1))
    u = x if residual is None else x + residual
    expected = F.prelu((u - layer.shift_in).view(-1, 6), layer.slope).view_as(x) + layer.shift_out
    sources = [x, *layer.parameters(), *([] if residual is None else [residual])]
    grad = random(2, 5, 6, seed=7).detach()
    y = layer(x, residual)
    torch.testing.assert_close(y, expected, rtol=1e-13, atol=1e-13)
    ours, theirs = torch.autograd.grad(y, sources, grad), torch.autograd.grad(expected, sources, grad)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


RADII = {3: 1, 5: 2}
SHIFTS = {"directions": ("height", "width", "quarters"), "circular": True}
POOLS = {"directions": ("height", "width"), "circular": False}


def rolled_branches(layer, x):
    """The definition of the shift branches, roll by roll."""
    total = torch.zeros_like(x)
    for name in layer.height:
        k = RADII[int(name)]
        rolls = range(-k, k + 1)
        q = x.chunk(4, dim=-1)
        quarters = torch.cat((q[0].roll(k, 1), q[1].roll(-k, 1), q[2].roll(k, 2), q[3].roll(-k, 2)), dim=-1)
        total = total + layer.height[name](sum(x.roll(j, 1) for j in rolls) / (2 * k + 1))
        total = total + layer.width[name](sum(x.roll(j, 2) for j in rolls) / (2 * k + 1))
        total = total + layer.quarters[name](quarters)
    return total


def pooled_branches(layer, x):
    """The definition of the pooling branches, one average pooling after the other."""
    total, image = torch.zeros_like(x), x.permute(0, 3, 1, 2)
    for name in layer.height:
        k, n = RADII[int(name)], 2 * RADII[int(name)] + 1
        total = total + layer.height[name](F.avg_pool2d(image, (n, 1), 1, (k, 0)).permute(0, 2, 3, 1))
        total = total + layer.width[name](F.avg_pool2d(image, (1, n), 1, (0, k)).permute(0, 2, 3, 1))
    return total


@pytest.mark.parametrize("names", [(3,), (5,), (3, 5)])
@pytest.mark.parametrize("side", [1, 2, 3, 6])
@pytest.mark.parametrize(("form", "definition"), [(SHIFTS, rolled_branches), (POOLS, pooled_branches)])
def test_branches_equal_their_definition_with_their_gradients(form, definition, names, side):
    layer, x = Branches(8, {name: RADII[name] for name in names}, **form).double(), random(2, side, side, 8)
    for i, p in enumerate(layer.parameters()):
        p.data.copy_(random(8, seed=i + 1))
    expected, grad = definition(layer, x), random(2, side, side, 8, seed=50).detach()
    y, sources = layer(x), [x, *layer.parameters()]
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(torch.autograd.grad(y, sources, grad), torch.autograd.grad(expected, sources, grad), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", [SHIFTS, POOLS])
def test_branches_contribute_nothing_before_training_or_when_there_are_none(form):
    x = random(2, 3, 3, 8).detach()
    assert not Branches(8, RADII, **form).double()(x).any()
    assert not Branches(8, {}, **form).double()(x).any()


def test_padding_of_a_binary_convolution_contributes_zero():
    conv = QuantConv2d(1, 1, 3, BINARY, padding=1)
    conv.weight_quantizer = torch.ones_like  # every weight 1: the output counts the positions that contribute
    y = conv(torch.full((1, 3, 3, 1), 0.5))
    assert y[0, :, :, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


def test_a_real_convolution_equals_the_one_of_torch():
    conv = QuantConv2d(8, 8, 3, FP32, padding=3, dilation=3, groups=4, bias=True).double()
    x = random(2, 5, 5, 8)
    expected = F.conv2d(x.permute(0, 3, 1, 2), conv.weight, conv.bias, padding=3, dilation=3, groups=4)
    torch.testing.assert_close(conv(x), expected.permute(0, 2, 3, 1))


def test_a_binary_linear_layer_is_a_count_of_agreements():
    layer = QuantLinear(4, 1, BINARY, recu=False)
    layer.weight.data.copy_(torch.tensor([[0.1, -0.3, 0.2, -0.2]]))  # mean -0.05, mean magnitude 0.2
    layer.shift.data.fill_(1.0)
    # x + shift has signs +, -, +, -: all four agree; the second row agrees once
    y = layer(torch.tensor([[0.0, -1.5, -0.5, -9.0], [-3.0, 0.0, 0.0, 0.0]]))
    torch.testing.assert_close(y, torch.tensor([[0.8], [-0.4]]))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_runs_over_batch_and_tokens(training):
    ours, theirs = norm_factory("batch")(5).double(), torch.nn.BatchNorm1d(5).double()
    x = random(2, 3, 3, 5)
    for _ in range(2):
        y, expected = ours(x), theirs(x.view(-1, 5)).view_as(x)
    ours.train(training)
    theirs.train(training)
    y, expected = ours(x), theirs(x.view(-1, 5)).view_as(x)
    torch.testing.assert_close(y, expected)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_an_unknown_norm_is_refused_with_the_nearest_name():
    with pytest.raises(
        InvalidInput, match=r"unknown norm 'bach' \(did you mean 'batch'\?\); use one of: batch, layer."
    ):
        norm_factory("bach")


def test_layer_scale_multiplies_and_shifts():
    layer = LayerScale(2, 0.1)
    layer.shift.data.copy_(torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(layer(torch.tensor([[10.0, -10.0]])), torch.tensor([[2.0, 1.0]]))


def test_drop_path_keeps_or_drops_whole_images_and_preserves_the_mean():
    torch.manual_seed(0)
    layer, x = DropPath(0.25), torch.ones(4000, 2, 3)
    y = layer(x)
    assert sorted(y.unique().tolist()) == pytest.approx([0, 1 / 0.75])
    assert (y.flatten(1).amax(1) == y.flatten(1).amin(1)).all()
    assert y.mean().item() == pytest.approx(1, abs=0.04)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize(("side", "window"), [(6, 3), (14, 7), (3, 3), (4, 1)])
def test_windows_are_squares_row_by_row_and_join_to_the_map(side, window):
    x = random(2, side, side, 3).detach()
    windows = split_windows(x, window)
    n = side // window
    for i in range(n * n):
        top, left = window * (i // n), window * (i % n)
        assert torch.equal(windows[:, i], x[:, top : top + window, left : left + window].flatten(1, 2))
    assert torch.equal(join_windows(windows, window), x)


def test_summary_tokens_mix_offset_pools_that_count_their_padding():
    layer = SummaryTokens(1, 3).double()
    layer.mix.data.fill_(0.25)
    x = torch.arange(36, dtype=torch.float64).view(1, 6, 6, 1)
    square = x[0, :, :, 0]
    # padding 1 moves the pools up and left: they see rows and columns -1..1 and 2..4, and never the last ones
    seen = [
        (slice(0, 2), slice(0, 2)),
        (slice(0, 2), slice(2, 5)),
        (slice(2, 5), slice(0, 2)),
        (slice(2, 5), slice(2, 5)),
    ]
    expected = [0.25 * square[s].max() + 0.75 * square[s].sum() / 9 for s in seen]
    torch.testing.assert_close(layer(x)[0, :, 0], torch.stack(expected))


def test_nearest_upsampling_repeats_each_token():
    x = random(2, 2, 2, 3).detach()
    expected = F.interpolate(x.permute(0, 3, 1, 2), scale_factor=3, mode="nearest").permute(0, 2, 3, 1)
    assert torch.equal(upsample_nearest(x, 3), expected)
