"""Complete accounting against the instantiated model: parameters by counting them, MACs by PyTorch's flop counter."""

import warnings

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bhvit import cost_of
from bhvit.families import family_of
from tests.bhvit.drawn import FAMILIES, NAMES, drawn


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(25))
def test_parameters_agree_with_the_instantiated_model_layer_by_layer(seed: int, family: str) -> None:
    architecture, plan = drawn(seed, family)
    with torch.device("meta"):
        model = family_of(architecture).build_model(architecture, plan)
    counted = {
        address: sum(p.numel() for part in parts for p in part.parameters())
        for address, parts in model.modules_by_address().items()
    }
    report = cost_of(architecture, plan, "complete")
    assert {row.address: row.parameters for row in report.layers} == counted
    assert report.total.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(25))
def test_macs_per_precision_agree_with_the_flop_counter(seed: int, family: str) -> None:
    architecture, plan = drawn(seed, family)
    with torch.device("meta"):
        model = family_of(architecture).build_model(architecture, plan).eval()
        images = torch.empty(1, 3, architecture.image_size, architecture.image_size)
    address_of = {id(part): a for a, parts in model.modules_by_address().items() for part in parts}
    names = {
        f"{type(model).__name__}.{name}": address_of[id(m)] for name, m in model.named_modules() if id(m) in address_of
    }
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
