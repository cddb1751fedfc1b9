import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bhvit import PRECISIONS, InvalidInput, Precision
from bhvit.quantizers import QUANTIZERS, quantizers_of
from bhvit.quantizers.binary import BinaryWeight, Sign
from bhvit.quantizers.learned_step import LearnedStep
from bhvit.quantizers.probability import LearnedStepProbability, ProbabilityDecomposition
from bhvit.quantizers.ternary import TernaryWeight
from bhvit.quantizers.uniform import UniformWeight

SEVERAL_BITS = [p.name for p in PRECISIONS.values() if 1 < p.activation_bits < 16]


def leaf(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_sign_has_two_levels_and_the_polynomial_gradient():
    x = leaf([[-2.0, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0, 3.0]])
    y = Sign()(x)
    y.backward(torch.full_like(y, 10.0))
    assert y.tolist() == [[-1, -1, -1, 1, 1, 1, 1, 1]]
    assert x.grad.tolist() == [[0, 0, 10, 20, 20, 15, 0, 0]]


def test_the_shift_of_a_sign_moves_its_threshold_and_collects_the_gradient():
    x, shift = leaf([[0.2, -0.4], [-0.6, 0.9]]), leaf([0.5, -1.0])
    y = Sign()(x, shift)
    y.backward(torch.ones_like(y))
    assert y.tolist() == [[1, -1], [-1, -1]]
    # 2 - 2|x + shift|: [[0.6, 0], [1.8, 1.8]]
    torch.testing.assert_close(x.grad, torch.tensor([[0.6, 0.0], [1.8, 1.8]], dtype=torch.float64))
    torch.testing.assert_close(shift.grad, torch.tensor([2.4, 1.8], dtype=torch.float64))


def test_a_negative_zero_is_positive_even_after_a_shift_of_negative_zero():
    assert Sign()(torch.tensor([[-0.0]]), torch.tensor([-0.0])).item() == 1


def test_binary_weight_is_scaled_sign_of_the_centred_row():
    weight = leaf([[1.0, -3.0, 5.0, 1.0]])
    quantized = BinaryWeight(recu=False)(weight)
    quantized.backward(leaf([[1.0, 2.0, 3.0, 4.0]]).detach())
    assert quantized.tolist() == [[2.5, -2.5, 2.5, 2.5]]  # scale 10 / 4, centred 0, -4, 4, 0
    assert weight.grad.tolist() == [[-0.25, -1.25, -1.25, 2.75]]  # [1, 0, 0, 4] less its mean


@pytest.mark.parametrize("recu", [False, True])
@pytest.mark.parametrize("shape", [(6, 10), (4, 3, 3, 3), (2, 40)])
@pytest.mark.parametrize("deviation", [0.02, 0.6])
def test_binary_weight_has_the_gradient_of_the_clamped_standardised_weight(recu, shape, deviation):
    """Oracle: the definition, differentiated by autograd."""
    weight = (deviation * random(*shape).detach()).requires_grad_()
    rows = weight.flatten(1)
    v, tau = rows - rows.mean(1, keepdim=True), torch.tensor(1.0)
    if recu:
        v = v / ((v.var(1, keepdim=True) + 1e-5).sqrt() / (2 * math.sqrt(2)))
        tau = -math.log(2 - 2 * 0.92) * v.detach().abs().mean()
    surrogate = torch.minimum(torch.maximum(v, -tau), tau)
    forward = rows.detach().abs().mean(1, keepdim=True) * v.detach().sign()
    grad = random(*shape, seed=1).detach()
    expected_grad = torch.autograd.grad(surrogate.view(shape), weight, grad)[0]
    quantized = BinaryWeight(recu)(weight)
    torch.testing.assert_close(quantized.flatten(1), forward, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(torch.autograd.grad(quantized, weight, grad)[0], expected_grad, rtol=1e-11, atol=1e-12)


def test_a_binary_weight_with_a_fan_in_of_one_is_finite():
    weight = random(3, 1)
    quantized = BinaryWeight(recu=True)(weight)
    quantized.sum().backward()
    assert quantized.isfinite().all()
    assert weight.grad.isfinite().all()


@given(
    st.integers(2, 8),
    st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3), min_size=1, max_size=4),
)
def test_uniform_weights_lie_on_their_levels_and_within_half_a_step(bits, rows):
    weight = torch.tensor(rows, dtype=torch.float64)
    quantizer = UniformWeight(bits)
    quantized, step = quantizer(weight), quantizer.parts(weight)[1][:, None]
    levels = quantized / step
    assert (levels - levels.round()).abs().max() < 1e-6
    assert levels.abs().max() < 2 ** (bits - 1) - 1 + 1e-6
    assert ((quantized - weight).abs() <= step * (0.5 + 1e-9)).all()


