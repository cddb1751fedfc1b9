"""Layers of packed models against the torch model in float64, each fed with the reference's map."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bhvit import PRECISIONS
from bhvit.export.packed import pack
from bhvit.layer_terms import HEAD, STEM
from bhvit.layers import QuantLinear
from bhvit.pyramid import Pyramid
from bhvit.quantizers.binary import Sign
from bhvit.quantizers.learned_step import LearnedStep
from bhvit.quantizers.probability import LearnedStepProbability, ProbabilityDecomposition, ProbabilityPlane
from bhvit.runtime import load
from tests.bhvit.randomised import randomised
from tests.bhvit.runtime.networks import FAMILIES, layers_of_widths, random_header, runtimes

TOLERANCE = 1e-4  # of the mean magnitude of a layer's outputs
CLOSE_SIGN = 1e-5  # distance from 0 below which rounding may decide
CLOSE_LEVEL = 1e-4  # of a level; levels go up to 255, so this is as close
FEW = 0.1  # outputs that a decision of rounding may move


def torch_layers(model: Pyramid) -> list[Callable[[Tensor], Tensor]]:
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
def decisions(model: Pyramid) -> Iterator[list[bool]]:
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
            case ProbabilityPlane():
                level((arguments[0] / module.step.abs()).clamp(0, 1))
            case LearnedStepProbability():
                level(arguments[0] / module.step.abs()[:, None, None])

    hooks = [module.register_forward_pre_hook(look) for module in model.modules()]
    try:
        yield clear
    finally:
        for hook in hooks:
            hook.remove()


def errors(model: Pyramid, path: Path, seed: int) -> Iterator[tuple[str, Tensor, float]]:
    """(runtime and layer, error of every output in units of their mean magnitude, share that may be wrong).

    None may be where no decision is in doubt; elsewhere few, or as many as are wrong in PyTorch's own float32.
    """
    packed = {name: load(path, instruction_set=name) for name in runtimes()}
    reference, side = copy.deepcopy(model).double(), model.architecture.image_size
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed))
    for i, (layer, own) in enumerate(zip(torch_layers(reference), torch_layers(model), strict=True)):
        with torch.no_grad(), decisions(reference) as clear:
            y = layer(x.double())
        with torch.no_grad():
            few = 0.0 if all(clear) else max(FEW, _wrong((own(x)[0] - y[0]).abs() / y.abs().mean()))
        for name, runnable in packed.items():
            found = torch.from_numpy(runnable.runtime.run_layer(i, x[0].numpy()))
            assert found.shape == y[0].shape
            yield f"{name} {runnable.layers[i]}", (found - y[0]).abs() / y.abs().mean(), few
        x = y.float()


def check_layers(family: str, seed: int, path: Path) -> None:
    """Every output agrees; where rounding may decide a sign or a level, nearly every one."""
    model = randomised(random_header(seed, family), seed)
    pack(model, path)
    for what, error, few in errors(model, path, seed):
        assert _wrong(error) <= few, (what, float(error.max()), _wrong(error))


def _wrong(error: Tensor) -> float:
    """Share of outputs beyond the tolerance."""
    return float((error > TOLERANCE).double().mean())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(10))
def test_every_layer_gives_what_float64_gives(seed: int, family: str, tmp_path: Path) -> None:
    check_layers(family, seed, tmp_path / "m.bhvit")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_of_many_models_gives_what_float64_gives(family: str, tmp_path: Path) -> None:
    for seed in range(100, 250):
        check_layers(family, seed, tmp_path / "m.bhvit")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_wrong_weight_in_a_layer_does_not_go_unnoticed(precision: str, family: str, tmp_path: Path) -> None:
    """The tolerance is far below what one wrong sign or level of a layer's first product does."""
    model = randomised(layers_of_widths(precision, family))
    changed = copy.deepcopy(model)
    for module in changed.modules():
        if hasattr(module, "weight_quantizer"):
            weights = module.weight.data.flatten()
            weights[weights.abs().argmax()].neg_()  # which no precision has as 0
    pack(changed, tmp_path / "changed.bhvit")
    for what, error, _ in errors(model, tmp_path / "changed.bhvit", seed=0):
        if not what.endswith((STEM, HEAD)):  # these two are not quantized
            assert error.max() > 10 * TOLERANCE, what
