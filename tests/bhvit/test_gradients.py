"""Hand-written gradients against finite differences; the straight-through ones are in `test_quantizers`."""

import pytest
import torch
from torch.autograd import gradcheck

from bhvit.layers import Branches, RPReLU, pool_channels, tile_channels

SHIFTS = {"directions": ("height", "width", "quarters"), "circular": True}
POOLS = {"directions": ("height", "width"), "circular": False}


def random(*shape, seed=0):
    """Values at least 0.01 away from 0, so that no finite difference crosses a kink there."""
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (x + 0.01 * x.sign()).requires_grad_()


def with_parameters(module, x):
    """`module` as a function of `x` and of all its parameters, which get distinct values."""
    names = [name for name, _ in module.named_parameters()]
    values = [random(*p.shape, seed=i + 1) for i, p in enumerate(module.parameters())]

    def call(x, *values):
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x,))

    return call, (x, *values)


@pytest.mark.parametrize("with_residual", [False, True])
def test_rprelu_has_the_gradient_of_its_values(with_residual):
    module, x = RPReLU(5).double(), random(2, 3, 5)
    residual = random(2, 3, 5, seed=9) if with_residual else None
    values = [random(5, seed=i) for i in (1, 2, 3)]
    u = x + (0 if residual is None else residual) - values[0]
    assert u.min() < -0.01 < 0.01 < u.max()
    assert u.abs().min() > 1e-4

    def call(x, residual, shift_in, slope, shift_out):
        parameters = {"shift_in": shift_in, "slope": slope, "shift_out": shift_out}
        return torch.func.functional_call(module, parameters, (x, residual))

    assert gradcheck(call, (x, residual, *values))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_pooling_has_the_gradient_of_its_values(channels):
    assert gradcheck(lambda x: pool_channels(x, channels), random(2, 3, 6))


@pytest.mark.parametrize("channels", [3, 6, 12, 14])
def test_tiling_has_the_gradient_of_its_values(channels):
    assert gradcheck(lambda x: tile_channels(x, channels), random(2, 3, 6))


@pytest.mark.parametrize("side", [1, 3, 6])
@pytest.mark.parametrize("radii", [{3: 1}, {3: 1, 5: 2}])
@pytest.mark.parametrize("form", [SHIFTS, POOLS])
def test_branches_have_the_gradient_of_their_values(radii, form, side):
    call, inputs = with_parameters(Branches(4, radii, **form).double(), random(2, side, side, 4))
    assert gradcheck(call, inputs)


@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_pooling_takes_tokens_of_any_layout(layout):
    x = random(3, 2, 6)
    x = x if layout == "contiguous" else x.transpose(0, 1)
    expected = torch.stack([x[..., :3].mean(-1), x[..., 3:].mean(-1)], dim=-1)
    torch.testing.assert_close(pool_channels(x, 2), expected, rtol=1e-12, atol=1e-12)
