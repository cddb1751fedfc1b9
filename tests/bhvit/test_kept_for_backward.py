"""The layers that compute again instead of keeping: same values and gradients as plain operators, and less kept."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from bhvit import PRECISIONS, ArchitectureConfig
from bhvit.layers import Pool, QuantLinear, ResidualLinear, RPReLU, Tile, norm_factory, normed_with_residuals
from bhvit.layers.binary_linear import binary_linear
from bhvit.layers.channels import Same
from bhvit.quantizers.binary import BinaryWeight, Sign
from tests.bhvit.small import small_model

BINARY, FP32 = PRECISIONS["binary"], PRECISIONS["fp32"]
ARCHITECTURE = ArchitectureConfig.from_lists((8, 16, 16, 32), (16, 16, 32, 64), (1, 1, 2, 1), (1, 1, 2, 4), 96, 3, 5)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def scrambled(module):
    """`module` in float64 with distinct values in every parameter."""
    module = module.double()
    for i, p in enumerate(module.parameters()):
        p.data.add_(0.3 * random(*p.shape, seed=i + 1).detach())
    return module


def plain_program():
    path = Path(__file__).parents[2] / "benchmarks" / "plain_bhvit.py"
    spec = importlib.util.spec_from_file_location("plain_bhvit", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.plain_logits


def kept(run, parameters):
    """Shapes of what autograd keeps of `run()`, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in parameters}
    found = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sorted((tuple(t.shape) for t in found.values() if t.dim() > 1), key=str)


@pytest.mark.parametrize("residuals", [1, 3])
@pytest.mark.parametrize(
    ("resize", "channels"), [(Same(), 6), (Tile(), 3), (Tile(), 4), (Tile(), 9), (Pool(), 12), (Pool(), 9), (Pool(), 5)]
)
def test_normed_residuals_equal_the_separate_modules_with_their_gradients(resize, channels, residuals):
    norm, rprelu, z = scrambled(norm_factory("batch")(6)), scrambled(RPReLU(6)), random(2, 5, 7, 6)
    parts = tuple(random(2, 5, 7, channels, seed=20 + i) for i in range(residuals))
    reference = scrambled(norm_factory("batch")(6))
    sources = [z, *parts, *norm.parameters(), *rprelu.parameters()]
    grad = random(2, 5, 7, 6, seed=9).detach()

    y = normed_with_residuals(z, parts, norm, rprelu, resize)
    expected = rprelu(reference(z) + sum(resize(part, 6) for part in parts))

    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    theirs = [z, *parts, *reference.parameters(), *rprelu.parameters()]
    ours, theirs = torch.autograd.grad(y, sources, grad), torch.autograd.grad(expected, theirs, grad)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)
    for name, value in reference.named_buffers():
        torch.testing.assert_close(norm.get_buffer(name), value)


@pytest.mark.parametrize("recu", [False, True])
def test_a_binary_product_equals_its_quantizers_with_their_gradients(recu):
    x, shift, weight = random(3, 4, 10), random(10, seed=1), random(7, 10, seed=2)
    grad = random(3, 4, 7, seed=3).detach()
    ours, theirs = binary_linear(x, shift, weight, recu), F.linear(Sign()(x, shift), BinaryWeight(recu)(weight))
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)
    pairs = zip(
        torch.autograd.grad(ours, (x, shift, weight), grad),
        torch.autograd.grad(theirs, (x, shift, weight), grad),
        strict=True,
    )
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_real_layer_gives_in_training_what_it_gives_in_evaluation():
    layer, x = scrambled(QuantLinear(10, 7, FP32, recu=True)), random(3, 4, 10)
    in_training = layer.train()(x)
    torch.testing.assert_close(in_training, layer.eval()(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("precision", [BINARY, FP32])
def test_a_residual_layer_keeps_its_input_and_its_product_only(precision):
    layer = ResidualLinear(6, 12, precision, norm_factory("batch"), True, Tile()).train()
    x = torch.randn(2, 9, 6, requires_grad=True)
    assert kept(lambda: layer(x), layer.parameters()) == [(2, 9, 12), (2, 9, 6)]


@pytest.mark.parametrize("precision", ["fp32", "binary"])
def test_the_network_has_the_logits_and_gradients_of_plain_operators(precision):
    model = scrambled(small_model(precision, ARCHITECTURE)).train()
    images = random(3, 3, 96, 96).detach()
    model(images)  # quantizers take their scales
    grad = random(3, 5, seed=8).detach()
    found = []
    for run in (lambda: model(images), lambda: plain_program()(model, images)):
        logits = run()
        found.append((logits, *torch.autograd.grad(logits, list(model.parameters()), grad)))
    for ours, plain in zip(*found, strict=True):
        scale = max(1.0, float(plain.detach().abs().max()))
        torch.testing.assert_close(ours / scale, plain / scale, rtol=0, atol=1e-11)


@pytest.mark.parametrize("precision", ["fp32", "binary"])
def test_the_network_keeps_less_than_seven_tenths_of_what_plain_operators_keep(precision):
    model = small_model(precision, ARCHITECTURE).train()
    images = torch.randn(2, 3, 96, 96)
    model(images)

    def elements(run):
        return sum(torch.Size(shape).numel() for shape in kept(run, model.parameters()))

    assert elements(lambda: model(images)) < 0.7 * elements(lambda: plain_program()(model, images))


def test_gradients_under_bfloat16_autocast_stay_close_to_those_of_float32():
    layer = ResidualLinear(32, 64, BINARY, norm_factory("batch"), True, Tile()).train()
    x = torch.randn(4, 25, 32, generator=torch.Generator().manual_seed(0))
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = layer(x)
        gradients = torch.autograd.grad(y.float().square().mean(), list(layer.parameters()))
        assert all(g.dtype == torch.float32 for g in gradients)
        found.append(torch.cat([g.flatten() for g in gradients]))
    assert F.cosine_similarity(*found, dim=0) > 0.99