def test_each_output_channel_has_its_own_uniform_step():
    weight = torch.tensor([[7.0, 3.4, -0.6], [0.7, 0.0, 0.34], [0.0, 0.0, 0.0]])
    expected = torch.tensor([[7.0, 3.0, -1.0], [0.7, 0.0, 0.3], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(UniformWeight(4)(weight), expected)


def test_ternary_weights_have_the_threshold_and_scale_of_their_paper():
    weight = torch.tensor([[1.0, -3.0, 0.5, -0.7, 0.0, 0.8], [0.2, 0.2, 0.2, -0.2, -0.2, -0.2], [0.0] * 6])
    # Means of |W|: 1, 0.2, 0; thresholds 0.7, 0.14, 0; -0.7 is not beyond it in exact arithmetic, nor here
    quantized = TernaryWeight()(weight.double())
    scale = (1 + 3 + 0.8) / 3
    expected = [[scale, -scale, 0, 0, 0, scale], [0.2, 0.2, 0.2, -0.2, -0.2, -0.2], [0] * 6]
    torch.testing.assert_close(quantized, torch.tensor(expected, dtype=torch.float64), rtol=1e-7, atol=0)


@given(st.integers(0, 2**32 - 1), st.sampled_from([(3, 7), (4, 2, 3, 3), (2, 1)]))
def test_ternary_weights_are_those_of_a_plain_loop(seed, shape):
    weight = random(*shape, seed=seed).detach()
    quantized = TernaryWeight()(weight)
    for row, found in zip(weight.flatten(1).tolist(), quantized.flatten(1).tolist(), strict=True):
        threshold = 0.7 * sum(abs(w) for w in row) / len(row)
        beyond = [abs(w) for w in row if abs(w) > threshold]
        scale = sum(beyond) / len(beyond)
        expected = [0 if abs(w) <= threshold else math.copysign(scale, w) for w in row]
        assert found == pytest.approx(expected, rel=1e-12)
        assert len({abs(value) for value in found if value}) == 1  # the same to the last bit


def test_the_ternary_scale_has_the_smallest_error_for_its_zeros():
    weight = random(5, 200).detach()
    levels, scale = TernaryWeight().parts(weight)
    best = (weight * levels).sum(1) / levels.square().sum(1)  # least squares
    torch.testing.assert_close(scale, best)


def test_the_ternary_scale_of_wide_rows_is_finite_in_half_precision():
    weight = torch.full((1, 4096), 300.0, dtype=torch.float16)  # their sum is not
    assert torch.equal(TernaryWeight()(weight), weight)


@pytest.mark.parametrize("quantizer", [TernaryWeight(), UniformWeight(4)], ids=["ternary", "uniform"])
def test_weights_of_levels_pass_the_gradient_straight_through(quantizer):
    weight, grad = random(3, 5), random(3, 5, seed=1).detach()
    quantizer(weight).backward(grad)
    assert torch.equal(weight.grad, grad)


@pytest.mark.parametrize("name", [p.name for p in PRECISIONS.values() if not p.real_valued])
@pytest.mark.parametrize("shape", [(6, 10), (4, 3, 3, 3)])
def test_quantized_weights_are_their_levels_times_their_scales(name, shape):
    weight = random(*shape).detach().float()
    quantizer = QUANTIZERS[name].weight(False, True)
    levels, scale = quantizer.parts(weight)
    assert levels.dtype == torch.int8
    assert levels.shape == shape
    assert torch.equal(quantizer(weight).flatten(1), levels.flatten(1) * scale[:, None])


def learned_step(value, bits=4):
    quantizer = LearnedStep(bits).double().train()
    quantizer.step.data.fill_(value)
    quantizer.first_batch.done.fill_(True)
    return quantizer


@pytest.mark.parametrize("step", [0.5, -0.5])
def test_learned_step_has_the_values_and_gradients_of_its_paper(step):
    quantizer = learned_step(step)
    x = leaf([[-10.0, -4.0, 0.3, 0.2, 3.5, 9.0]])  # in steps: -20, -8, 0.6, 0.4, 7, 18; levels are -8..7
    y = quantizer(x)
    y.sum().backward()
    assert y.tolist() == [[-4.0, -4.0, 0.5, 0.0, 3.5, 3.5]]
    assert x.grad.tolist() == [[0, 0, 1, 1, 0, 0]]
    along = -8 - 8 + (1 - 0.6) + (0 - 0.4) + 7 + 7
    assert quantizer.step.grad.item() == pytest.approx(math.copysign(along / math.sqrt(6 * 7), along * step))


def test_a_shift_acts_before_the_learned_step():
    quantizer, x, shift = learned_step(0.5), random(3, 4), random(4, seed=1)
    assert torch.equal(quantizer(x, shift), quantizer(x + shift))


def test_only_the_first_training_batch_sets_the_step():
    quantizer = LearnedStep(4).double()
    first, second = random(5, 3), 10 * random(5, 3, seed=1)
    quantizer.eval()(second)
    assert quantizer.step.item() == 1
    quantizer.train()(first)
    expected = 2 * first.abs().mean().item() / math.sqrt(7)
    assert quantizer.step.item() == pytest.approx(expected)
    quantizer(second)
    assert quantizer.step.item() == pytest.approx(expected)


def test_evaluation_before_training_does_not_depend_on_earlier_batches():
    quantizer, x = LearnedStep(8).double().eval(), random(5, 3)
    before = quantizer(x)
    quantizer(100 * x)
    assert torch.equal(quantizer(x), before)
    assert (before - x).abs().max() < 0.1


@pytest.mark.parametrize("make", [lambda: LearnedStep(4), lambda: ProbabilityDecomposition(2)])
def test_a_loaded_state_is_not_initialised_again(make):
    batch = random(3, 2, 4, 4).detach().softmax(-1)
    trained, fresh = make().double(), make().double()
    trained(batch)
    fresh(0.1 * batch)  # has seen a first batch of its own
    fresh.load_state_dict(trained.state_dict())
    fresh(0.5 * batch)
    assert all(
        torch.equal(a, b) for a, b in zip(trained.state_dict().values(), fresh.state_dict().values(), strict=True)
    )


def test_loading_the_state_of_a_fresh_quantizer_asks_for_a_first_batch_again():
    quantizer, x = LearnedStep(4).double(), random(4, 4)
    fresh = {k: v.clone() for k, v in quantizer.state_dict().items()}
    quantizer(x)
    quantizer.load_state_dict(fresh)
    quantizer(3 * x)
    assert quantizer.step.item() == pytest.approx(6 * x.abs().mean().item() / math.sqrt(7))


def test_probability_decomposition_has_the_values_and_straight_through_gradients_of_its_definition():
    quantizer = ProbabilityDecomposition(2).double()
    quantizer.alpha.data.copy_(torch.tensor([0.3, 0.9], dtype=torch.float64))
    quantizer.zero_point.data.copy_(torch.tensor([-0.7, 0.1], dtype=torch.float64))
    quantizer.first_batch.done.fill_(True)
    p, grad = random(3, 2, 4, 5).softmax(-1).detach().requires_grad_(), random(3, 2, 4, 5, seed=1).detach()
    alpha, zero = (q.detach().clone().requires_grad_() for q in (quantizer.alpha, quantizer.zero_point))
    real = 3 * p / alpha.view(2, 1, 1) + zero.view(2, 1, 1)
    level = real.detach().round()
    passes = ((level >= 0) & (level <= 3)).double()  # levels at the bounds pass their gradient on
    expected = alpha.view(2, 1, 1) * (level.clamp(0, 3) + (real - real.detach()) * passes)
    expected_grads = torch.autograd.grad(expected, (p, alpha, zero), grad)
    y = quantizer(p)
    y.backward(grad)
    scale = 2 / math.sqrt(p.numel() * 3)
    assert set(level.clamp(0, 3).unique().tolist()) == {0, 1, 2, 3}
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(p.grad, expected_grads[0])
    torch.testing.assert_close(quantizer.alpha.grad, scale * expected_grads[1])
    torch.testing.assert_close(quantizer.zero_point.grad, scale * expected_grads[2])


def test_the_first_training_batch_sets_scale_and_zero_of_each_head():
    quantizer = ProbabilityDecomposition(2).double()
    p = torch.tensor([[[[0.25, 0.75]], [[0.5, 0.5]]]], dtype=torch.float64)  # (1, heads, 1 query, 2 keys)
    quantizer(p)
    assert quantizer.alpha.tolist() == pytest.approx([2 * 1.5 / math.sqrt(3)] * 2)
    assert quantizer.zero_point.tolist() == pytest.approx([0.1 * 0.75, 0.1 * 1.5])


def test_integer_probabilities_learn_a_step_a_head():
    quantizer = LearnedStepProbability(4, num_heads=2).double()
    p = torch.tensor([[[[0.1, 0.9]], [[0.5, 0.5]]]], dtype=torch.float64, requires_grad=True)
    quantizer.step.data.copy_(torch.tensor([0.05, 0.2], dtype=torch.float64))
    quantizer.first_batch.done.fill_(True)
    y = quantizer(p)
    y.sum().backward()
    assert y.flatten().tolist() == pytest.approx([0.1, 0.75, 0.4, 0.4])  # 2 and 15 (clipped) steps; 2.5 rounds to 2
    scale = 1 / math.sqrt(2 * 15)
    assert quantizer.step.grad.tolist() == pytest.approx([scale * (0 + 15), scale * (-0.5 - 0.5)], abs=1e-12)
    assert p.grad.flatten().tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize("name", SEVERAL_BITS)
def test_more_bits_are_closer_to_the_real_value(name):
    """A contract of every several-bit row: at most 2^b values, error falling with the step."""
    bits = PRECISIONS[name].activation_bits
    x = random(64, 32).detach()
    quantizer = QUANTIZERS[name].activation().double()
    y = quantizer(x)
    assert y.unique().numel() <= 2**bits
    assert (y - x).square().mean().sqrt() < 3 / 2 ** (bits / 2 + 1)
    assert QUANTIZERS[name].weight(False, True)(x[:1]).unique().numel() <= 2**bits - 1


@pytest.mark.parametrize("name", PRECISIONS)
def test_every_precision_has_quantizers_that_keep_shape_dtype_and_gradient(name):
    row, x, shift = QUANTIZERS[name], random(2, 3, 8), random(8, seed=1)
    weight, p = random(4, 2, 3, 3), random(2, 2, 4, 4).softmax(-1)
    for source, result in (
        (x, row.activation().double()(x, shift)),
        (weight, row.weight(True, True)(weight)),
        (p, row.probability(2).double()(p)),
    ):
        assert result.shape == source.shape
        assert result.dtype == source.dtype
        assert torch.autograd.grad(result.sum(), source)[0].isfinite().all()


def test_a_precision_without_quantizers_is_refused():
    with pytest.raises(InvalidInput, match=f"'unheard' has none; add it, or use one of: {', '.join(QUANTIZERS)}"):
        quantizers_of(Precision("unheard", 3, 3))
