"""Layers of packed models against the torch model in float64, each fed with the reference's map."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
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

CLOSE = 1e-5  # distance from a threshold below which rounding may decide


def torch_layers(model: BHViT) -> list[Callable[[Tensor], Tensor]]:
    """What `Model.layers` are, as functions of maps (1, r, r, C)."""
    layers: list[Callable[[Tensor], Tensor]] = [model.stem]
    for i, blocks in enumerate(model.blocks):
        if i:
            layers.append(model.downsamples[i - 1])
        for block in blocks:
            layers.append(lambda h, b=block: h + b.mixer(b.norm_before(h)))
            layers.append(lambda h, b=block: b.mlp(v := b.norm_after(h)) + b.shifts(v) + h)
    return [*layers, model.head]


@contextmanager
def thresholds(model: BHViT) -> Iterator[list[float]]:
    """Distances from the next threshold, the smallest of each quantization that happens, in units of its levels."""
    distances: list[float] = []

    def before_sign(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        x, *shift = arguments
        distances.append(float((x + shift[0] if shift and shift[0] is not None else x).abs().min()))

    def before_binary_linear(module: QuantLinear, arguments: tuple[Tensor]) -> None:
        before_sign(module, (arguments[0], module.shift))

    def before_rounding(ratio: Tensor) -> None:
        distances.append(float(((ratio - ratio.floor()) - 0.5).abs().min()))

    def before_step(module: LearnedStep, arguments: tuple[Tensor, ...]) -> None:
        x, *shift = arguments
        before_rounding((x + shift[0] if shift and shift[0] is not None else x) / module.step.abs())

    def before_probability(module: nn.Module, arguments: tuple[Tensor]) -> None:
        if isinstance(module, ProbabilityDecomposition):
            before_rounding(3 * arguments[0] / module.alpha[:, None, None] + module.zero_point[:, None, None])
        else:
            before_rounding(arguments[0] / module.step.abs()[:, None, None])

    kinds = {Sign: before_sign, LearnedStep: before_step}
    kinds |= {ProbabilityDecomposition: before_probability, LearnedStepProbability: before_probability}
    hooks = [m.register_forward_pre_hook(kinds[type(m)]) for m in model.modules() if type(m) in kinds]
    binary = [m for m in model.modules() if isinstance(m, QuantLinear) and m.precision.name == "binary"]
    hooks += [m.register_forward_pre_hook(before_binary_linear) for m in binary]
    try:
        yield distances
    finally:
        for hook in hooks:
            hook.remove()


SHAPES = [(96, 3), (160, 5), (64, 1), (224, 7)]  # image, window
quarters = st.integers(1, 12).map(lambda n: 4 * n)


@st.composite
def models(draw) -> BHViT:
    side, window = draw(st.sampled_from(SHAPES))
    heads = [1, 1, draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 2, 4]))]
    dims = [draw(quarters) for _ in range(2)] + [draw(st.integers(1, 4)) * 12 for _ in range(2)]
    architecture = ArchitectureConfig.from_lists(
        dims,
        [draw(st.integers(1, 150)) for _ in range(4)],
        [1, 1, 1, 1],
        heads,
        side,
        window,
        num_classes=draw(st.integers(1, 20)),
        shifts=draw(st.sampled_from([(), (3,), (5,), (3, 5)])),
        downsample_form=draw(st.sampled_from(["auto", "plain", "residual"])),
    )
    precisions = {address: draw(st.sampled_from([*PRECISIONS.values()])) for address in architecture.addresses}
    torch.manual_seed(0)
    model = build_model(architecture, PrecisionPlan.of_layers(precisions), draw(st.sampled_from(["batch", "layer"])))
    return randomised(model, seed=draw(st.integers(0, 1000)))


def disagreement(
    model: BHViT, path: Path, image: Tensor, runtimes: Sequence[str]
) -> Iterator[tuple[str, Tensor, float]]:
    """(what, error of every output in units of their mean magnitude, distance from a threshold), layer by layer."""
    pack(model, path)
    packed = {name: load(path, instruction_set=name) for name in runtimes}
    reference = copy.deepcopy(model).double()
    x = image[None]
    for i, layer in enumerate(torch_layers(reference)):
        with torch.no_grad(), thresholds(reference) as distances:
            y = layer(x.double())
        for name, runnable in packed.items():
            found = torch.from_numpy(runnable.runtime.run_layer(i, x[0].numpy()))
            assert found.shape == y[0].shape
            yield f"{name} {runnable.layers[i]}", (found - y[0]).abs() / y.abs().mean(), min(distances, default=1.0)
        x = y.float()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(model=models(), seed=st.integers(0, 100))
def test_every_layer_gives_what_float64_gives(
    model: BHViT, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Everywhere, unless rounding may decide a sign or a level; then nearly everywhere."""
    side = model.architecture.image_size
    image = torch.randn(3, side, side, generator=torch.Generator().manual_seed(seed))
    path = tmp_path_factory.mktemp("packed") / "m.bhvit"
    for what, error, distance in disagreement(model, path, image, runtimes()):
        wrong = float((error > 1e-4).double().mean())
        assert wrong <= (0 if distance > CLOSE else 0.1), (what, float(error.max()), wrong, distance)
