"""Complete accounting against the instantiated model: parameters by counting them, MACs by PyTorch's flop counter."""

import dataclasses
import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bhvit import FAMILIES, PRECISIONS, Family, PrecisionPlan, cost_of
from bhvit.architecture import WINDOWS
from bhvit.staged import Architecture

SEEDS = range(8)
DOWNSAMPLE_FORMS = ["auto", "residual", "plain"]


def _bhvit_options(draw: random.Random, side: int) -> dict[str, Any]:
    return {
        "window_size": draw.choice([window for window in WINDOWS if side % (32 * window) == 0]),
        "shifts": draw.choice([(), (3,), (5,), (3, 5)]),
        "downsample_form": draw.choice(DOWNSAMPLE_FORMS),
    }


def _binaryvit_options(draw: random.Random, side: int) -> dict[str, Any]:
    sides = [side // 4 // 2**i for i in range(4)]
    return {
        "reductions": tuple(draw.choice([ratio for ratio in (1, 2, 3, 4, 8) if s % ratio == 0]) for s in sides),
        "pools": draw.choice([(), (3,), (5,), (3, 5)]),
        "layer_scale": draw.choice([True, False]),
        "downsample_form": draw.choice(DOWNSAMPLE_FORMS),
    }


OPTIONS: dict[str, Callable[[random.Random, int], dict[str, Any]]] = {
    "bhvit": _bhvit_options,
    "binaryvit": _binaryvit_options,
}
"""Families with options of their own."""


def drawn(family: Family, seed: int) -> tuple[Architecture, PrecisionPlan, str]:
    """A random legal architecture, a plan with a random precision for every layer, and a norm."""
    draw = random.Random(seed)
    side = draw.choice([64, 96, 160, 192])
    options = OPTIONS[family.name](draw, side) if family.name in OPTIONS else {}
    preset = draw.choice(list(family.presets.values()))
    stages = tuple(dataclasses.replace(stage, depth=draw.randint(1, 2)) for stage in preset.stages)
    shape = dataclasses.replace(preset, stages=stages).with_options(
        image_size=side, num_classes=draw.randint(2, 50), **options
    )
    factors = [[draw.uniform(0.005, 0.2) for _ in stages] for _ in range(2)]
    architecture = shape.scaled(*factors)
    some = draw.sample(family.config.precisions, draw.randint(1, len(family.config.precisions)))
    plan = PrecisionPlan.uniform(some[0])
    for address in architecture.addresses:
        plan = plan.with_layers(address, draw.choice(some))
    return architecture, plan, draw.choice(family.config.norms)


def built(family: Family, architecture: Architecture, plan: PrecisionPlan, norm: str) -> torch.nn.Module:
    with torch.device("meta"):
        return family.build_model(architecture, plan, norm=norm).eval()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_parameters_agree_with_the_instantiated_model_layer_by_layer(family: Family, seed: int) -> None:
    architecture, plan, norm = drawn(family, seed)
    model = built(family, architecture, plan, norm)
    counted = {
        address: sum(p.numel() for part in parts for p in part.parameters())
        for address, parts in model.modules_by_address().items()
    }
    weights = {a: sum(layer.weight.numel() for layer in its) for a, its in model.weight_layers.items()}
    report = cost_of(architecture, plan, "complete", norm)
    assert {row.address: row.parameters for row in report.layers} == counted
    assert {row.address: row.terms.weights for row in report.layers} == weights
    assert report.total.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_macs_per_precision_agree_with_the_flop_counter(family: Family, seed: int) -> None:
    architecture, plan, norm = drawn(family, seed)
    model = built(family, architecture, plan, norm)
    images = torch.empty(1, 3, architecture.image_size, architecture.image_size, device="meta")
    address_of = {id(part): a for a, parts in model.modules_by_address().items() for part in parts}
    whole = type(model).__name__
    names = {f"{whole}.{name}": address_of[id(m)] for name, m in model.named_modules() if id(m) in address_of}
    with FlopCounterMode(display=False, depth=None) as counter, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(images)
    counts = counter.get_flop_counts()
    counted = dict.fromkeys(PRECISIONS, 0)
    layers = cost_of(architecture, plan, norm=norm).layers
    precision_of = {row.address: row.precision.name for row in layers}
    for name, address in names.items():
        flops = sum(counts.get(name, {}).values())
        assert flops % 2 == 0
        counted[precision_of[address]] += flops // 2
    assert cost_of(architecture, plan, "complete", norm).macs_by_precision == counted
    assert sum(counted.values()) == counter.get_total_flops() // 2
