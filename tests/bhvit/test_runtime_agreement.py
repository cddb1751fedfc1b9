"""Layers of packed models against the torch model in float64, each fed with the reference's map."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bhvit import PRECISIONS, ArchitectureConfig, PrecisionPlan
from bhvit.export.packed import pack
from bhvit.layers import QuantLinear
from bhvit.model import BHViT, build_model
from bhvit.quantizers.binary import Sign
from bhvit.quantizers.learned_step import LearnedStep
from bhvit.quantizers.probability import LearnedStepProbability, ProbabilityDecomposition
from bhvit.runtime import load
from tests.bhvit.packed_models import randomised, runtimes

TOLERANCE = 1e-4  # of the mean magnitude of a layer's outputs
CLOSE_SIGN = 1e-5  # distance from 0 below which rounding may decide
CLOSE_LEVEL = 1e-4  # of a level; levels go up to 255, so this is as close
FEW = 0.1  # outputs that a decision of rounding may move

SHAPES = [(96, 3), (160, 5), (64, 1), (224, 7)]  # image, window
quarters = st.integers(1, 12).map(lambda n: 4 * n)
dozens = st.integers(1, 4).map(lambda n: 12 * n)


@st.composite
def models(draw: st.DrawFn) -> BHViT:
    side, window = draw(st.sampled_from(SHAPES))
    architecture = ArchitectureConfig.from_lists(
        [draw(quarters), draw(quarters), draw(dozens), draw(dozens)],
        [draw(st.integers(1, 150)) for _ in range(4)],
        [1, 1, 1, 1],
        [1, 1, draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 2, 4]))],
        side,
        window,
        num_classes=draw(st.integers(1, 20)),
        shifts=draw(st.sampled_from([(), (3,), (5,), (3, 5)])),
        downsample_form=draw(st.sampled_from(["auto", "plain", "residual"])),
    )
    layers = {address: draw(st.sampled_from([*PRECISIONS.values()])) for address in architecture.addresses}
    model = build_model(architecture, PrecisionPlan.of_layers(layers), draw(st.sampled_from(["batch", "layer"])))
    return randomised(model, seed=draw(st.integers(0, 1000)))


def torch_layers(model: BHViT) -> list[Callable[[Tensor], Tensor]]:
    """What the addresses of `Model.layers` are, as functions of maps (1, r, r, C)."""
    layers: list[Callable[[Tensor], Tensor]] = [model.stem]
    for i, blocks in enumerate(model.blocks):
        if i:
            layers.append(model.downsamples[i - 1])
        for block in blocks:
            layers.append(lambda h, b=block: h + b.mixer(b.norm_before(h)))
            layers.append(lambda h, b=block: h + b.mlp(b.norm_after(h)) + b.shifts(b.norm_after(h)))
    return [*layers, model.head]


@contextmanager
def decisions(model: BHViT) -> Iterator[list[bool]]:
    """Gets, for every quantization that happens, whether every sign and level is beyond the doubt of rounding."""
    clear: list[bool] = []

    def sign(x: Tensor, shift: Tensor | None = None) -> None:
        clear.append(bool(((x if shift is None else x + shift).abs() > CLOSE_SIGN).all()))

    def level(ratio: Tensor) -> None:
        clear.append(bool(((ratio - ratio.floor() - 0.5).abs() > CLOSE_LEVEL).all()))

    def look(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        match module:
            case Sign():
                sign(*arguments)
            case QuantLinear() if module.precision.name == "binary":  # takes signs itself
                sign(arguments[0], module.shift)
            case LearnedStep():
                x, *shift = arguments
                level((x + shift[0] if shift and shift[0] is not None else x) / module.step.abs())
            case ProbabilityDecomposition():
                level(3 * arguments[0] / module.alpha[:, None, None] + module.zero_point[:, None, None])
            case LearnedStepProbability():
                level(arguments[0] / module.step.abs()[:, None, None])

    hooks = [module.register_forward_pre_hook(look) for module in model.modules()]
    try:
        yield clear
    finally:
        for hook in hooks:
            hook.remove()


def errors(model: BHViT, path: Path, seed: int) -> Iterator[tuple[str, Tensor, bool]]:
    """(runtime and layer, error of every output in units of their mean magnitude, no decision in doubt)."""
    pack(model, path)
    packed = {name: load(path, instruction_set=name) for name in runtimes()}
    reference, side = copy.deepcopy(model).double(), model.architecture.image_size
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed))
    for i, layer in enumerate(torch_layers(reference)):
        with torch.no_grad(), decisions(reference) as clear:
            y = layer(x.double())
        for name, runnable in packed.items():
            found = torch.from_numpy(runnable.runtime.run_layer(i, x[0].numpy()))
            assert found.shape == y[0].shape
            yield f"{name} {runnable.layers[i]}", (found - y[0]).abs() / y.abs().mean(), all(clear)
        x = y.float()


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(model=models(), seed=st.integers(0, 100))
def test_every_layer_gives_what_float64_gives(
    model: BHViT, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Everywhere; where rounding may decide a sign or a level, nearly everywhere."""
    for what, error, clear in errors(model, tmp_path_factory.mktemp("packed") / "m.bhvit", seed):
        wrong = float((error > TOLERANCE).double().mean())
        assert wrong <= (0 if clear else FEW), (what, float(error.max()), wrong)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_weight_that_is_off_by_one_level_does_not_go_unnoticed(precision: str, tmp_path: Path) -> None:
    """The tolerance above is far from what one wrong sign or level does, in every layer."""
    shape = ([8, 8, 24, 24], [32] * 4, [1] * 4, [1, 1, 2, 2], 96, 3)
    model = randomised(build_model(ArchitectureConfig.from_lists(*shape), PrecisionPlan.uniform(precision)), seed=0)
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for module in changed.modules():
            if hasattr(module, "weight_quantizer"):
                module.weight.flatten()[5].neg_()
    pack(changed, tmp_path / "changed.bhvit")
    packed, reference = load(tmp_path / "changed.bhvit"), copy.deepcopy(model).double()
    x = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    for i, layer in enumerate(torch_layers(reference)):
        with torch.no_grad():
            y = layer(x.double())
        error = (torch.from_numpy(packed.runtime.run_layer(i, x[0].numpy())) - y[0]).abs() / y.abs().mean()
        assert 0 < i < len(packed.layers) - 1 or error.max() <= TOLERANCE
        assert i in (0, len(packed.layers) - 1) or error.max() > 10 * TOLERANCE, packed.layers[i]
        x = y.float()
