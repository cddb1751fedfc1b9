"""Complete accounting against the instantiated model: parameters by counting them, MACs by PyTorch's flop counter."""

import random
import warnings

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bhvit import PRECISIONS, ArchitectureConfig, PrecisionPlan, cost_of
from bhvit.model import build_model

NAMES = list(PRECISIONS)


def drawn(seed: int) -> tuple[ArchitectureConfig, PrecisionPlan]:
    """A random legal architecture, and a plan with a random precision for every layer."""
    draw = random.Random(seed)
    heads = [1, 1, draw.choice([1, 2, 4]), draw.choice([2, 4])]
    architecture = ArchitectureConfig.from_lists(
        embed_dims=[4 * draw.randint(1, 6) for _ in range(4)],
        intermediate_dims=[draw.randint(1, 70) for _ in range(4)],
        depths=[draw.randint(1, 2) for _ in range(4)],
        num_heads=heads,
        image_size=draw.choice([96, 192, 160]),
        window_size=1,
        num_classes=draw.randint(2, 50),
        shifts=draw.choice([(), (3,), (5,), (3, 5)]),
        downsample_form=draw.choice(["auto", "residual", "plain"]),
    )
    some = draw.sample(NAMES, draw.randint(1, len(NAMES)))
    plan = PrecisionPlan.uniform(some[0])
    for address in architecture.addresses:
        plan = plan.with_layers(address, draw.choice(some))
    window = draw.choice([w for w in (1, 3, 5) if architecture.image_size % (32 * w) == 0])
    return ArchitectureConfig(**{**vars(architecture), "window_size": window}), plan


@pytest.mark.parametrize("seed", range(25))
def test_parameters_agree_with_the_instantiated_model_layer_by_layer(seed: int) -> None:
    architecture, plan = drawn(seed)
    with torch.device("meta"):
        model = build_model(architecture, plan)
    counted = {
        address: sum(p.numel() for part in parts for p in part.parameters())
        for address, parts in model.modules_by_address().items()
    }
    report = cost_of(architecture, plan, "complete")
    assert {row.address: row.parameters for row in report.layers} == counted
    assert report.total.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("seed", range(25))
def test_macs_per_precision_agree_with_the_flop_counter(seed: int) -> None:
    architecture, plan = drawn(seed)
    with torch.device("meta"):
        model = build_model(architecture, plan).eval()
        images = torch.empty(1, 3, architecture.image_size, architecture.image_size)
    address_of = {id(part): a for a, parts in model.modules_by_address().items() for part in parts}
    names = {f"BHViT.{name}": address_of[id(m)] for name, m in model.named_modules() if id(m) in address_of}
    with FlopCounterMode(display=False, depth=None) as counter, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(images)
    counts = counter.get_flop_counts()
    counted = dict.fromkeys(NAMES, 0)
    layers = cost_of(architecture, plan).layers
    precision_of = {row.address: row.precision.name for row in layers}
    for name, address in names.items():
        flops = sum(counts.get(name, {}).values())
        assert flops % 2 == 0
        counted[precision_of[address]] += flops // 2
    assert cost_of(architecture, plan, "complete").macs_by_precision == counted
    assert sum(counted.values()) == counter.get_total_flops() // 2
