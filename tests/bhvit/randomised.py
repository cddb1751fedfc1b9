"""Torch models with nothing left at 0 or 1."""

from __future__ import annotations

import torch
from torch import nn

from bhvit import PrecisionPlan
from bhvit.blocks import GlobalAttention, WindowAttention
from bhvit.blocks.summary_tokens import SummaryTokens
from bhvit.checkpoint import round_to_stored_precision
from bhvit.families import FAMILIES
from bhvit.layers import LayerScale, RPReLU
from bhvit.layers.norm import TokenBatchNorm
from bhvit.pyramid import Pyramid
from bhvit.quantizers.probability import ProbabilityDecomposition, ProbabilityPlane
from bhvit.runtime.schema import Header

BATCH = 4


def randomised(header: Header, seed: int = 0) -> Pyramid:
    """A model of `header` in evaluation mode: random constants everywhere, and the statistics of a training batch."""
    torch.manual_seed(seed)
    family = FAMILIES[header.family.name]
    model = family.build_model(header.architecture, PrecisionPlan.of_layers(header.layers), header.norm)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[2] in ("shift", "shift_in", "shift_out", "bias", "position"):
                parameter.normal_(0, 0.3)
        for module in model.modules():
            match module:
                case nn.LayerNorm() | nn.BatchNorm2d():
                    module.weight.normal_(1, 0.3).mul_(torch.where(torch.rand_like(module.weight) < 0.1, -1, 1))
                case RPReLU():
                    module.slope.normal_(0.25, 0.2)
                case LayerScale():
                    module.alpha.normal_(0.2, 0.2)
                case SummaryTokens() | WindowAttention():
                    module.mix.normal_(0.5, 0.3)
        _set_levels(model)
        _see_a_batch(model)
    round_to_stored_precision(model)
    return model.eval()


def _set_levels(model: Pyramid) -> None:
    """One-bit probabilities: a threshold that divides them; the sign of a level means nothing."""
    for side, blocks in zip(model.architecture.resolutions, model.blocks, strict=True):
        for block in blocks:
            if isinstance(block.mixer, GlobalAttention) and isinstance(block.mixer.probability, ProbabilityPlane):
                block.mixer.probability.step.fill_(-1.8 * (block.mixer.reduction_ratio / side) ** 2)


def _see_a_batch(model: Pyramid) -> None:
    norms = [module for module in model.modules() if isinstance(module, TokenBatchNorm)]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of this batch alone
    side = model.architecture.image_size
    model.train()(torch.randn(BATCH, 3, side, side))
    for norm in norms:
        norm.running_mean.add_(torch.randn_like(norm.running_mean) * norm.running_var.sqrt() * 0.1)
        norm.running_var.mul_(torch.rand_like(norm.running_var) * 0.5 + 0.75)
    for module in model.modules():
        if isinstance(module, ProbabilityDecomposition):
            module.zero_point.normal_(0, 0.3)
